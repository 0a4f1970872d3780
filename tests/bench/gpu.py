"""`make gpu`: what has to be measured on a GPU, in one go, at most nine minutes, without network.

Stable Diffusion 1.5 has random weights in its true architecture. Each part is measured in a process
of its own, the most telling first; what was measured is written after each part, and what is left
when time runs out is named. On a CPU the models are micro ones: that shows that it works, and the
numbers mean nothing.
"""

import argparse
import hashlib
import json
import multiprocessing
import os
import platform
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np
import open_clip
import torch
from PIL import Image
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from stages.base.device import choose_device, describe_device
from stages.base.latents import encode_posterior
from stages.encode import BATCH_SIZE as ENCODE_BATCH_SIZE
from stages.files.tensors import read_checkpoint, write_tensors
from stages.run.cost import measure_peak_memory
from stages.run.numbers import ask_for_exact_numbers
from stages.sampling.sampler import sample_pictures
from stages.scoring.embed import embed_images
from stages.scoring.scorer import Scorer, load_scorer
from stages.training.resume import History, pack_checkpoint, unpack_checkpoint
from stages.training.train import Training, train
from tests import tiny
from tests.bench import pipeline
from tests.bench import stable_diffusion as sd
from tests.micro_project import Project
from tests.unit.conftest import as_lesson

GPU_S, CPU_S = 540, 100
PART_S, END_S = 200, 10
"""For one part, so that a slow one leaves some to the others; and for its process to end."""
FOLDER = Path("scratch/gpu")
NUM_SAME_STEPS, NUM_PROFILED = 10, 5
NUM_GRAPH_STEPS = 3
"""Before graphs are replayed: one takes the passes apart, one warms up, one is recorded."""
NUM_EMBEDDED = 64
"""Pictures at once, as `score.batch_size` has it."""

Numbers = dict[str, Any]
"""What a part measured, by its name with the unit."""


class Part(NamedTuple):
    """One measurement: its name, what measures it, and how much of it is done."""

    name: str
    measure: Callable[[], Numbers]
    scale: sd.Scale


def main() -> None:
    """Measure all that there is time for; print it, and write it to FOLDER."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.gpu")
    limit_s = GPU_S if torch.cuda.is_available() else CPU_S
    parser.add_argument("--seconds", type=float, default=limit_s, help="stop after so many")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="for gpu.json and gpu.md")
    options = parser.parse_args()
    end_s = time.monotonic() + options.seconds
    options.folder.mkdir(parents=True, exist_ok=True)
    found: dict[str, Numbers] = {"machine": describe_machine()}
    for part in list_parts():
        found[part.name] = measure_alone(part, end_s)
        say(f"{part.name}: {json.dumps(found[part.name])}")
        (options.folder / "gpu.json").write_text(json.dumps(found, indent=2) + "\n")
        (options.folder / "gpu.md").write_text("\n".join(tabulate(found)) + "\n")
    say("\n".join(["", *tabulate(found), "", f"written to {options.folder}"]))


def list_parts() -> list[Part]:
    """All of them, the most telling first."""
    is_gpu = torch.cuda.is_available()
    fp16 = sd.Scale("fp16", 4, 400, 30, 8, 16) if is_gpu else sd.Scale("fp32", 2, 2, 1, 1, 2)
    bf16 = fp16._replace(precision="bf16")
    usual = fp16._replace(num_train_steps=min(100, fp16.num_train_steps))
    ways: list[tuple[str, Callable[[], sd.Cost], sd.Scale]] = [
        ("attn2 step (attune)", sd.time_our_step, fp16),
        ("attn2 step (attune)", sd.time_our_step, bf16),
        ("whole step, encoders in the loop (diffusers)", sd.time_whole_step, usual),
        ("whole step, cached (diffusers)", sd.time_cached_whole_step, usual),
        ("lora step (attune)", partial(sd.time_our_step, "lora"), usual),
        ("lora step (diffusers)", sd.time_lora_step, usual),
        ("picture, one at a time (diffusers)", sd.time_single_pictures, fp16),
    ]
    parts = [
        Part(f"{name}, {scale.precision}", partial(measure_cost, way), scale)
        for name, way, scale in ways
    ]
    parts += [
        Part(
            f"picture, batches of {size} (attune), {fp16.precision}",
            partial(measure_cost, sd.time_our_pictures),
            fp16._replace(batch_size=size),
        )
        for size in ((16, 64, 1) if is_gpu else (2, 1))
    ]
    return [
        *parts,
        Part("same bytes", compare_bytes, fp16),
        Part("resume", compare_resumed, fp16),
        Part("a step's time", profile_step, fp16),
        Part("attn2 step in CUDA graphs", measure_graphs, fp16),
        Part("encode", measure_encoding, fp16),
        Part("score", measure_scoring, fp16),
        Part("repro of the tiny base", measure_repro, fp16),
    ]


def describe_machine() -> Numbers:
    """Device, driver and torch."""
    return {
        "device": describe_device(choose_device()),
        "driver": read_driver(),
        "cuda": torch.version.cuda,
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def read_driver() -> str:
    """The version of NVIDIA's driver, as the kernel tells it."""
    try:
        return Path("/proc/driver/nvidia/version").read_text().splitlines()[0].split("  ")[1]
    except (OSError, IndexError):
        return "none"


