import os
import shutil

from stages.sources.watching import watch_sources
from tests.unit.sources.test_intake import build_params, draw


def test_a_change_of_the_pairs_or_of_the_subject_is_noticed(tmp_path):
    draw(tmp_path / "pairs/cat/0.png", 0)
    draw(tmp_path / "toy/0.png", 0)
    subject = {"source": "imagefolder", "root": str(tmp_path / "toy")}
    params = build_params(tmp_path / "pairs", data="subject", **subject)
    first = watch_sources(params, {})
    assert watch_sources(params, first) == first
    os.utime(tmp_path / "toy/0.png", ns=(1, 1))
    second = watch_sources(params, first)
    assert (second["pairs"], second["subject"]["num_files"]) == (first["pairs"], 1)
    assert second["subject"] != first["subject"]
    draw(tmp_path / "pairs/cat/1.png", 1)
    assert watch_sources(params, second)["pairs"]["num_files"] == 2


def test_the_subject_is_watched_only_where_it_is_learned(tmp_path):
    subject = {"source": "imagefolder", "root": str(tmp_path)}
    assert watch_sources(build_params(None, **subject), {}) == {}


def test_imported_weights_are_watched_if_they_are_here(tmp_path):
    file = tmp_path / "lora.safetensors"
    params = import_params(str(file))
    file.write_bytes(b"1")
    first = watch_sources(params, {})
    assert first["import"]["num_files"] == 1
    file.write_bytes(b"12")
    second = watch_sources(params, first)
    assert second["import"] != first["import"]
    file.unlink()
    assert watch_sources(params, second) == second
    assert watch_sources(import_params("me/lora"), {}) == {}
    assert watch_sources(build_params(None), {}) == {}


def import_params(path):
    params = build_params(None)
    update = {
        "finetune": params.finetune.model_copy(update={"method": "import"}),
        "imported": params.imported.model_copy(update={"path": path}),
    }
    return params.model_copy(update=update)


def test_sources_that_are_not_here_are_as_they_were(tmp_path):
    draw(tmp_path / "pairs/cat/0.png", 0)
    params = build_params(tmp_path / "pairs")
    first = watch_sources(params, {})
    shutil.rmtree(tmp_path / "pairs")
    assert watch_sources(params, first) == first
    elsewhere = build_params(tmp_path / "nowhere")
    assert watch_sources(elsewhere, first)["pairs"]["num_files"] == 0
