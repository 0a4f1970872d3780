"""What the docs say is read or refused has a test, row by row."""

import ast
import re
from pathlib import Path

import pytest

ADAPTERS = Path("tests/unit/adapters")
IMPORTED, FOREIGN = ADAPTERS / "test_imported.py", ADAPTERS / "test_foreign.py"
TESTS: dict[str, dict[str, tuple[Path, str]]] = {
    "What is read": {
        "LoRA of kohya's sd-scripts, OneTrainer and others": (
            IMPORTED,
            "test_kohya_is_merged_as_diffusers_does",
        ),
        "LoRA of diffusers' scripts and SimpleTuner": (
            IMPORTED,
            "test_diffusers_own_file_is_merged_as_diffusers_does",
        ),
        "a folder of peft's, or `unet/` and `text_encoder/` with one each": (
            IMPORTED,
            "test_what_peft_saves_is_merged_as_peft_does",
        ),
        "LyCORIS": (IMPORTED, "test_lycoris_is_merged_as_peft_does"),
        "a pipeline's folder": (IMPORTED, "test_a_pipelines_folder_gives_all_of_its_weights"),
        "a single file": (IMPORTED, "test_a_single_file_is_read_as_diffusers_does"),
        "weights of the U-Net under diffusers' names": (
            IMPORTED,
            "test_a_part_of_a_unet_under_its_own_names_is_read",
        ),
        "a textual-inversion embedding": (IMPORTED, "test_a_words_rows_are_read"),
    },
    "What is refused": {
        "`.ckpt`, `.pt`, `.pth`, `.bin`, and such a file under another name": (
            FOREIGN,
            "test_a_pickle_is_refused_with_a_command_that_converts_it",
        ),
        "keys that fit nothing in the base": (
            IMPORTED,
            "test_an_adapter_that_does_not_fit_is_refused",
        ),
        "tensors of another width": (IMPORTED, "test_an_adapter_that_does_not_fit_is_refused"),
        "modules without one of their tensors; fewer than peft's config names": (
            IMPORTED,
            "test_half_of_the_modules_that_a_config_names_is_refused",
        ),
        "values that are not finite": (IMPORTED, "test_an_adapter_that_does_not_fit_is_refused"),
        "an adapter whose effect is exactly zero": (
            IMPORTED,
            "test_an_adapter_that_does_not_fit_is_refused",
        ),
        "OFT, BOFT, (IA)^3, GLoRA, VeRA, LyCORIS's norm layers, LoRA with a bias or of the token "
        "embedding, embeddings bundled with an adapter": (
            IMPORTED,
            "test_an_adapter_that_does_not_fit_is_refused",
        ),
        "peft's PiSSA, OLoRA, CorDA, LoftQ, LoRA-GA, MiCA": (
            IMPORTED,
            "test_an_adapter_whose_start_changed_the_base_is_refused",
        ),
        "a pipeline with another noise schedule or prediction type, or a config that computes "
        "otherwise": (
            IMPORTED,
            "test_a_pipeline_of_another_schedule_or_architecture_is_refused",
        ),
        "several files in one folder; two embeddings in one file": (
            FOREIGN,
            "test_a_folder_of_several_files_asks_for_one_of_them",
        ),
    },
}
"""By heading of docs/import.md, what a row is about and one of the tests of it."""


@pytest.mark.parametrize("heading", TESTS)
def test_each_row_of_the_formats_has_a_test(heading: str) -> None:
    text = Path("docs/import.md").read_text(encoding="utf-8")
    section = re.split(r"^## ", text.split(f"## {heading}\n", 1)[1], flags=re.MULTILINE)[0]
    rows = [line.split("|")[1].strip() for line in section.splitlines() if line.startswith("| ")]
    assert rows[2:] == list(TESTS[heading])
    missing = [
        f"{file}: {name}"
        for file, name in TESTS[heading].values()
        if name not in _list_functions(file)
    ]
    assert missing == []


def _list_functions(file: Path) -> set[str]:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