def tabulate(found: dict[str, Numbers]) -> list[str]:
    """The rows for docs/benchmarks.md."""
    machine = ", ".join(f"{key} {value}" for key, value in found["machine"].items())
    rows = [
        f"| {name} | {what} | {f'{value:.4g}' if isinstance(value, float) else value} |"
        for name, numbers in found.items()
        if name != "machine"
        for what, value in numbers.items()
    ]
    return [machine, "", "| part | what | measured |", "| --- | --- | --- |", *rows]


def measure_alone(part: Part, end_s: float) -> Numbers:
    """Measure a part in a process of its own, which is ended when the time is over."""
    if time.monotonic() >= end_s:
        return {"left out": "no time was left"}
    # CUDA does not outlive a fork; without it, a server that has imported all saves ten seconds.
    context = multiprocessing.get_context("spawn" if torch.cuda.is_available() else "forkserver")
    context.set_forkserver_preload([__spec__.name])
    ours, theirs = context.Pipe()
    process = context.Process(target=run_part, args=(part, theirs))
    started = time.monotonic()
    process.start()
    theirs.close()
    numbers: Numbers = {"left out": "its time was over"}
    try:
        left_s = min(end_s - time.monotonic(), PART_S)  # starting took some
        if ours.poll(max(left_s, 0)):
            numbers = ours.recv()
            process.join(END_S)
    except EOFError:
        numbers = {"failed": "its process died"}
    finally:
        if process.is_alive():
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.kill()  # it may not lead a group yet
        process.join()
    return numbers | {"took s": round(time.monotonic() - started, 1)}


def run_part(part: Part, answer: Connection) -> None:
    """In that process: answer with the numbers, or with what went wrong."""
    os.setsid()  # so that what it started ends with it
    if "(diffusers)" not in part.name:
        ask_for_exact_numbers()  # as the stages do; diffusers' scripts leave torch as it is
    sd.choose_scale = lambda: part.scale
    if not torch.cuda.is_available():
        use_micro_models()
    try:
        answer.send(part.measure())
    except Exception as error:  # the other parts go on
        traceback.print_exc()
        answer.send({"failed": f"{type(error).__name__}: {str(error).splitlines()[0][:200]}"})


def use_micro_models() -> None:
    """Let the parts of stable_diffusion build the tests' models."""
    tokenizer = tiny.build_tokenizer()
    sd.build_unet, sd.build_vae = tiny.build_unet, tiny.build_vae
    sd.build_text_encoder = partial(tiny.build_text_encoder, tokenizer)
    sd.RESOLUTION_PX, sd.VOCABULARY_SIZE = tiny.IMAGE_SIZE_PX, len(tokenizer)
    sd.TEXT_LENGTH, sd.TEXT_WIDTH = tiny.MAX_TOKENS, tiny.TEXT_WIDTH


