import shutil
from pathlib import Path

import pandas as pd
import pytest

from stages.commands.study import main
from stages.config import paths
from stages.study.key import read_key
from tests.study_project import set_num_pairs, write_project


@pytest.fixture(scope="session")
def studied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a study of 20 pairs."""
    folder = tmp_path_factory.mktemp("studied")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        write_project()
        set_num_pairs(20)
        main()
    return folder


@pytest.fixture
def key(studied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pd.DataFrame:
    """The key of a study, in a folder of its own."""
    folder = shutil.copytree(studied, tmp_path / "copy")
    monkeypatch.chdir(folder)
    return read_key(paths.STUDY_KEY)
