import re
from pathlib import Path

import pytest

from stages.config.mistakes import UserError
from stages.config.params import PromptsParams
from stages.sources import prompts
from stages.sources.prompts import COLUMNS, Row, build_prompts

HEADER = "set,class,prompt\n"
SHIPPED = Path("data/extra_prompts.csv")


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "prompts.csv"
    path.write_text(HEADER)
    return path


def make_params(file, *marketing, templates=("a photo of a {}", "a {}")):
    rows = [{"class": "thing", "prompt": prompt} for prompt in marketing or ["a thing"]]
    return PromptsParams(
        protocol="broad",
        class_templates=templates,
        added_class_templates=(),
        marketing=rows,
        added_marketing=(),
        subject_templates=("a {}",),
        file=str(file),
    )


def test_prompt_ids_are_file_names_that_depend_on_the_prompt_alone(file):
    alone = build_prompts(["cat"], make_params(file, "Über/../Größe: " + "x" * 99))
    among = build_prompts(["dog", "cat"], make_params(file, "y", "猫"))
    both = set(alone["prompt_id"]) & set(among["prompt_id"])
    assert {row.rsplit("-", 1)[0] for row in both} == {"a-photo-of-a-cat", "a-cat"}
    for prompt_id in [*alone["prompt_id"], *among["prompt_id"]]:
        assert set(prompt_id) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
        assert prompt_id[0] != "-"
        assert len(prompt_id) <= 47


@pytest.mark.parametrize("text", ["", "in_domain,sitting cat,a  cat\n"])
def test_prompts_that_come_out_the_same_are_refused_with_their_places(file, text):
    file.write_text(HEADER + text)
    marketing = "a thing" if text else "a cat"
    places = f"prompts.class_templates and {f'{file}, line 2' if text else 'prompts.marketing'}"
    message = f'^prompts: "a cat" is there twice \\({re.escape(places)}\\); reword one$'
    with pytest.raises(UserError, match=message):
        build_prompts(["cat"], make_params(file, marketing))


def test_prompts_that_would_share_their_files_are_refused(file, monkeypatch):
    monkeypatch.setattr(prompts, "make_prompt_id", lambda prompt, _: prompt[:3])
    with pytest.raises(UserError, match=r'"a cat" and "a car" get the same names .*; reword'):
        build_prompts(["dog"], make_params(file, "a cat", "a car"))


def test_a_prompt_of_the_subject_may_be_one_of_its_class(file):
    row = Row("subject", "cat", "a cat", "a <my-cat>")
    table = build_prompts(["cat"], make_params(file), [row])
    of_class, of_subject = table[table["prompt"] == "a cat"].to_dict("records")
    assert of_subject["prompt_id"] == f"subject-{of_class['prompt_id']}"
    assert (of_class["finetuned_prompt"], of_subject["finetuned_prompt"]) == ("a cat", "a <my-cat>")
    with pytest.raises(UserError, match='"a cat" is there twice'):
        build_prompts(["cat"], make_params(file), [row, row])


def test_prompts_of_the_file_come_after_the_others_in_its_order(file):
    file.write_text('set,class,prompt\nmarketing,Größe," two\n  blanks"\nin_domain,cat,"b, c"\n')
    table = build_prompts(["cat"], make_params(file))
    assert table[COLUMNS].iloc[-2:].to_numpy().tolist() == [
        ["marketing", "Größe", "two blanks"],
        ["in_domain", "cat", "b, c"],
    ]
    assert (table["finetuned_prompt"] == table["prompt"]).all()


def test_columns_come_in_any_order_and_others_are_not_read(file):
    file.write_text(
        "\ufeffprompt_id,prompt,class,set\n1,b,dog,in_domain\n"
    )  # as Excel begins a CSV
    table = build_prompts(["cat"], make_params(file))
    assert table[COLUMNS].iloc[-1].to_list() == ["in_domain", "dog", "b"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "{file}: no column set, class, prompt; the first line should be set,class,prompt"),
        (
            "set,prompt\n",
            "{file}, line 1: no column class; the first line should be set,class,prompt",
        ),
        (
            HEADER + "coco,cat,a cat\n",
            '{file}, line 2: found set "coco"; should be in_domain or marketing',
        ),
        (
            HEADER + "in_domain,cat,b\nin_domain,cat, \n",
            "{file}, line 3: the prompt is empty; write it, or drop it",
        ),
        (HEADER + "in_domain,cat\n", "{file}, line 2: the prompt is empty; write it, or drop it"),
        (
            HEADER + "in_domain,cat,a cat, sitting\n",
            "{file}, line 2: more values than columns; quote a caption or prompt that holds commas",
        ),
        (
            HEADER + "in_domain,cat,a \x07cat\n",
            '{file}, line 2: the prompt holds control characters: "a \\u0007cat"; take them out',
        ),
        (
            HEADER + 'in_domain,cat,"a cat',
            "{file}, line 2: unexpected end of data; inside quotes write a quote twice",
        ),
    ],
)
def test_a_mistake_in_the_file_is_named(file, text, message):
    file.write_text(text)
    with pytest.raises(UserError, match=re.escape(message.format(file=file)) + "$"):
        build_prompts(["cat"], make_params(file))


def test_a_file_that_is_no_text_is_refused(file):
    file.write_bytes(HEADER.encode() + b"in_domain,cat,\xff\n")
    with pytest.raises(
        UserError, match=rf"{re.escape(str(file))}, line 2: byte 0xff is no UTF-8; s"
    ):
        build_prompts(["cat"], make_params(file))


def test_a_missing_file_is_named_with_its_key(tmp_path):
    with pytest.raises(UserError, match=r"prompts\.file: no file .*nowhere\.csv"):
        build_prompts(["cat"], make_params(tmp_path / "nowhere.csv"))


def test_the_shipped_file_has_none():
    assert SHIPPED.read_text() == HEADER


def test_the_papers_protocol_has_no_added_prompts(file):
    file.write_text(HEADER + "in_domain,cat,a sitting cat\n")
    added = {"added_class_templates": ("a drawing of a {}",)}
    added["added_marketing"] = make_params(file, "another thing").marketing
    broad = make_params(file).model_copy(update=added)
    table = build_prompts(["cat"], broad)
    assert dict(zip(table["prompt"], table["protocol"], strict=True)) == {
        "a photo of a cat": "paper",
        "a cat": "paper",
        "a drawing of a cat": "broad",
        "a thing": "paper",
        "another thing": "broad",
        "a sitting cat": "broad",
    }
    papers = build_prompts(["cat"], broad.model_copy(update={"protocol": "paper"}))
    assert papers["prompt"].tolist() == ["a photo of a cat", "a cat", "a thing", "a sitting cat"]
