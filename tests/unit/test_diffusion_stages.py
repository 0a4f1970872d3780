"""The stages encode, finetune and sample on a micro base: what they promise across files."""

import hashlib
import logging
import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import get_args

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from stages import encode, finetune, sample
from stages.base import identity
from stages.config import paths
from stages.config.mistakes import UserError
from stages.config.params import UnetMethod, load_params
from stages.files.tables import read_json
from stages.files.tensors import read_finetuned, read_latents, read_prompt_embeds
from stages.run.cost import Cost, read_cost, write_cost
from stages.sampling import batches
from stages.training import resume
from tests.pictures import decode_levels, name_images, read_samples
from tests.tiny import build_base
from tests.unit.stable_diffusion_project import (
    build_pairs,
    edit_params,
    kill_after,
    write_pairs,
)

METHODS = get_args(UnetMethod)
WEIGHTS = paths.FINETUNED / "unet.safetensors"
SAMPLES = paths.SAMPLES


def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def flip_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[data.index(b"IDAT") + 20] ^= 1
    path.unlink()  # not the file that it may be a link to
    path.write_bytes(data)


def interrupt_merge(*_: object) -> None:
    raise KeyboardInterrupt


def test_encoded_rows_are_those_of_the_pairs(project: Path) -> None:
    latents, embeds = read_latents(paths.LATENTS), read_prompt_embeds(paths.PROMPT_EMBEDS)
    assert latents.mean.shape == latents.std.shape == (10, 4, 16, 16)
    assert latents.split.tolist() == [0] * 8 + [1] * 2
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
    write_pairs(pairs, paths.PAIRS)
    with pytest.raises(UserError, match="noise/7"):
        encode.main()
    assert paths.LATENTS.read_bytes() == before


def test_a_checkpoint_holds_what_was_trained_and_no_more(project: Path) -> None:
    finetune.main()
    weights = load_file(WEIGHTS)
    assert len(weights) == 20
    assert all(".attn2." in name and w.dtype == torch.float32 for name, w in weights.items())
    metrics = read_json(paths.TRAINING, "finetune")
    assert metrics["num_trainable_parameters"] == sum(w.numel() for w in weights.values())
    assert metrics["validation_loss_change"] < 0
    loss = pd.read_csv(paths.LOSS)
    assert loss.columns.tolist() == ["step", "loss", "grad_norm", "learning_rate"]
    assert loss["step"].tolist() == [1, 2, 3, 4]
    assert pd.read_csv(paths.VALIDATION_LOSS)["step"].tolist() == [0, 2, 4]


