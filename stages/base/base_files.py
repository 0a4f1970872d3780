"""Which files a base consists of: those of the parts that the stages load, and no others."""

from collections.abc import Mapping

from stages.config.params import BaseParams
from stages.files.models import Model

STABLE_DIFFUSION_1 = "stable-diffusion-v1-5/stable-diffusion-v1-5"
PARAMETERS = {
    "unet/diffusion_pytorch_model": 859_520_964,
    "vae/diffusion_pytorch_model": 83_653_863,
    "text_encoder/model": 123_060_480,
}
"""Of Stable Diffusion 1.5, by weights file; counted from its architecture, as a test does again."""


def describe_base(base: BaseParams) -> Model:
    """The base with all that the stages read of it; weights as safetensors alone."""
    suffix = f".{base.weights_variant}.safetensors" if base.weights_variant else ".safetensors"
    weights = [stem + suffix for stem in PARAMETERS]
    return Model(
        what="base model",
        key="bases.*.model",
        name=base.model,
        revision=base.revision,
        wanted=[
            ("scheduler/scheduler_config.json",),
            ("tokenizer/tokenizer_config.json",),
            ("tokenizer/vocab.json", "tokenizer/tokenizer.json"),
            ("tokenizer/merges.txt", "tokenizer/tokenizer.json"),
            ("text_encoder/config.json",),
            ("unet/config.json",),
            ("vae/config.json",),
            *((file,) for file in weights),
        ],
        sizes=_list_sizes(base),
        patterns=["*.json", "*.txt", *weights],
        setting="bases.*.model: FOLDER",
    )


def _list_sizes(base: BaseParams) -> Mapping[str, int]:
    """Bytes of the weights, without their headers of some hundred kilobytes."""
    if base.model != STABLE_DIFFUSION_1:
        return {}
    suffix, width = (f".{base.weights_variant}", 2) if base.weights_variant else ("", 4)
    return {f"{stem}{suffix}.safetensors": width * n for stem, n in PARAMETERS.items()}
