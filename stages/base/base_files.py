"""Which files a base consists of: those of the parts that the stages load, and no others."""

from stages.config.params import BaseParams
from stages.files.hub import Model


def describe_base(base: BaseParams) -> Model:
    """The base with all that the stages read of it; weights only as safetensors."""
    suffix = f".{base.weights_variant}.safetensors" if base.weights_variant else ".safetensors"
    parts = ("unet/diffusion_pytorch_model", "vae/diffusion_pytorch_model", "text_encoder/model")
    weights = [part + suffix for part in parts]
    return Model(
        what="base model",
        key="bases.*.model",
        revision_key="bases.*.revision",
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
        patterns=["*.json", "*.txt", *weights],
        setting="bases.*.model: FOLDER",
    )
