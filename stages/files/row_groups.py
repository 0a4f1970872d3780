"""A column of a parquet file, read a row group at a time."""

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from stages.config.mistakes import UserError


class LazyColumn:
    """A column's values by row; the row group that was used last stays in memory.

    So it is cheap to ask for rows in order.
    """

    def __init__(self, path: Path, column: str, field: str | None = None) -> None:
        """Open a file; of a column of structs, take a `field`."""
        self._path, self._column, self._field = path, column, field
        self._file = pq.ParquetFile(path)
        groups = range(self._file.num_row_groups)
        self._sizes = [self._file.metadata.row_group(group).num_rows for group in groups]
        self._ends = np.cumsum(self._sizes, dtype=int)
        self._read_group = lru_cache(maxsize=1)(self._read_group_anew)

    def __getitem__(self, row: int) -> Any:
        """The value of a row; None where there is none.

        Raises:
            UserError: The file is damaged there.
        """
        group = int(np.searchsorted(self._ends, row, side="right"))
        place = int(row - self._ends[group] + self._sizes[group])
        try:
            return self._read_group(group)[place].as_py()
        except (pa.ArrowException, OSError) as error:
            raise UserError(f"{self._path}, row {row}: not readable ({error})") from None

    def _read_group_anew(self, group: int) -> pa.ChunkedArray:
        leaf = f"{self._column}.{self._field}" if self._field else self._column
        values = self._file.read_row_group(group, columns=[leaf]).column(self._column)
        if self._field is None:
            return values
        return pa.chunked_array([chunk.field(self._field) for chunk in values.chunks])
