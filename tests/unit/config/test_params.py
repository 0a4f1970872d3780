import io
import json
from pathlib import Path
from typing import get_args

import pytest
from ruamel.yaml import YAML

from stages.config.mistakes import UserError
from stages.config.params import Method, load_params, parse_params

TEXT = Path("params.yaml").read_text(encoding="utf-8")


def replace(old: str, new: str) -> str:
    assert old in TEXT
    return TEXT.replace(old, new, 1)


def explain(text: str) -> list[str]:
    with pytest.raises(UserError, match=r"params\.yaml") as caught:
        parse_params(text)
    return str(caught.value).splitlines()


def test_the_shipped_params_are_valid_for_each_base():
    params = load_params()
    for base in params.bases:
        assert parse_params(replace("base: tiny ", f"base: {base} ")).chosen == params.bases[base]


@pytest.mark.parametrize("text", ["5e-06", "0.000005", '"5e-06"', "5.0e-6"])
def test_every_spelling_of_a_number_is_read(text):
    params = parse_params(replace("learning_rate: null", f"learning_rate: {text}"))
    assert params.finetune.learning_rate == 5e-6


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        (
            "num_pairs: 2000",
            "num_pair: 2000",
            "prepare.num_pair: unknown key; did you mean num_pairs?",
        ),
        ("num_pairs: 2000", "", "prepare.num_pairs: missing"),
        (
            "num_pairs: 2000",
            "num_pairs: 0",
            "prepare.num_pairs: found 0; should be greater than or equal to 1",
        ),
        (
            "num_pairs: 2000",
            "num_pairs: true",
            "prepare.num_pairs: found true; should be a number",
        ),
        (
            "learning_rate: null",
            "learning_rate: .inf",
            "finetune.learning_rate: found Infinity; should be a finite number",
        ),
        (
            "base: tiny ",
            "base: tinny ",
            'base: found "tinny"; should be a key of bases: tiny, sd15; did you mean tiny?',
        ),
        (
            "scheduler: ddim",
            "scheduler: dimm",
            'sample.scheduler: found "dimm"; '
            "should be 'ddim', 'ddpm', 'dpm_solver_pp' or 'euler'",
        ),
        (
            "    - a photo of a {}",
            "    - a photo",
            'prepare.caption_templates.0: found "a photo"; '
            "should hold exactly one {} for the class name",
        ),
        (
            "lr_warmup_steps: 0",
            "lr_warmup_steps: 401",
            "finetune.lr_warmup_steps: found 401; should be at most max_train_steps, 400",
        ),
        (
            "    - a picture of a {}",
            '    - "a\\u001b[31m picture of a {}"',
            'prepare.caption_templates.3: found "a\\u001b[31m picture of a {}"; '
            "should hold no control characters, but '\\x1b' is there",
        ),
        (
            "a blue coffee mug on",
            "a blue coffee  mug on",
            'prompts.marketing.1.prompt: found "a blue coffee mug on a wooden table"; '
            "should have single blanks between its words",
        ),
        (
            "method: attn2",
            "method: atn2",
            "finetune.method: found \"atn2\"; should be 'attn2', 'attn2_kv', 'full', "
            "'lora', 'textual_inversion' or 'dreambooth'",
        ),
        (
            "ema_decay: null",
            "ema_decay: 1",
            "finetune.ema_decay: found 1; should be less than 1",
        ),
        (
            "rank: 16",
            "rank: 0",
            "finetune.lora.rank: found 0; should be greater than or equal to 1",
        ),
        (
            "      attn2_kv: 1e-4\n",
            "",
            "bases.tiny.learning_rates.attn2_kv: missing",
        ),
        (
            "class: coffee mug",
            "clas: coffee mug",
            "prompts.marketing.1.clas: unknown key; did you mean class?",
        ),
        (
            "root: null ",
            "root: somewhere ",
            'bases.tiny.data.root: found "somewhere"; should be null: source drawn reads no files',
        ),
        (
            "num_processes: 1 ",
            "num_processes: 3 ",
            'launch: found {"num_processes": 3, "num_machines": 1, "config_file": null}; '
            "num_processes should divide finetune.train_batch_size, 4",
        ),
        (
            "num_machines: 1 ",
            "num_machines: 2 ",
            "launch.num_machines: found 2; should divide num_processes, 1",
        ),
        (
            "config_file: null",
            "config_file: accelerate.yaml",
            'launch.config_file: found "accelerate.yaml"; '
            "should be null: one process is not launched",
        ),
    ],
)
def test_a_mistake_is_one_line_with_key_value_and_what_is_allowed(old, new, line):
    assert explain(replace(old, new)) == [f"params.yaml: {line}"]


