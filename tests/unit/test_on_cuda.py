"""What the stages compute on a GPU, on one that is pretended: devices and dtypes have to meet."""

import copy
import itertools
from pathlib import Path
from typing import get_args

import pytest
import torch
from PIL import Image
from torch import nn

from stages.adapters.methods import choose_weights
from stages.base.components import (
    DTYPES,
    load_noise_scheduler,
    load_text_encoder,
    load_unet,
    load_vae,
)
from stages.base.device import choose_device
from stages.base.latents import encode_posterior
from stages.base.prompts import encode_prompts
from stages.config.params import BaseParams, FinetuneParams, Method, load_params
from stages.files.taught import Taught
from stages.sampling.clip_guidance import load_guide
from stages.sampling.denoise import SCHEDULERS
from stages.sampling.sampler import build_sampler, sample_pictures
from stages.scoring.embed import embed_images, embed_texts
from stages.scoring.scorer import load_scorer
from stages.training.batches import EncodedPairs
from stages.training.lesson import Lesson, PriorLesson, build_word_lesson
from stages.training.train import build_training, measure_validation_loss, train
from tests.pretend_cuda import CUDA, pretend_cuda
from tests.tiny import IMAGE_SIZE_PX, MAX_TOKENS, TEXT_WIDTH, build_scorer
from tests.unit.conftest import build_base_params, build_finetune_params, build_sample_params

PRECISIONS = ("fp16", "bf16", "fp32")
METHODS = [method for method in get_args(Method) if method != "import"]
NUM_LAYERS = 32
"""Of the micro base, that adapters stand in."""
WAITS_OF_A_STEP = ["copy"]
"""By design: of the loss, which is logged and must be finite, and of the norm of the gradient,
which decides whether the step is taken."""
WAITS_OF_A_WORD = ["copy", "copy", "copy"]
"""And the captions' embeddings with their gradients: batches are drawn from what is on the CPU."""


IN_PRECISIONS = ["fp16", *(pytest.param(p, marks=pytest.mark.thorough) for p in ("bf16", "fp32"))]
WITH_SCHEDULERS = [
    s if s == "ddim" else pytest.param(s, marks=pytest.mark.thorough) for s in SCHEDULERS
]
QUICK = ("attn2", "lora", "hydra_lora", "textual_inversion")
"""Of the methods, what is no special case of another one."""


def list_steps() -> list:
    """All methods in all precisions, with and without checkpointing; most are `thorough`."""
    steps = []
    for method, precision, checkpointing in itertools.product(METHODS, PRECISIONS, (False, True)):
        is_quick = method in QUICK and precision == "fp16" and checkpointing == (method == "attn2")
        marks = [] if is_quick else pytest.mark.thorough
        steps.append(pytest.param(method, precision, checkpointing, marks=marks))
    return steps


@pytest.mark.parametrize(("method", "precision", "checkpointing"), list_steps())
def test_a_step_meets_one_device_and_one_dtype_and_waits_only_for_what_it_logs(
    base: BaseParams, pairs: EncodedPairs, method: str, precision: str, checkpointing: bool
) -> None:
    with pretend_cuda() as gpu:
        unet = load_unet(base)
        params = build_finetune_params(
            method=method, gradient_checkpointing=checkpointing, snr_gamma=5.0, ema_decay=0.9
        )
        lesson = build_lesson(base, unet, params, pairs)
        training = build_training(unet, lesson.weights, params, 1e-4, precision)
        gpu.waits.clear()
        next(train(training, lesson))
    waits = WAITS_OF_A_WORD if method == "textual_inversion" else WAITS_OF_A_STEP
    assert gpu.waits == waits
    for name, weight in training.weights.items():
        assert (weight.device, weight.dtype) == (CUDA, torch.float32), name
        assert (weight.grad.device, weight.grad.dtype) == (CUDA, torch.float32), name
        assert training.optimizer.state[weight]["exp_avg"].device == CUDA, name
    assert (training.accelerator.scaler is not None) == (precision == "fp16")