def measure_cost(way: Callable[[], sd.Cost]) -> Numbers:
    """Seconds of one step or picture, and the peak."""
    cost = way()
    return {"s": cost.seconds, "a second": 1 / cost.seconds, "peak GiB": cost.peak_memory_gib}


def compare_bytes() -> Numbers:
    """Whether two trainings, and two samplings, give the same; how far a batch moves a picture."""
    weights = [hash_weights(take_steps(*start_training())) for _ in range(2)]
    sampler = build_seeded_sampler()
    seeds = range(sd.choose_scale().batch_size)
    batches = [sample_pictures(sampler, ["a prompt"] * len(seeds), seeds).images for _ in range(2)]
    alone = sample_pictures(sampler, ["a prompt"], seeds[:1]).images
    apart = np.abs(alone[0].astype(int) - batches[0][0].astype(int))
    return {
        f"{NUM_SAME_STEPS} steps twice": say_same(weights[0] == weights[1]),
        f"{len(seeds)} pictures twice": say_same(np.array_equal(*batches)),
        "a picture alone and in a batch, levels of 255": int(apart.max()),
    }


def compare_resumed() -> Numbers:
    """Whether a training that goes on from a checkpoint ends as one that was never stopped."""
    straight = take_steps(*start_training())
    killed, lesson = start_training()
    half = NUM_SAME_STEPS // 2
    steps = train(killed, lesson)
    history = History([next(steps) for _ in range(half)], [(0, 0.0)])
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "checkpoint.safetensors")
        started = time.perf_counter()
        write_tensors(file, pack_checkpoint(killed, history))
        write_s = time.perf_counter() - started
        resumed, lesson = start_training()
        history = unpack_checkpoint(resumed, read_checkpoint(file))
    list(train(resumed, lesson, history.next_step))
    return {
        "weights after all": say_same(hash_weights(straight) == hash_weights(resumed)),
        "writing a checkpoint, s": write_s,
    }


def measure_graphs() -> Numbers:
    """What CUDA graphs around forward and backward would bring, and whether the step stays itself.

    torch compiles nothing for it but takes both passes apart, a minute for Stable Diffusion 1.5. On
    a CPU it then leaves the graphs out.
    """
    os.environ.pop("TORCHDYNAMO_DISABLE", None)  # as `run_stage` does
    import torch._dynamo.utils  # noqa: PLC0415 - reads that as it is imported

    seconds, weights = [], []
    for is_in_graphs in (False, True):
        training, lesson = start_training()
        if is_in_graphs:
            training.model.compile(backend="cudagraphs")
        durations = [step.duration_s for step in train(training, lesson)]
        seconds.append(median(durations[NUM_GRAPH_STEPS:]))
        weights.append(hash_weights(training))
    counters = torch._dynamo.utils.counters
    return {
        "s without": seconds[0],
        "s in graphs": seconds[1],
        "times as fast": seconds[0] / seconds[1],
        "weights": say_same(weights[0] == weights[1]),
        "pieces": counters["stats"]["unique_graphs"],
        "pieces left out": counters["inductor"]["cudagraph_skips"],
        "peak GiB": measure_peak_memory() / 2**10,
    }


