import pytest

from stages.run.processes import (
    collect,
    count_processes,
    get_rank,
    is_launched,
    is_main_process,
    share_out,
)


def test_a_process_alone_is_the_main_one_and_keeps_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "8")  # of a cluster's job; no launcher's
    assert (count_processes(), get_rank(), is_main_process()) == (1, 0, True)
    assert not is_launched()
    assert share_out([3, 1, 2]) == collect([3, 1, 2]) == [3, 1, 2]


def test_a_launched_process_knows_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"WORLD_SIZE": "4", "RANK": "3", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    assert (count_processes(), get_rank(), is_main_process()) == (4, 3, False)
    assert is_launched()
