"""One micro Stable Diffusion for all tests, loaded anew for each; one project, copied for each."""

from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest
import torch
from accelerate.state import AcceleratorState
from diffusers import DDPMScheduler

from stages.config.params import BaseParams, FinetuneParams, Method, SampleParams, UnetMethod
from stages.training.batches import EncodedPairs
from stages.training.lesson import Lesson
from stages.training.train import Training
from tests.tiny import IMAGE_SIZE_PX, MAX_TOKENS, TEXT_WIDTH, build_base, build_scheduler
from tests.unit.stable_diffusion_project import build_encoded_project, enter_copy

FINETUNE = {
    "method": "attn2",
    "data": "pairs",
    "learning_rate": 1e-2,
    "lora": {
        "rank": 2,
        "alpha": 3,
        "targets": ["to_q", "to_k", "to_v", "to_out.0"],
        "use_dora": False,
    },
    "hydra_lora": {"num_experts": 3},
    "textual_inversion": {"num_vectors": 1},
    "lr_scheduler": "cosine",
    "lr_warmup_steps": 0,
    "max_train_steps": 6,
    "train_batch_size": 4,
    "gradient_accumulation_steps": 1,
    "gradient_checkpointing": False,
    "optimizer": "adamw",
    "adam_beta1": 0.9,
    "adam_beta2": 0.999,
    "adam_weight_decay": 0.01,
    "adam_epsilon": 1e-8,
    "max_grad_norm": 1.0,
    "snr_gamma": None,
    "noise_offset": 0.0,
    "caption_dropout_rate": 0.0,
    "ema_decay": None,
    "validation_steps": 3,
    "checkpoint_steps": 3,
    "seed": 0,
}
SAMPLE = {
    "scheduler": "ddim",
    "num_inference_steps": 4,
    "guidance_scale": 7.5,
    "negative_prompt": None,
    "clip_guidance_scale": 0.0,
    "guide_is_scorer": False,
    "images_per_in_domain_prompt": 1,
    "images_per_marketing_prompt": 2,
    "images_per_subject_prompt": 2,
    "batch_size": 4,
    "seed": 0,
}


@pytest.fixture(autouse=True)
def _forget_precision() -> Iterator[None]:
    """Accelerate keeps a process's mixed precision for good: a test may train in another one."""
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture(scope="session")
def base_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "micro"
    build_base(folder)
    return folder


@pytest.fixture(scope="session")
def encoded_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project of stages that run a diffusion model, up to `encode`; enter a copy of it."""
    folder = tmp_path_factory.mktemp("encoded") / "project"
    build_encoded_project(folder)
    return folder


@pytest.fixture
def project(encoded_project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return enter_copy(encoded_project, tmp_path, monkeypatch)


@pytest.fixture
def base(base_folder: Path) -> BaseParams:
    return build_base_params(base_folder)


@pytest.fixture
def pairs() -> EncodedPairs:
    generator = torch.Generator().manual_seed(0)
    return EncodedPairs(
        mean=torch.randn(10, 4, 8, 8, generator=generator),
        std=torch.rand(10, 4, 8, 8, generator=generator),
        scaling_factor=0.5,
        prompt_embeds=torch.randn(3, MAX_TOKENS, TEXT_WIDTH, generator=generator),
        caption_index=torch.arange(10) % 3,
    )


def as_lesson(training: Training, pairs: EncodedPairs) -> Lesson:
    """The pairs to train on, which are also those to validate on."""
    noise_scheduler = DDPMScheduler.from_config(build_scheduler().config)
    return Lesson(training.weights, pairs, pairs, training.params, noise_scheduler)


def build_base_params(folder: Path, **changes: object) -> BaseParams:
    values = {
        "model": str(folder),
        "revision": None,
        "weights_variant": None,
        "scorer": "local-dir:none",
        "scorer_pretrained": None,
        "scorer_revision": None,
        "guide": "local-dir:none",
        "guide_pretrained": None,
        "guide_revision": None,
        "resolution_px": IMAGE_SIZE_PX,
        "precision": "fp32",
        "learning_rates": {
            "pairs": dict.fromkeys(get_args(UnetMethod), 1e-2),
            "subject": dict.fromkeys(get_args(Method), 1e-2),
        },
        "data": {"source": "drawn", "root": None},
    }
    return BaseParams.model_validate(values | changes)


def build_finetune_params(**changes: object) -> FinetuneParams:
    fitting = {"data": "subject"} if changes.get("method") == "textual_inversion" else {}
    return FinetuneParams.model_validate(FINETUNE | fitting | changes)


def build_sample_params(**changes: object) -> SampleParams:
    return SampleParams.model_validate(SAMPLE | changes)
