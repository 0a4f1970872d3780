import difflib
import itertools
import json
import re
from pathlib import Path

import pytest
from dvc.utils.hydra import apply_overrides
from dvc.utils.serialize import dumps_yaml, parse_yaml_for_update
from pydantic import ValidationError
from ruamel.yaml import YAML

from stages.config.mistakes import UserError
from stages.config.params import PrepareParams, load_params, parse_params

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
    params = parse_params(replace("learning_rate: auto", f"learning_rate: {text}"))
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
            "learning_rate: auto",
            "learning_rate: .inf",
            "finetune.learning_rate: found Infinity; should be a finite number",
        ),
        ("rank: 16 ", "rank: 1.5 ", "finetune.lora.rank: found 1.5; should be a whole number"),
        (
            "use_dora: false",
            "use_dora: some",
            'finetune.lora.use_dora: found "some"; should be true or false',
        ),
        (
            "max_grad_norm: 1.0",
            "max_grad_norm: x",
            'finetune.max_grad_norm: found "x"; should be a number',
        ),
        (
            "    - to_q\n    - to_k\n    - to_v\n    - to_out.0\n",
            "      []\n",
            "finetune.lora.targets: found []; should have 1 or more entries",
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
            "  - a photo of a {}",
            "  - a photo",
            'prepare.caption_templates.0: found "a photo"; '
            "should hold exactly one {} for the class name",
        ),
        (
            "lr_warmup_steps: 0",
            "lr_warmup_steps: 401",
            "finetune.lr_warmup_steps: found 401; should be at most max_train_steps, 400",
        ),
        (
            "  - a picture of a {}",
            '  - "a\\u001b[31m picture of a {}"',
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
            "'lora', 'hydra_lora', 'textual_inversion' or 'import'",
        ),
        (
            "method: attn2",
            "method: textual_inversion",
            'finetune.data: found "pairs"; should be subject: textual_inversion learns a word for '
            "one subject",
        ),
        (
            "ema_decay: none",
            "ema_decay: 1",
            "finetune.ema_decay: found 1; should be less than 1",
        ),
        (
            "rank: 16",
            "rank: 0",
            "finetune.lora.rank: found 0; should be greater than or equal to 1",
        ),
        (
            "        attn2_kv: 1e-4\n",
            "",
            "bases.tiny.learning_rates.pairs.attn2_kv: missing",
        ),
        (
            "class: coffee mug",
            "clas: coffee mug",
            "prompts.marketing.1.clas: unknown key; did you mean class?",
        ),
        (
            "root: none ",
            "root: somewhere ",
            'bases.tiny.data.root: found "somewhere"; should be none: source drawn reads no files',
        ),
        (
            "num_processes: 1 ",
            "num_processes: 3 ",
            'launch: found {"num_processes": 3, "num_machines": 1, "main_process_port":…; '
            "num_processes should divide finetune.train_batch_size, 4",
        ),
        (
            "num_machines: 1 ",
            "num_machines: 2 ",
            "launch.num_machines: found 2; should divide num_processes, 1",
        ),
        (
            "main_process_port: auto",
            "main_process_port: 80",
            "launch.main_process_port: found 80; should be greater than or equal to 1024",
        ),
        (
            "config_file: none",
            "config_file: accelerate.yaml",
            'launch.config_file: found "accelerate.yaml"; '
            "should be none: one process is not launched",
        ),
        (
            "method: attn2",
            "method: import",
            'import: found {"path": "none", "revision": "none", "strength": 1.0}; '
            "path should be a file, a folder or a hub name: finetune.method is import",
        ),
        (
            "strength: 1.0 ",
            "strength: 11 ",
            "import.strength: found 11; should be less than or equal to 10",
        ),
        (
            "  strength: 1.0 ",
            "  strenght: 1.0 ",
            "import.strenght: unknown key; did you mean strength?",
        ),
    ],
)
def test_a_mistake_is_one_line_with_key_value_and_what_is_allowed(old, new, line):
    assert explain(replace(old, new)) == [f"params.yaml: {line}"]


@pytest.mark.parametrize(
    ("old", "key"),
    [
        ("revision: none", "bases.tiny.revision"),
        ("root: none", "bases.tiny.data.root"),
        ("learning_rate: auto", "finetune.learning_rate"),
        ("ema_decay: none", "finetune.ema_decay"),
        ("config_file: none", "launch.config_file"),
    ],
)
def test_what_is_set_to_a_word_is_none_and_so_is_a_null(old, key):
    for value in ("", "null", old.split()[1]):
        found = parse_params(replace(old, f"{old.split()[0]} {value}"))
        for name in key.split("."):
            found = found[name] if isinstance(found, dict) else getattr(found, name)
        assert found is None