def test_a_step_of_several_batches_and_losses_waits_once(
    base: BaseParams, pairs: EncodedPairs
) -> None:
    with pretend_cuda() as gpu:
        unet, params = load_unet(base), build_finetune_params(data="subject")
        params = params.model_copy(update={"gradient_accumulation_steps": 2})
        lesson = build_lesson(base, unet, params, pairs)
        training = build_training(unet, lesson.weights, params, 1e-4, "fp16")
        gpu.waits.clear()
        next(train(training, lesson))
    assert gpu.waits == ["copy"]


def build_lesson(
    base: BaseParams, unet: nn.Module, params: FinetuneParams, pairs: EncodedPairs
) -> Lesson:
    noise_scheduler = load_noise_scheduler(base)
    if params.method == "textual_inversion":
        taught = Taught(True, load_params().subject)
        captions = [f"a {taught.learned}", f"a photo of a {taught.learned}"] * len(pairs.mean)
        return build_word_lesson(base, params, taught, (pairs, pairs), captions, noise_scheduler)
    common = (choose_weights(unet, params), pairs, pairs, params, noise_scheduler)
    if params.learns_subject:
        return PriorLesson(*common, prior=pairs, prior_loss_weight=1.0)
    return Lesson(*common)


@pytest.mark.parametrize("precision", IN_PRECISIONS)
def test_the_validation_loss_meets_one_device_and_one_dtype_and_waits_once_a_batch(
    base: BaseParams, pairs: EncodedPairs, precision: str
) -> None:
    with pretend_cuda() as gpu:
        unet, params = load_unet(base), build_finetune_params()
        lesson = build_lesson(base, unet, params, pairs)
        training = build_training(unet, lesson.weights, params, 1e-4, precision)
        gpu.waits.clear()
        measure_validation_loss(training, lesson)
    assert gpu.waits == ["item"]  # its loss


@pytest.mark.parametrize("scheduler", WITH_SCHEDULERS)
@pytest.mark.parametrize("precision", IN_PRECISIONS)
def test_pictures_are_denoised_and_decoded_on_one_device_without_a_wait_between_steps(
    base_folder: Path, scheduler: str, precision: str
) -> None:
    base = build_base_params(base_folder, precision=precision)
    params = build_sample_params(scheduler=scheduler, num_inference_steps=2)
    unet = load_unet(base)
    for name, weight in unet.named_parameters():
        weight.data += 0.1 * (".attn2.to_q" in name)  # trained layers compute in float32
    embeds = dict.fromkeys(["", "a cat"], torch.zeros(MAX_TOKENS, TEXT_WIDTH))
    with pretend_cuda() as gpu:
        sampler = build_sampler(base, params, unet, embeds)
        gpu.waits.clear()
        sampled = sample_pictures(sampler, ["a cat"] * 2, [0, 1])
    assert gpu.waits == ["copy", "copy"]  # the pictures, and which of them are finite
    assert sampled.images.shape == (2, IMAGE_SIZE_PX, IMAGE_SIZE_PX, 3)
    dtypes = {weight.dtype for weight in sampler.unet.parameters()}
    assert dtypes == {DTYPES[precision], torch.float32}
    assert {weight.device for weight in sampler.unet.parameters()} == {CUDA}


@pytest.mark.parametrize("precision", IN_PRECISIONS)
def test_what_experts_did_is_read_once_a_batch(base_folder: Path, precision: str) -> None:
    base = build_base_params(base_folder, precision=precision)
    unet = load_unet(base)
    choose_weights(unet, build_finetune_params(method="hydra_lora"))
    embeds = dict.fromkeys(["", "a cat"], torch.zeros(MAX_TOKENS, TEXT_WIDTH))
    with pretend_cuda() as gpu:
        sampler = build_sampler(base, build_sample_params(), unet, embeds)
        gpu.waits.clear()
        sampled = sample_pictures(sampler, ["a cat"] * 2, [0, 1])
    assert gpu.waits == ["copy", "copy", "copy"]  # the experts, the pictures, which are finite
    assert [len(of_picture) for of_picture in sampled.experts] == [NUM_LAYERS, NUM_LAYERS]
    assert {weight.device for weight in sampler.unet.parameters()} == {CUDA}


