"""The stage `instance`: what textual_inversion and dreambooth learn, and nothing for the others."""

import json
from pathlib import Path

import pytest
from PIL import Image
from ruamel.yaml import YAML

from stages import instance
from stages.config import paths
from stages.config.mistakes import UserError
from stages.files.images import decode_image
from stages.files.instance import (
    read_instance_pictures,
    read_instance_prompts,
    read_instance_words,
)

ROOT = Path.cwd()
FILES = (paths.INSTANCE, paths.INSTANCE_WORDS, paths.INSTANCE_PROMPTS)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_pictures_take_the_caption_templates_by_turns_and_are_disjoint(project: Path) -> None:
    run("textual_inversion", num_pictures=3, caption_templates=["a photo of a {}", "a {}"])
    pictures = read_instance_pictures(paths.INSTANCE)
    assert pictures["split"].tolist() == ["train"] * 3 + ["held_out"] * 8
    assert pictures["source_id"].is_unique
    assert pictures["caption"].head(3).tolist() == [
        "a photo of a <my-frog>",
        "a <my-frog>",
        "a photo of a <my-frog>",
    ]
    sizes = {decode_image(data, "picture").size for data in pictures["image"]}
    assert sizes == {(64, 64)}


def test_the_new_word_stands_alone_and_the_rare_one_before_the_class(project: Path) -> None:
    run("textual_inversion")
    prompts = read_instance_prompts(paths.INSTANCE_PROMPTS)
    assert prompts.iloc[3][["baseline", "finetuned"]].tolist() == [
        "a frog on a wooden table",
        "a <my-frog> on a wooden table",
    ]
    assert read_instance_words(paths.INSTANCE_WORDS) == {
        "placeholder": "<my-frog>",
        "initializer": "frog",
    }
    run("dreambooth")
    prompts = read_instance_prompts(paths.INSTANCE_PROMPTS)
    assert prompts.iloc[3]["finetuned"] == "a sks frog on a wooden table"
    captions = read_instance_words(paths.INSTANCE_WORDS)["class_captions"]
    assert captions[0] == "a photo of a frog"
    assert prompts["prompt_id"].is_unique


@pytest.mark.parametrize("method", ["attn2", "attn2_kv", "full", "lora"])
def test_for_other_methods_no_change_of_the_instance_changes_a_byte(
    project: Path, method: str
) -> None:
    run(method)
    before = [path.read_bytes() for path in FILES]
    run(method, num_pictures=5, placeholder="<thing>", source="imagefolder", root="nowhere")
    assert [path.read_bytes() for path in FILES] == before
    assert read_instance_pictures(paths.INSTANCE).empty
    assert read_instance_prompts(paths.INSTANCE_PROMPTS).empty


def test_what_is_sampled_does_not_change_what_is_trained_on(project: Path) -> None:
    run("dreambooth")
    before = [path.read_bytes() for path in FILES]
    run("dreambooth", prompt_templates=["a {} here"])
    after = [path.read_bytes() for path in FILES]
    assert after[:2] == before[:2]
    assert after[2] != before[2]


def test_a_folder_of_pictures_is_read_in_any_depth(project: Path) -> None:
    for number, name in enumerate(("a.png", "b/c.jpg", "d.webp")):
        file = project / "mine" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 80), (60 * number, 0, 0)).save(file)
    (project / "mine/notes.txt").write_text("no picture")
    run(
        "dreambooth",
        source="imagefolder",
        root="mine",
        num_pictures=2,
        num_held_out_pictures=1,
    )
    pictures = read_instance_pictures(paths.INSTANCE)
    assert sorted(pictures["source_id"]) == ["a.png", "b/c.jpg", "d.webp"]


def test_too_few_pictures_are_counted(project: Path) -> None:
    (project / "mine").mkdir()
    with pytest.raises(UserError, match=r"^instance.root: mine has 0 pictures; .* are 16; add"):
        run("dreambooth", source="imagefolder", root="mine")


def test_a_missing_folder_is_named(project: Path) -> None:
    with pytest.raises(UserError, match="no folder nowhere; set it"):
        run("dreambooth", source="imagefolder", root="nowhere")


def run(method: str, **changes: object) -> None:
    values = YAML(typ="safe", pure=True).load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    values["instance"] |= changes
    values["finetune"]["method"] = method
    Path("params.yaml").write_text(json.dumps(values), encoding="utf-8")
    instance.main()
