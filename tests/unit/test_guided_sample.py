"""What the stage `sample` makes of its params where a guide leads."""

from pathlib import Path

import pandas as pd
import torch

from stages.config.params import Params, load_params
from stages.sample import build_guide, locate_scratch
from stages.sampling.clip_guidance import load_guide
from tests.tiny import build_scorer


def build_params(folder: Path, seed: int, scale: float) -> Params:
    build_scorer(folder, seed)
    params = load_params()
    base = params.chosen.model_copy(update={"guide": f"local-dir:{folder}"})
    sample = params.sample.model_copy(update={"clip_guidance_scale": scale})
    return params.model_copy(update={"bases": {params.base: base}, "sample": sample})


def test_the_guide_reads_what_is_judged_by_and_not_what_the_model_is_asked(tmp_path: Path) -> None:
    guide = build_guide(build_params(tmp_path, 0, 5.0), {"a <my-frog>": "a frog", "a cat": "a cat"})
    embeds = guide.text_embeds
    params = build_params(tmp_path, 0, 5.0)
    alone = load_guide(params.chosen, 5.0, {"a frog": "a frog"}, torch.device("cpu")).text_embeds
    torch.testing.assert_close(embeds["a <my-frog>"], alone["a frog"])
    assert not torch.allclose(embeds["a <my-frog>"], embeds["a cat"])


def test_at_scale_0_no_guide_is_loaded(tmp_path: Path) -> None:
    assert build_guide(build_params(tmp_path, 0, 0.0), {"a cat": "a cat"}) is None


def test_batches_that_another_guide_led_are_not_taken_up(tmp_path: Path) -> None:
    found = []
    for seed in (0, 1, 0):
        params = build_params(tmp_path, seed, 5.0)
        guide = build_guide(params, {"a cat": "a cat"})
        rows = pd.DataFrame({"prompt": ["a cat"]})
        found.append(locate_scratch("baseline", rows, params, "a U-Net", guide))
    assert found[0] == found[2] != found[1]