@pytest.mark.parametrize("method", get_args(Method))
def test_without_a_learning_rate_it_is_the_bases_own_for_the_method(method):
    text = replace("method: attn2", f"method: {method}")
    params = parse_params(text.replace("base: tiny ", "base: sd15 "))
    assert params.learning_rate == getattr(params.bases["sd15"].learning_rates, method)
    given = parse_params(text.replace("learning_rate: null", "learning_rate: 0"))
    assert given.learning_rate == 0


def test_all_mistakes_are_told_at_once():
    text = replace("num_pairs: 2000", "num_pairs: no").replace(
        "sample:\n", "sample:\n  guidence_scale: 1\n"
    )
    assert [line.split(": ")[1] for line in explain(text)] == [
        "prepare.num_pairs",
        "sample.guidence_scale",
    ]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("cat, deer", "cat, cat"),
        ("    - a picture of a {}", "    - a photo of a {}"),
        (
            "a blue coffee mug on a wooden table",
            "a product photo of a red running shoe on a white background",
        ),
    ],
)
def test_what_is_named_twice_is_refused(old, new):
    assert "is there twice" in explain(replace(old, new))[0]


@pytest.mark.parametrize(
    ("data", "key"),
    [
        (("cifar10", None, None, None, None), "root"),
        (("imagefolder", "x", "a", None, None), "image_column"),
        (("parquet", "x", None, "b", None), "image_column"),
        (("parquet", "x", "a", None, None), "caption_column"),
    ],
)
def test_a_source_gets_the_keys_that_it_needs_and_no_others(data, key):
    keys = ("source", "root", "image_column", "label_column", "caption_column")
    data = json.dumps(dict(zip(keys, data, strict=True)))
    text = f"{TEXT[: TEXT.index('prepare:')]}  mine: {{model: m, revision: null, "
    text += "weights_variant: null, scorer: s, "
    text += f"scorer_pretrained: null, resolution_px: 64, precision: fp32, data: {data}, "
    text += "learning_rates: {attn2: 0, attn2_kv: 0, full: 0, lora: 0, "
    text += "textual_inversion: 0, dreambooth: 0}}\n"
    (line,) = explain(text + TEXT[TEXT.index("prepare:") :])
    assert line.startswith(f"params.yaml: bases.mine.data.{key}: found ")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("prepare:\n  - [", "params.yaml, line "),
        ("base: a\nbase: b\n", 'params.yaml, line 2: found duplicate key "base"'),
        ("", "params.yaml: found null; should be sections"),
    ],
)
def test_what_is_no_yaml_is_said_with_its_line(text, line):
    assert explain(text)[0].startswith(line)


def test_outside_of_the_project_the_missing_file_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"no params\.yaml in .*; run from the project's"):
        load_params()


def test_extra_metrics_survive_being_set_and_taken_back():
    # As `dvc exp run -S` edits params.yaml. A comment at the end of the key's line would swallow
    # the next key when a list is taken back to [].
    yaml, text = YAML(), TEXT
    for names in (["musiq"], [], ["musiq", "pickscore"]):
        values = yaml.load(text)
        values["score"]["extra_metrics"] = names
        stream = io.StringIO()
        yaml.dump(values, stream)
        text = stream.getvalue()
        assert parse_params(text).score.extra_metrics == tuple(names)
