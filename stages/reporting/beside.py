"""Pictures that do not pair, laid beside each other to be looked at: what pairs them, and names.

Nothing is computed from what is laid out so.
"""

from collections.abc import Iterator, Mapping
from typing import Literal

import pandas as pd

Pairing = Literal["noise", "table", "nothing"]
"""What both pictures of a pair share beside their prompt."""
STARTS: Mapping[Pairing, str] = {
    "noise": "baseline and fine-tuned pictures start from the same noise",
    "table": "baseline and fine-tuned pictures are paired as the tables that came with them say",
    "nothing": "not the same noise: pictures are independent, and only share their prompts",
}
BESIDE: Mapping[Pairing, str] = {
    "noise": "of the same noise",
    "table": "that its table pairs with it",
    "nothing": "of the same prompt, not of the same noise",
}


class Renamed(Mapping[str, bytes]):
    """Encoded pictures by other names; one may have several."""

    def __init__(self, files: Mapping[str, bytes], names: Mapping[str, str]) -> None:
        """Take what `files` calls `names[name]` for `name`."""
        self._files, self._names = files, names

    def __getitem__(self, name: str) -> bytes:
        """The bytes of a file."""
        return self._files[self._names[name]]

    def __iter__(self) -> Iterator[str]:
        """The names."""
        return iter(self._names)

    def __len__(self) -> int:
        """How many there are."""
        return len(self._names)


def lay_beside(
    scores: Mapping[str, pd.DataFrame], files: Mapping[str, Mapping[str, bytes]]
) -> tuple[dict[str, pd.DataFrame], dict[str, Mapping[str, bytes]]]:
    """Both with the same names: a side that has fewer pictures of a prompt shows them again."""
    columns = ["prompt_id", "index", "file_name"]
    names = pd.concat([table[columns] for table in scores.values()]).drop_duplicates(columns)
    order = {prompt_id: place for place, prompt_id in enumerate(names["prompt_id"].unique())}
    names = names.assign(place=names["prompt_id"].map(order)).sort_values(["place", "index"])
    laid: dict[str, pd.DataFrame] = {}
    renamed: dict[str, Mapping[str, bytes]] = {}
    for variant, table in scores.items():
        counts = table.groupby("prompt_id").size()
        wanted = names[columns].assign(own=names["index"] % names["prompt_id"].map(counts))
        own = table.rename(columns={"index": "own", "file_name": "own_name"})
        rows = wanted.merge(own, on=["prompt_id", "own"], how="left", validate="m:1")
        renamed[variant] = Renamed(
            files[variant], dict(zip(rows["file_name"], rows["own_name"], strict=True))
        )
        laid[variant] = rows[list(table.columns)]
    return laid, renamed