@pytest.mark.parametrize("text", ["learning_rate: none", "snr_gamma: auto"])
def test_a_word_that_means_nothing_there_is_refused(text):
    key = text.split(":")[0]
    (line,) = explain(re.sub(rf"(?m)^  {key}: \w+", f"  {text}", TEXT))
    assert line.startswith(f"params.yaml: finetune.{key}: found ")


def test_params_say_what_the_file_says_and_derive_nothing():
    def read_words(value):
        if isinstance(value, dict):
            return {key: read_words(item) for key, item in value.items()}
        if isinstance(value, list):
            return tuple(map(read_words, value))
        return None if value in ("none", "auto") else value

    expected = read_words(YAML(typ="safe", pure=True).load(TEXT))
    params = load_params()
    assert params.model_dump(by_alias=True, exclude_unset=True) == expected
    derived = {name for name, value in vars(type(params)).items() if isinstance(value, property)}
    assert derived == {"chosen"}


def test_experts_have_no_dora():
    text = replace("method: attn2", "method: hydra_lora")
    parse_params(text)
    (line,) = explain(text.replace("use_dora: false ", "use_dora: true "))
    assert line.startswith("params.yaml: finetune.lora: found ")
    assert line.endswith("use_dora should be false: what method hydra_lora adds is no weight")


def test_a_new_word_has_no_strength():
    text = replace("method: attn2", "method: textual_inversion")
    text = text.replace("data: pairs", "data: subject")
    parse_params(text)
    (line,) = explain(text.replace("strength: 1.0 ", "strength: 0.5 "))
    assert line.endswith("strength should be 1: a new word changes nothing that could be scaled")


def test_a_guide_that_is_the_scorer_by_its_name_is_refused_unless_that_is_said():
    text = replace("guide: local-dir:models/tiny-guide", "guide: local-dir:models/tiny-scorer")
    parse_params(text)  # nothing leads
    text = text.replace("clip_guidance_scale: 0.0", "clip_guidance_scale: 5")
    (line,) = explain(text)
    assert line.startswith("params.yaml: sample: ")
    assert "guide_is_scorer should be true" in line
    parse_params(text.replace("guide_is_scorer: false", "guide_is_scorer: true"))


def test_without_guidance_a_negative_prompt_is_refused():
    text = replace("negative_prompt: none", "negative_prompt: blurry")
    parse_params(text)
    (line,) = explain(text.replace("guidance_scale: 7.5 ", "guidance_scale: 1 "))
    assert line.startswith('params.yaml: sample.negative_prompt: found "blurry"; should be none')


@pytest.mark.parametrize("path", ["models/finetuned", "models/finetuned/unet.safetensors"])
def test_what_the_stage_itself_writes_is_not_imported(path):
    text = replace("method: attn2", "method: import")
    (line,) = explain(text.replace("  path: none ", f"  path: {path} "))
    assert line.endswith("path should not lie in models/finetuned, which is written: copy it")


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
        ("- deer", "- cat"),
        ("  - a picture of a {}", "  - a photo of a {}"),
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
        ({"source": "cifar10", "root": "none"}, "root"),
        ({"source": "imagefolder", "root": "x", "image_column": "a"}, "image_column"),
        ({"source": "parquet", "root": "x", "label_column": "b"}, "image_column"),
        ({"source": "parquet", "root": "x", "image_column": "a"}, "caption_column"),
    ],
)
def test_a_source_gets_the_keys_that_it_needs_and_no_others(data, key):
    text = f"{TEXT[: TEXT.index('prepare:')]}  mine: {{model: m, revision: none, "
    text += "weights_variant: none, scorer: s, "
    text += "scorer_pretrained: none, scorer_revision: none, guide: g, guide_pretrained: none, "
    text += "guide_revision: none, "
    text += "resolution_px: 64, precision: fp32, "
    text += f"data: {json.dumps(data)}, "
    rates = "attn2: 0, attn2_kv: 0, full: 0, lora: 0, hydra_lora: 0"
    text += (
        f"learning_rates: {{pairs: {{{rates}}}, subject: {{{rates}, textual_inversion: 0}}}}}}\n"
    )
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


