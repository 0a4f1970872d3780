"""What a CLIP model of open_clip consists of, and how open_clip finds it on this machine.

open_clip itself knows no revisions, and takes another file where a download fails.
"""

from pathlib import Path
from typing import Any, NamedTuple

import open_clip

from stages.config.params import Params
from stages.files.download import fetch_model
from stages.files.hub import Model

LOCAL_PREFIX = "local-dir:"
HUB_PREFIX = "hf-hub:"
CONFIG = "open_clip_config.json"
WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
"""In the order in which open_clip looks for them; it reads the second one with `weights_only`."""
PREPROCESSING = ("mean", "std", "interpolation", "resize_mode")
"""Of what a tag says; a file's path would not tell open_clip."""


class Located(NamedTuple):
    """What open_clip is to be told, so that all it needs is on this machine.

    Attributes:
        name: Of the model.
        arguments: The others, by name.
        tokenizer: Its name; for open_clip.get_tokenizer.
    """

    name: str
    arguments: dict[str, Any]
    tokenizer: str


def describe_clips(params: Params) -> list[Model]:
    """Scorer and, where one leads, guide: what each consists of, if it is on the hub."""
    base = params.chosen
    found = [describe_clip(base.scorer, base.scorer_pretrained, base.scorer_revision)]
    if params.sample.clip_guidance_scale:
        found += [describe_clip(base.guide, base.guide_pretrained, base.guide_revision, "guide")]
    return [model for model in found if model]


def describe_clip(
    name: str, pretrained: str | None, revision: str | None = None, role: str = "scorer"
) -> Model | None:
    """What a model on the hub consists of; None for one in a folder, a file, or elsewhere.

    A tag, such as openai, stands for a repository: open_clip.pretrained says which. `role` is what
    params.yaml calls it: scorer or guide.
    """
    if name.startswith(HUB_PREFIX):
        repository, file = name.removeprefix(HUB_PREFIX), ""
    elif name.startswith(LOCAL_PREFIX) or pretrained is None:
        return None
    else:
        location = read_tag(name, pretrained).get("hf_hub", "")
        repository, _, file = location.rpartition("/")
    if not repository:
        return None
    weights = (str(Path(file).with_suffix(".safetensors")), file) if file else WEIGHTS
    config = [(CONFIG,)] if name.startswith(HUB_PREFIX) else []
    return Model(
        what=f"{role} {name}",
        key=f"bases.*.{role}",
        revision_key=f"bases.*.{role}_revision",
        name=repository,
        revision=revision,
        wanted=[*config, weights],
        patterns=["*.json", "*.txt", weights[0]],
        setting=f"bases.*.{role}: {LOCAL_PREFIX}FOLDER, {role}_pretrained: none",
    )


def read_tag(name: str, pretrained: str | None) -> dict[str, Any]:
    """What open_clip knows of weights by their tag; nothing of a file's."""
    return open_clip.get_pretrained_cfg(name.replace("/", "-"), pretrained) if pretrained else {}


def locate_clip(
    name: str, pretrained: str | None, revision: str | None = None, role: str = "scorer"
) -> Located:
    """Download what is on the hub, at `revision`, and say how open_clip finds it here.

    Raises:
        UserError: It can't be had.
    """
    on_hub = describe_clip(name, pretrained, revision, role)
    if on_hub is None:
        return Located(name, {"pretrained": pretrained}, name)
    fetch_model(on_hub)
    weights = next(path for file in on_hub.wanted[-1] if (path := on_hub.find(file)))
    if name.startswith(HUB_PREFIX):
        source = f"{LOCAL_PREFIX}{weights.parent}"
        return Located(source, {}, _choose_tokenizer(name, source))
    tag = read_tag(name, pretrained)
    preprocessing = {f"image_{key}": tag[key] for key in PREPROCESSING if key in tag}
    return Located(name, {"pretrained": str(weights), **preprocessing}, name)


def _choose_tokenizer(name: str, source: str) -> str:
    """The source; but a repository may name a tokenizer of the hub that is not in it."""
    named = open_clip.get_model_config(source)["text_cfg"].get("hf_tokenizer_name")
    is_inside = any(Path(source.removeprefix(LOCAL_PREFIX)).glob("tokenizer*"))
    return name if named and not is_inside else source