def test_a_killed_training_goes_on_to_the_same_bytes(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outs = (WEIGHTS, paths.LOSS, paths.VALIDATION_LOSS, paths.TRAINING)
    finetune.main()
    expected = [path.read_bytes() for path in outs]
    shutil.rmtree(paths.FINETUNED)
    shutil.rmtree(paths.SCRATCH)
    with monkeypatch.context() as patch:
        patch.setattr(resume, "train", kill_after(resume.train, 3))
        with pytest.raises(KeyboardInterrupt):
            finetune.main()
    assert not WEIGHTS.exists()
    taken = []
    monkeypatch.setattr(resume, "train", record_steps(resume.train, taken))
    finetune.main()
    assert taken == [3, 4]  # the checkpoint is of step 2
    assert expected == [path.read_bytes() for path in outs]


def test_what_a_killed_training_took_until_its_last_checkpoint_counts(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(resume, "train", kill_after(resume.train, 3))
        with pytest.raises(KeyboardInterrupt):
            finetune.main()
    (noted,) = paths.SCRATCH.glob("finetune/*/cost.json")
    cost = read_cost(noted, "finetune")
    assert cost.duration_s > 0
    write_cost(cost + Cost(duration_s=1000), noted)
    finetune.main()
    assert 1000 < read_cost(paths.TRAINING_COST, "finetune").duration_s < 1100


def test_a_checkpoint_of_other_params_is_not_resumed(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(resume, "train", kill_after(resume.train, 3))
        with pytest.raises(KeyboardInterrupt):
            finetune.main()
    edit_params(project, "finetune", learning_rate=2e-2)
    taken = []
    monkeypatch.setattr(resume, "train", record_steps(resume.train, taken))
    finetune.main()
    assert taken == [1, 2, 3, 4]


@pytest.mark.parametrize("method", ["attn2_kv", "full", "lora", "hydra_lora"])
def test_each_method_is_trained_and_sampled(project: Path, method: str) -> None:
    edit_params(project, "finetune", method=method, learning_rate="auto")
    rates = load_params().chosen.learning_rates.model_dump()
    edit_params(
        project, "bases", tiny={"learning_rates": rates | {"pairs": dict.fromkeys(METHODS, 2e-2)}}
    )
    finetune.main()
    for variant in paths.VARIANTS:
        sample.main(variant)
    metrics = read_json(paths.TRAINING, "finetune")
    weights, config = read_finetuned(paths.FINETUNED)
    assert metrics["method"] == config["method"] == method
    assert metrics["learning_rate"] == config["learning_rate"] == 2e-2
    assert metrics["num_trainable_parameters"] == sum(w.numel() for w in weights.values())
    assert metrics["validation_loss_change"] < 0
    baseline, finetuned = (name_images(SAMPLES[variant]) for variant in paths.VARIANTS)
    assert baseline["cat-1_000.png"] != finetuned["cat-1_000.png"]


def test_the_average_is_what_is_kept(project: Path) -> None:
    finetune.main()
    last = load_file(WEIGHTS)
    edit_params(project, "finetune", ema_decay=0.9)
    finetune.main()
    assert all(not torch.equal(last[name], weight) for name, weight in load_file(WEIGHTS).items())


@pytest.mark.parametrize(
    ("method", "file"),
    [
        ("full", WEIGHTS.name),
        ("lora", "pytorch_lora_weights.safetensors"),
        ("hydra_lora", "hydra_lora.safetensors"),
    ],
)
def test_a_killed_training_of_other_methods_goes_on_to_the_same_bytes(
    project: Path, monkeypatch: pytest.MonkeyPatch, method: str, file: str
) -> None:
    edit_params(project, "finetune", method=method)
    finetune.main()
    expected = read_folder(paths.FINETUNED)
    shutil.rmtree(paths.SCRATCH)
    with monkeypatch.context() as patch:
        patch.setattr(resume, "train", kill_after(resume.train, 3))
        with pytest.raises(KeyboardInterrupt):
            finetune.main()
    finetune.main()
    assert read_folder(paths.FINETUNED) == expected
    assert sorted(expected) == ["config.json", file]


def test_ctrl_c_leaves_a_checkpoint_of_the_last_step(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(resume, "train", interrupt_after(resume.train, 3))
        with pytest.raises(KeyboardInterrupt, match="after step 3; the same command goes on"):
            finetune.main()
    taken = []
    monkeypatch.setattr(resume, "train", record_steps(resume.train, taken))
    finetune.main()
    assert taken == [4]


def test_finished_work_outlives_a_kill_before_dvc_has_saved_it(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finetune.main()
    sample.main("finetuned")
    expected = read_folder(paths.FINETUNED), SAMPLES["finetuned"].read_bytes()
    shutil.rmtree(paths.FINETUNED)  # as DVC does before it runs a stage again
    SAMPLES["finetuned"].unlink()
    taken, sampled = [], []
    monkeypatch.setattr(resume, "train", record_steps(resume.train, taken))
    monkeypatch.setattr(batches, "sample_pictures", lambda *_: sampled.append(1))
    finetune.main()
    sample.main("finetuned")
    assert taken == sampled == []
    assert (read_folder(paths.FINETUNED), SAMPLES["finetuned"].read_bytes()) == expected


def test_a_damaged_checkpoint_is_said_and_training_starts_anew(
    project: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    finetune.main()
    expected = WEIGHTS.read_bytes()
    (checkpoint,) = paths.SCRATCH.glob("finetune/*/checkpoint.safetensors")
    checkpoint.write_bytes(checkpoint.read_bytes()[:-1])
    taken = []
    monkeypatch.setattr(resume, "train", record_steps(resume.train, taken))
    finetune.main()
    assert f"{checkpoint} is damaged" in caplog.text
    assert taken == [1, 2, 3, 4]
    assert WEIGHTS.read_bytes() == expected


def test_weights_that_cannot_move_are_an_error(project: Path) -> None:
    edit_params(project, "finetune", learning_rate=1e-30, adam_weight_decay=0.0)
    with pytest.raises(UserError, match=r"moved; raise finetune\.learning_rate"):
        finetune.main()


@pytest.mark.parametrize("method", ["attn2", "lora"])
def test_a_run_in_half_precision_says_what_rounding_would_have_left(
    project: Path, method: str
) -> None:
    edit_params(project, "bases", tiny={"precision": "bf16"})
    edit_params(project, "finetune", method=method, learning_rate=1e-5)
    finetune.main()
    metrics = read_json(paths.TRAINING, "finetune")
    assert 0 < metrics["update_rms"] < 1e-3
    assert metrics["update_kept"] > 0.99
    assert metrics["update_kept_if_rounded"] < 0.6


@pytest.mark.parametrize("method", ["attn2", "lora", "hydra_lora"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_null_control_samples_the_same_bytes(project: Path, method: str, precision: str) -> None:
    edit_params(project, "bases", tiny={"precision": precision})
    edit_params(project, "finetune", method=method, max_train_steps=0)
    finetune.main()
    assert read_json(paths.TRAINING, "finetune")["validation_loss_change"] == 0
    for variant in paths.VARIANTS:
        sample.main(variant)
    baseline, finetuned = (path.read_bytes() for path in SAMPLES.values())
    assert baseline == finetuned
    assert list(name_images(SAMPLES["baseline"])) == [
        "cat-1_000.png",
        "dog-2_000.png",
        "mug-3_000.png",
        "mug-3_001.png",
    ]


def test_training_changes_pictures_but_not_their_seeds(project: Path) -> None:
    finetune.main()
    for variant in paths.VARIANTS:
        sample.main(variant)
    one, other = map(read_samples, SAMPLES.values())
    assert one["image"].ne(other["image"]).any()
    pd.testing.assert_frame_equal(*(table.drop(columns="image") for table in (one, other)))
    assert one["seed"].is_unique
    baseline, finetuned = (name_images(SAMPLES[variant]) for variant in paths.VARIANTS)
    assert baseline["cat-1_000.png"] != finetuned["cat-1_000.png"]


def test_plain_pandas_reads_the_pictures_with_what_is_known_of_them(project: Path) -> None:
    sample.main("baseline")
    table = pd.read_parquet(SAMPLES["baseline"])
    assert {decode_levels(data).shape for data in table["image"]} == {(32, 32, 3)}
    assert table["scheduler"].unique().tolist() == ["ddim"]
    assert table["is_finite"].all()


def test_weights_of_another_base_are_refused(project: Path) -> None:
    finetune.main()
    build_base(project / "models/tiny", seed=1)
    with pytest.raises(UserError, match="trained on another base"):
        sample.main("finetuned")
    assert not SAMPLES["finetuned"].exists()


def test_the_fingerprint_of_the_base_is_taken_once(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finetune.main()
    digests = []

    def count() -> object:
        digests.append(hashlib.sha256())
        return digests[-1]

    monkeypatch.setattr(identity, "hashlib", SimpleNamespace(sha256=count))
    sample.main("finetuned")
    assert len(digests) == 1


def test_other_weights_are_sampled_anew(project: Path) -> None:
    found = set()
    for seed in (0, 1):
        edit_params(Path(), "finetune", seed=seed)
        finetune.main()
        sample.main("finetuned")
        found.add(SAMPLES["finetuned"].read_bytes())
    assert len(found) == 2


def test_a_killed_sampling_keeps_finished_batches(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sample.main("baseline")
    expected = SAMPLES["baseline"].read_bytes()
    shutil.rmtree(paths.SCRATCH)
    sizes = []
    real = batches.sample_pictures

    def interrupt(sampler: object, prompts: list[str], seeds: list[int]) -> object:
        sizes.append(len(prompts))
        if len(sizes) == 2:
            raise KeyboardInterrupt
        return real(sampler, prompts, seeds)

    monkeypatch.setattr(batches, "sample_pictures", interrupt)
    with pytest.raises(KeyboardInterrupt):
        sample.main("baseline")
    sample.main("baseline")
    assert sizes == [2, 2, 2]  # the first, the one that was cut off, and that one again
    assert SAMPLES["baseline"].read_bytes() == expected


def test_what_experts_did_is_a_column_of_the_pictures_that_outlives_a_kill(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    edit_params(project, "finetune", method="hydra_lora")
    finetune.main()
    for variant in paths.VARIANTS:
        sample.main(variant)
    table = pd.read_parquet(SAMPLES["finetuned"])
    assert "experts" not in pd.read_parquet(SAMPLES["baseline"])
    for of_picture in table["experts"]:
        assert len(of_picture) == 2 * 32  # as trained, and as at the start
        assert all(weights.sum() == pytest.approx(1, abs=1e-5) for weights in of_picture.values())
    expected = SAMPLES["finetuned"].read_bytes()
    shutil.rmtree(paths.SCRATCH)
    with monkeypatch.context() as patch:
        patch.setattr(batches, "merge_tables", interrupt_merge)
        with pytest.raises(KeyboardInterrupt):
            sample.main("finetuned")
    sample.main("finetuned")
    assert SAMPLES["finetuned"].read_bytes() == expected


@pytest.mark.parametrize("damage", [Path.unlink, cut_off, flip_byte])
def test_a_batch_that_was_damaged_is_sampled_again(
    project: Path, monkeypatch: pytest.MonkeyPatch, damage: Callable[[Path], object]
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(batches, "merge_tables", interrupt_merge)
        with pytest.raises(KeyboardInterrupt):
            sample.main("baseline")
    files = sorted(paths.SCRATCH.glob("sample@baseline/*/batch_*.parquet"))
    assert len(files) == 2
    damage(files[0])
    sizes = []
    monkeypatch.setattr(batches, "sample_pictures", count_pictures(batches.sample_pictures, sizes))
    sample.main("baseline")
    assert sizes == [2]
    (table,) = paths.SCRATCH.glob("sample@baseline/*/*.parquet")  # the batches are in it
    expected = SAMPLES["baseline"].read_bytes()
    damage(table)
    sample.main("baseline")
    assert sizes == [2, 2, 2]
    assert SAMPLES["baseline"].read_bytes() == expected


def test_ctrl_c_keeps_the_batches_under_way(
    project: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    real, interrupts = batches.sample_pictures, []

    def interrupt(*args: object) -> object:
        if not interrupts:
            interrupts.append(os.kill(os.getpid(), signal.SIGINT))
        return real(*args)

    with monkeypatch.context() as patch:
        patch.setattr(batches, "sample_pictures", interrupt)
        patch.setattr(torch, "get_num_threads", lambda: 1)
        with pytest.raises(KeyboardInterrupt, match="goes on from there"):
            sample.main("baseline")
    (noted,) = paths.SCRATCH.glob("sample@baseline/*/cost.json")
    write_cost(read_cost(noted, "sample") + Cost(duration_s=1000), noted)
    sizes = []
    monkeypatch.setattr(batches, "sample_pictures", count_pictures(real, sizes))
    sample.main("baseline")
    assert 1000 < read_cost(paths.SAMPLING_COST["baseline"], "sample").duration_s < 1100
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


def test_pictures_are_written_while_the_next_ones_are_sampled(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sampling, in_time = [threading.Event() for _ in range(2)], []
    draw, write = batches.sample_pictures, batches.write_pictures

    def sample_pictures(*args: object) -> object:
        next(event for event in sampling if not event.is_set()).set()
        return draw(*args)

    def write_pictures(*args: object) -> None:
        in_time.append(sampling[1].wait(10))  # of the second of two batches
        write(*args)

    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)  # one worker, as on a GPU
    monkeypatch.setattr(batches, "sample_pictures", sample_pictures)
    monkeypatch.setattr(batches, "write_pictures", write_pictures)
    edit_params(project, "sample", batch_size=3)
    sample.main("baseline")
    assert in_time
    assert all(in_time)


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