def test_dvcs_writer_leaves_the_file_as_it_is():
    assert dumps_yaml(parse_yaml_for_update(TEXT, "params.yaml")) == TEXT


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ("base=sd15", "base: sd15"),
        ("bases.tiny.resolution_px=128", "    resolution_px: 128"),
        ("bases.tiny.data.source=imagefolder", "      source: imagefolder"),
        ("prepare.num_pairs=3000", "  num_pairs: 3000"),
        ("prompts.file=data/mine.csv", "  file: data/mine.csv"),
        ("subject.root=my/pictures", "  root: my/pictures"),
        ("sample.images_per_subject_prompt=12", "  images_per_subject_prompt: 12"),
        ("finetune.method=textual_inversion", "  method: textual_inversion"),
        ("finetune.learning_rate=1e-6", "  learning_rate: 1e-06"),
        ("finetune.lora.use_dora=true", "    use_dora: true"),
        ("finetune.snr_gamma=5", "  snr_gamma: 5"),
        ("finetune.ema_decay=0.999", "  ema_decay: 0.999"),
        ("score.zero_shot_template='a {}'", "  zero_shot_template: a {}"),
        ("import.path=lora.safetensors", "  path: lora.safetensors"),
        ("import.strength=0.5", "  strength: 0.5"),
        ("launch.config_file=accelerate.yaml", "  config_file: accelerate.yaml"),
    ],
)
def test_an_experiment_changes_its_line_of_the_file_and_no_other(tmp_path, change, line):
    path = tmp_path / "params.yaml"
    path.write_text(TEXT, encoding="utf-8")
    old, new = apply(path, change)
    assert split_comment(new) == (line, split_comment(old)[1])
    key, value = change.split("=")[0], split_comment(old)[0].split(": ")[1]
    taken_back = apply(path, f"{key}='{value}'" if "{" in value else f"{key}={value}")
    assert list(map(split_comment, taken_back)) == [split_comment(new), split_comment(old)]


def test_lists_that_an_experiment_sets_change_their_own_lines(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text(TEXT, encoding="utf-8")
    apply_overrides(path, ["prepare.classes=[cat, dog]", "finetune.lora.targets=[to_q]"])
    changed = path.read_text(encoding="utf-8").splitlines()
    gone = [line for line in difflib.ndiff(TEXT.splitlines(), changed) if line[0] in "-+"]
    assert len(gone) == 8 + 3
    assert all(re.match(r"-  +- \w+", line) for line in gone)


def test_dino_is_refused_where_there_is_no_subject_to_compare_with():
    text = replace("extra_metrics: []", "extra_metrics: [dino]")
    with pytest.raises(UserError, match=r"extra_metrics should hold no dino.*data is pairs"):
        parse_params(text)
    parse_params(text.replace("  data: pairs ", "  data: subject "))


@pytest.mark.parametrize("changed", [["musiq"], ["musiq", "pickscore"]])
def test_extra_metrics_survive_being_set_and_taken_back(tmp_path, changed):
    # A comment at the end of the key's line would swallow the next key when a list is taken back.
    path = tmp_path / "params.yaml"
    path.write_text(TEXT, encoding="utf-8")
    for names in (changed, []):
        apply_overrides(path, [f"score.extra_metrics=[{','.join(names)}]"])
        text = path.read_text(encoding="utf-8")
        assert parse_params(text).score.extra_metrics == tuple(names)
    assert text == TEXT


def test_every_key_has_a_comment():
    lines = TEXT.splitlines()
    keys = {match[1] for line in lines if (match := re.match(r"[ -]*(\w+): +[^ #]", line))}
    told = {match[1] for line in lines if (match := re.match(r" *(\w+): .* #", line))}
    told |= {
        line.split(":")[0].strip()
        for above, line in itertools.pairwise(lines)
        if above.lstrip().startswith("#")
    }
    # Keys of an item of a list are told at the list: DVC keeps no comments in it.
    assert keys - told == {"class", "prompt"}


def apply(path: Path, change: str) -> tuple[str, str]:
    """Change the file as `dvc exp run -S` does: the one line that differs, before and after."""
    before = path.read_text(encoding="utf-8").splitlines()
    apply_overrides(path, [change])
    after = path.read_text(encoding="utf-8").splitlines()
    (lines,) = [pair for pair in zip(before, after, strict=True) if pair[0] != pair[1]]
    return lines


def split_comment(line: str) -> tuple[str, str]:
    value, _, comment = line.partition(" #")
    return value.rstrip(), comment.strip()


def test_a_merge_conflict_is_told_as_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = "base: tiny\n<<<<<<< HEAD\nsample: 1\n=======\nsample: 2\n>>>>>>> theirs\n"
    Path("params.yaml").write_text(text)
    with pytest.raises(UserError, match=r"^params\.yaml, line 2: a merge conflict; keep what you"):
        load_params()


@pytest.mark.parametrize("text", ["\u200b", "\ufeff \u2060", "\u3164"])
def test_a_text_of_which_nothing_is_seen_is_refused(text):
    values = load_params().prepare.model_dump() | {"classes": ["cat", text]}
    with pytest.raises(ValidationError, match="should hold a character that is seen"):
        PrepareParams(**values)
