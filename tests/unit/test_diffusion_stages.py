"""The stages encode, finetune and sample on a micro base: what they promise across files."""

import logging
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import get_args

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from stages import encode, finetune, sample
from stages.config import paths
from stages.config.mistakes import UserError
from stages.config.params import Method
from stages.files.tables import read_csv, read_json, read_samples, write_table
from stages.files.tensors import read_finetuned, read_latents, read_prompt_embeds
from tests.tiny import build_base
from tests.unit.stable_diffusion_project import (
    build_encoded_project,
    build_pairs,
    edit_params,
    enter_copy,
    kill_after,
)

METHODS = get_args(Method)
WEIGHTS = paths.FINETUNED / "unet.safetensors"


@pytest.fixture(scope="module")
def encoded_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("encoded") / "project"
    build_encoded_project(folder)
    return folder


@pytest.fixture
def project(encoded_project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return enter_copy(encoded_project, tmp_path, monkeypatch)


def test_encoded_rows_are_those_of_the_pairs(project: Path) -> None:
    latents, embeds = read_latents(paths.LATENTS), read_prompt_embeds(paths.PROMPT_EMBEDS)
    assert latents.mean.shape == latents.std.shape == (10, 4, 16, 16)
    assert latents.is_train.tolist() == [True] * 8 + [False] * 2
    assert latents.scaling_factor.item() == 0.5
    assert embeds.caption_index.tolist() == [1, 2] * 5  # row 0 is the empty caption's
    assert len(embeds.prompt_embeds) == 3


def test_a_picture_of_another_size_is_named(project: Path) -> None:
    edit_params(project, "bases", tiny={"resolution_px": 64})
    with pytest.raises(UserError, match=r"noise/0: 32 x 32 px, expected 64 px square"):
        encode.main()


def test_a_truncated_picture_is_named_and_earlier_results_stay(project: Path) -> None:
    before = paths.LATENTS.read_bytes()
    pairs = build_pairs()
    pairs.at[7, "image"] = pairs.at[7, "image"][:100]
    write_table(pairs, paths.PAIRS)
    with pytest.raises(UserError, match="noise/7"):
        encode.main()
    assert paths.LATENTS.read_bytes() == before


def test_a_long_caption_is_said_to_be_cut(project: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_table(build_pairs().assign(caption="a cat " * 30), paths.PAIRS)
    encode.main()
    assert "is past 24 tokens" in caplog.text


def test_a_checkpoint_holds_what_was_trained_and_no_more(project: Path) -> None:
    finetune.main()
    weights = load_file(WEIGHTS)
    assert len(weights) == 20
    assert all(".attn2." in name and w.dtype == torch.float32 for name, w in weights.items())
    metrics = read_json(paths.FINETUNE_METRICS, "finetune")
    assert metrics["num_trainable_parameters"] == sum(w.numel() for w in weights.values())
    assert metrics["validation_loss_change"] < 0
    loss = pd.read_csv(paths.LOSS)
    assert loss.columns.tolist() == ["step", "loss", "grad_norm", "learning_rate"]
    assert loss["step"].tolist() == [1, 2, 3, 4]
    assert pd.read_csv(paths.VALIDATION_LOSS)["step"].tolist() == [0, 2, 4]


def test_a_killed_training_goes_on_to_the_same_bytes(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finetune.main()
    expected = [path.read_bytes() for path in (WEIGHTS, paths.LOSS, paths.VALIDATION_LOSS)]
    shutil.rmtree(paths.FINETUNED)
    shutil.rmtree(paths.SCRATCH)
    with monkeypatch.context() as patch:
        patch.setattr(finetune, "train", kill_after(finetune.train, 3))
        with pytest.raises(KeyboardInterrupt):
            finetune.main()
    assert not WEIGHTS.exists()
    taken = []
    monkeypatch.setattr(finetune, "train", record_steps(finetune.train, taken))
    finetune.main()
    assert taken == [3, 4]  # the checkpoint is of step 2
    assert expected == [p.read_bytes() for p in (WEIGHTS, paths.LOSS, paths.VALIDATION_LOSS)]


def test_a_checkpoint_of_other_params_is_not_resumed(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(finetune, "train", kill_after(finetune.train, 3))
        with pytest.raises(KeyboardInterrupt):
            finetune.main()
    edit_params(project, "finetune", learning_rate=2e-2)
    taken = []
    monkeypatch.setattr(finetune, "train", record_steps(finetune.train, taken))
    finetune.main()
    assert taken == [1, 2, 3, 4]


@pytest.mark.parametrize("method", ["attn2_kv", "full", "lora"])
def test_each_method_is_trained_and_sampled(project: Path, method: str) -> None:
    edit_params(project, "finetune", method=method, learning_rate=None)
    edit_params(project, "bases", tiny={"learning_rates": dict.fromkeys(METHODS, 2e-2)})
    finetune.main()
    for variant in paths.VARIANTS:
        sample.main(variant)
    metrics = read_json(paths.FINETUNE_METRICS, "finetune")
    weights, config = read_finetuned(paths.FINETUNED)
    assert metrics["method"] == config["method"] == method
    assert metrics["learning_rate"] == config["learning_rate"] == 2e-2
    assert metrics["num_trainable_parameters"] == sum(w.numel() for w in weights.values())
    assert metrics["validation_loss_change"] < 0
    pictures = [np.asarray(Image.open(paths.SAMPLES / v / "cat-1_000.png")) for v in paths.VARIANTS]
    assert not np.array_equal(*pictures)


def test_the_average_is_what_is_kept(project: Path) -> None:
    finetune.main()
    last = load_file(WEIGHTS)
    edit_params(project, "finetune", ema_decay=0.9)
    finetune.main()
    assert all(not torch.equal(last[name], weight) for name, weight in load_file(WEIGHTS).items())


@pytest.mark.parametrize(
    ("method", "file"), [("full", WEIGHTS.name), ("lora", "pytorch_lora_weights.safetensors")]
)
def test_a_killed_training_of_other_methods_goes_on_to_the_same_bytes(
    project: Path, monkeypatch: pytest.MonkeyPatch, method: str, file: str
) -> None:
    edit_params(project, "finetune", method=method)
    finetune.main()
    expected = read_folder(paths.FINETUNED)
    shutil.rmtree(paths.SCRATCH)
    with monkeypatch.context() as patch:
        patch.setattr(finetune, "train", kill_after(finetune.train, 3))
        with pytest.raises(KeyboardInterrupt):
            finetune.main()
    finetune.main()
    assert read_folder(paths.FINETUNED) == expected
    assert sorted(expected) == ["config.json", file]


def test_ctrl_c_leaves_a_checkpoint_of_the_last_step(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(finetune, "train", interrupt_after(finetune.train, 3))
        with pytest.raises(KeyboardInterrupt, match="after step 3; `dvc repro` goes on"):
            finetune.main()
    taken = []
    monkeypatch.setattr(finetune, "train", record_steps(finetune.train, taken))
    finetune.main()
    assert taken == [4]


def test_finished_work_outlives_a_kill_before_dvc_has_saved_it(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finetune.main()
    sample.main("finetuned")
    folders = (paths.FINETUNED, paths.SAMPLES / "finetuned")
    expected = [read_folder(folder) for folder in folders]
    for folder in folders:
        shutil.rmtree(folder)  # as DVC does before it runs a stage again
    taken, sampled = [], []
    monkeypatch.setattr(finetune, "train", record_steps(finetune.train, taken))
    monkeypatch.setattr(sample, "sample_pictures", lambda *_: sampled.append(1))
    finetune.main()
    sample.main("finetuned")
    assert taken == sampled == []
    assert [read_folder(folder) for folder in folders] == expected


def test_a_damaged_checkpoint_is_said_and_training_starts_anew(
    project: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    finetune.main()
    expected = WEIGHTS.read_bytes()
    (checkpoint,) = paths.SCRATCH.glob("finetune/*/checkpoint.safetensors")
    checkpoint.write_bytes(checkpoint.read_bytes()[:-1])
    taken = []
    monkeypatch.setattr(finetune, "train", record_steps(finetune.train, taken))
    finetune.main()
    assert f"{checkpoint} is damaged" in caplog.text
    assert taken == [1, 2, 3, 4]
    assert WEIGHTS.read_bytes() == expected


def test_weights_that_cannot_move_are_an_error(project: Path) -> None:
    edit_params(project, "finetune", learning_rate=1e-30, adam_weight_decay=0.0)
    with pytest.raises(UserError, match=r"moved; raise finetune\.learning_rate"):
        finetune.main()


@pytest.mark.parametrize("method", ["attn2", "lora"])
def test_null_control_samples_the_same_bytes(project: Path, method: str) -> None:
    edit_params(project, "finetune", method=method, max_train_steps=0)
    finetune.main()
    assert read_json(paths.FINETUNE_METRICS, "finetune")["validation_loss_change"] == 0
    for variant in paths.VARIANTS:
        sample.main(variant)
    baseline, finetuned = (read_folder(paths.SAMPLES / variant) for variant in paths.VARIANTS)
    assert baseline == finetuned
    assert sorted(baseline) == [
        "cat-1_000.png",
        "dog-2_000.png",
        "metadata.csv",
        "mug-3_000.png",
        "mug-3_001.png",
    ]


def test_training_changes_pictures_but_not_their_seeds(project: Path) -> None:
    finetune.main()
    for variant in paths.VARIANTS:
        sample.main(variant)
    one, other = (read_samples(paths.SAMPLES / variant) for variant in paths.VARIANTS)
    pd.testing.assert_frame_equal(one, other)
    assert one["seed"].is_unique
    pictures = [np.asarray(Image.open(paths.SAMPLES / v / "cat-1_000.png")) for v in paths.VARIANTS]
    assert not np.array_equal(*pictures)


def test_metadata_loads_as_an_imagefolder(project: Path) -> None:
    sample.main("baseline")
    table = read_csv(paths.SAMPLES / "baseline/metadata.csv", {}, "sample")
    assert table["file_name"].tolist() == sorted(
        path.name for path in (paths.SAMPLES / "baseline").glob("*.png")
    )
    assert table["scheduler"].unique().tolist() == ["ddim"]
    assert table["is_finite"].all()


def test_weights_of_another_base_are_refused(project: Path) -> None:
    finetune.main()
    build_base(project / "models/tiny", seed=1)
    with pytest.raises(UserError, match="trained on another base"):
        sample.main("finetuned")
    assert not (paths.SAMPLES / "finetuned").exists()


def test_a_killed_sampling_keeps_finished_batches(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sample.main("baseline")
    expected = read_folder(paths.SAMPLES / "baseline")
    shutil.rmtree(paths.SCRATCH)
    sizes = []
    real = sample.sample_pictures

    def interrupt(sampler: object, prompts: list[str], seeds: list[int]) -> object:
        sizes.append(len(prompts))
        if len(sizes) == 2:
            raise KeyboardInterrupt
        return real(sampler, prompts, seeds)

    monkeypatch.setattr(sample, "sample_pictures", interrupt)
    with pytest.raises(KeyboardInterrupt):
        sample.main("baseline")
    sample.main("baseline")
    assert sizes == [2, 2, 2]  # the first, the one that was cut off, and that one again
    assert read_folder(paths.SAMPLES / "baseline") == expected


@pytest.mark.parametrize("damage", [Path.unlink, lambda file: file.write_bytes(b"\x89PNG")])
def test_a_batch_whose_picture_was_damaged_is_sampled_again(
    project: Path, monkeypatch: pytest.MonkeyPatch, damage: Callable[[Path], object]
) -> None:
    sample.main("baseline")
    expected = read_folder(paths.SAMPLES / "baseline")
    damage(next(paths.SCRATCH.glob("sample@baseline/*/pictures/cat-1_000.png")))
    sizes = []
    monkeypatch.setattr(sample, "sample_pictures", count_pictures(sample.sample_pictures, sizes))
    sample.main("baseline")
    assert sizes == [2]
    assert read_folder(paths.SAMPLES / "baseline") == expected


def test_ctrl_c_keeps_the_batches_under_way(
    project: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    real, interrupts = sample.sample_pictures, []

    def interrupt(*args: object) -> object:
        if not interrupts:
            interrupts.append(os.kill(os.getpid(), signal.SIGINT))
        return real(*args)

    with monkeypatch.context() as patch:
        patch.setattr(sample, "sample_pictures", interrupt)
        patch.setattr(sample, "build_workers", lambda _: ThreadPoolExecutor(1))
        with pytest.raises(KeyboardInterrupt, match="goes on from there"):
            sample.main("baseline")
    sizes = []
    monkeypatch.setattr(sample, "sample_pictures", count_pictures(real, sizes))
    sample.main("baseline")
    assert f"sample: goes on after {4 - sum(sizes)} pictures" in caplog.text
    assert sum(sizes) < 4


def test_an_unknown_variant_is_refused(project: Path) -> None:
    with pytest.raises(UserError, match="found variant 'base'; should be baseline or finetuned"):
        sample.main("base")


def interrupt_after(train: object, num_steps: int) -> object:
    def interrupted(*args: object) -> Iterator[object]:
        for taken, step in enumerate(train(*args), start=1):
            if taken == num_steps:
                signal.raise_signal(signal.SIGINT)
            yield step

    return interrupted


def count_pictures(sample_pictures: object, sizes: list[int]) -> object:
    def counted(sampler: object, prompts: list[str], seeds: list[int]) -> object:
        sizes.append(len(prompts))
        return sample_pictures(sampler, prompts, seeds)

    return counted


def record_steps(train: object, taken: list[int]) -> object:
    def recorded(*args: object) -> Iterator[object]:
        for step in train(*args):
            taken.append(step.step)
            yield step

    return recorded


def read_folder(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