@pytest.mark.parametrize("scheduler", WITH_SCHEDULERS)
@pytest.mark.parametrize("precision", IN_PRECISIONS)
def test_a_guide_leads_on_one_device_without_a_wait_between_steps(
    base_folder: Path, tmp_path: Path, scheduler: str, precision: str
) -> None:
    build_scorer(tmp_path / "guide")
    guide = f"local-dir:{tmp_path / 'guide'}"
    base = build_base_params(base_folder, precision=precision, guide=guide)
    params = build_sample_params(scheduler=scheduler, num_inference_steps=2)
    embeds = dict.fromkeys(["", "a cat"], torch.zeros(MAX_TOKENS, TEXT_WIDTH))
    with pretend_cuda() as gpu:
        led = load_guide(base, 5.0, {"a cat": "a cat"}, choose_device())
        sampler = build_sampler(base, params, load_unet(base), embeds, guide=led)
        gpu.waits.clear()
        sampled = sample_pictures(sampler, ["a cat"] * 2, [0, 1])
    assert gpu.waits == ["copy"] * 3  # pictures, the guide's cosines, and which are finite
    assert sampled.guide_cosine.shape == (2,)


def test_pictures_and_prompts_are_encoded_on_one_device(base: BaseParams) -> None:
    with pretend_cuda() as gpu:
        vae = load_vae(base, choose_device())
        mean, std = encode_posterior(vae, torch.zeros(2, 3, IMAGE_SIZE_PX, IMAGE_SIZE_PX))
        embeds = encode_prompts(*load_text_encoder(base, choose_device()), ["", "a cat"])
    assert vae.device == CUDA
    assert {tensor.device.type for tensor in (mean, std, embeds)} == {"cpu"}
    assert gpu.waits == ["copy"] * 3  # what is written to files


def test_the_scorer_embeds_on_one_device(tmp_path: Path) -> None:
    build_scorer(tmp_path / "scorer")
    with pretend_cuda() as gpu:
        scorer = load_scorer(f"local-dir:{tmp_path / 'scorer'}", None)
        embed_images(scorer, [Image.new("RGB", (40, 40))] * 2)
        embed_texts(scorer, ["a cat", "a dog"])
    assert {weight.device for weight in scorer.model.parameters()} == {CUDA}
    assert gpu.waits == ["copy", "copy"]  # the embeds


def test_a_tensor_that_stays_on_the_cpu_fails() -> None:
    with pretend_cuda(), pytest.raises(RuntimeError, match="devices, cuda:0 and cpu"):
        torch.zeros(2, device="cuda") + torch.zeros(2)


@pytest.mark.parametrize(
    "layer", [nn.Linear(4, 4), nn.Conv2d(4, 4, 1), nn.GroupNorm(2, 4), nn.LayerNorm(4)]
)
def test_two_dtypes_that_meet_fail_but_not_where_autocast_makes_them_one(layer: nn.Module) -> None:
    with pretend_cuda():
        layer = copy.deepcopy(layer).to("cuda")
        half = torch.zeros(1, 4, 4, 4, device="cuda", dtype=torch.float16)
        with torch.autocast("cuda", dtype=torch.float16):
            layer(half)
        with pytest.raises((RuntimeError, AssertionError), match=r"dtype|should be the same"):
            layer(half)


def test_real_tensors_are_computed_and_those_of_the_gpu_have_no_values() -> None:
    with pretend_cuda() as gpu:
        real = torch.arange(3.0) * 2
        assert real.tolist() == [0, 2, 4]
        assert gpu.waits == []
        assert real.to("cuda").cpu().tolist() == [0, 0, 0]
        assert real.to("cuda").sum().item() == 0
    assert gpu.waits == ["copy", "item"]
