import os
import shutil

from stages.sources.watching import watch_sources
from tests.unit.sources.test_intake import build_params, draw


def test_a_change_of_the_pairs_or_of_the_subject_is_noticed(tmp_path):
    draw(tmp_path / "pairs/cat/0.png", 0)
    draw(tmp_path / "toy/0.png", 0)
    subject = {"source": "imagefolder", "root": str(tmp_path / "toy")}
    params = build_params(tmp_path / "pairs", method="dreambooth", **subject)
    first = watch_sources(params, {})
    assert watch_sources(params, first) == first
    os.utime(tmp_path / "toy/0.png", ns=(1, 1))
    second = watch_sources(params, first)
    assert (second["pairs"], second["subject"]["num_files"]) == (first["pairs"], 1)
    assert second["subject"] != first["subject"]
    draw(tmp_path / "pairs/cat/1.png", 1)
    assert watch_sources(params, second)["pairs"]["num_files"] == 2


def test_the_subject_is_watched_only_where_a_method_teaches_it(tmp_path):
    subject = {"source": "imagefolder", "root": str(tmp_path)}
    assert watch_sources(build_params(None, **subject), {}) == {}


def test_sources_that_are_not_here_are_as_they_were(tmp_path):
    draw(tmp_path / "pairs/cat/0.png", 0)
    params = build_params(tmp_path / "pairs")
    first = watch_sources(params, {})
    shutil.rmtree(tmp_path / "pairs")
    assert watch_sources(params, first) == first
    elsewhere = build_params(tmp_path / "nowhere")
    assert watch_sources(elsewhere, first)["pairs"]["num_files"] == 0