def profile_step() -> Numbers:
    """Where a step's time goes: kernels on the GPU, gaps between them, and the largest ones."""
    training, lesson = start_training()
    steps = train(training, lesson)
    for _ in range(3):
        next(steps)
    is_gpu = torch.cuda.is_available()
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if is_gpu else [])]
    started = time.perf_counter()
    with profile(activities=activities) as profiler:
        for _ in range(NUM_PROFILED):
            next(steps)
        if is_gpu:
            torch.cuda.synchronize()
        step_ms = (time.perf_counter() - started) / NUM_PROFILED * 1e3
    kind = "device" if is_gpu else "cpu"
    events = [e for e in profiler.key_averages() if not e.is_user_annotation]
    if is_gpu:
        events = [event for event in events if event.device_type == DeviceType.CUDA]
    times = {e.key: getattr(e, f"self_{kind}_time_total") / NUM_PROFILED / 1e3 for e in events}
    busy_ms = sum(times.values())
    largest = sorted(times, key=times.get, reverse=True)[:5]
    return {
        "ms a step, profiled": step_ms,
        f"ms in {kind} operations": busy_ms,
        "ms between them": max(0.0, step_ms - busy_ms),
        "operations a step": sum(e.count for e in events) // NUM_PROFILED,
        **{f"ms in {name[:60].replace('|', ' ')}": times[name] for name in largest},
    }


def measure_encoding() -> Numbers:
    """Pictures a second through the VAE's encoder."""
    vae = sd.build_vae().to(choose_device()).requires_grad_(False).eval()
    pixel_values = torch.zeros(ENCODE_BATCH_SIZE, 3, sd.RESOLUTION_PX, sd.RESOLUTION_PX)
    cost = sd.time_calls(lambda: encode_posterior(vae, pixel_values), 5)
    return {"pictures a second": len(pixel_values) / cost.seconds, "peak GiB": cost.peak_memory_gib}


def measure_scoring() -> Numbers:
    """Pictures a second through the scorer, its preprocessing on the CPU included."""
    scorer = build_random_scorer()
    images = [Image.new("RGB", (sd.RESOLUTION_PX, sd.RESOLUTION_PX))] * NUM_EMBEDDED
    cost = sd.time_calls(lambda: embed_images(scorer, images), 5)
    return {"pictures a second": len(images) / cost.seconds, "peak GiB": cost.peak_memory_gib}


def measure_repro() -> Numbers:
    """`dvc repro` of the shipped default in a clone; of a micro copy as far as prepare on a CPU."""
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder, "clone")
        if torch.cuda.is_available():
            pipeline.run(Path.cwd(), "git", "clone", "--quiet", str(Path.cwd()), str(clone))
            return {"s": pipeline.run(clone, "dvc", "repro", "--force")}
        project = Project(clone)
        project.set_micro_params()
        started = time.perf_counter()
        project.repro("prepare")
        return {"s, as far as prepare": time.perf_counter() - started}


def start_training() -> tuple[Training, Any]:
    """A training from the same weights on the same pairs, whenever it is called."""
    torch.manual_seed(0)
    settings, pairs = sd.load_finetune_params(NUM_SAME_STEPS), sd.make_pairs()
    training = sd.build_our_training(sd.build_unet(), settings)
    return training, as_lesson(training, pairs)


def take_steps(training: Training, lesson: Any) -> Training:
    """All of them."""
    list(train(training, lesson))
    return training


def hash_weights(training: Training) -> str:
    """SHA-256 of what was trained."""
    digest = hashlib.sha256()
    for weight in training.weights.values():
        digest.update(weight.detach().cpu().contiguous().numpy().data)
    return digest.hexdigest()


def build_seeded_sampler() -> sd.Sampler:
    """From the same weights, whenever it is called."""
    torch.manual_seed(0)
    return sd.build_our_sampler()


def build_random_scorer() -> Scorer:
    """The architecture of sd15's scorer; on a CPU a micro one."""
    device, name = choose_device(), "ViT-B-32-quickgelu"
    if device.type == "cpu":
        with tempfile.TemporaryDirectory() as folder:
            tiny.build_scorer(Path(folder))
            return load_scorer(f"local-dir:{folder}", None)
    model, _, preprocess = open_clip.create_model_and_transforms(name, device=device)
    model = model.eval().requires_grad_(False)
    return Scorer(model, preprocess, open_clip.get_tokenizer(name), device, name, "random")


def say_same(is_same: bool) -> str:
    """In a word."""
    return "the same bytes" if is_same else "other bytes"


def say(text: str) -> None:
    """Print it now: whoever waits sees how far it is."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
