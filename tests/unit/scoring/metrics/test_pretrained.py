from functools import partial

import pandas as pd
import pytest
import torch
from huggingface_hub.utils import httpx

from stages.config.mistakes import UserError
from stages.scoring.metrics.metric import Batch, Origin
from stages.scoring.metrics.pretrained import Pretrained, load_metric

CPU = torch.device("cpu")


def build(load, **needs):
    return Pretrained(
        name="beauty",
        label="Beauty",
        direction="higher",
        scale="0 to 1",
        source="nobody 2024",
        origin=Origin("a model", "somebody/weights", "none"),
        size="3 GB",
        **needs,
        load=load,
    )


def fail(error, _):
    raise error


def test_a_missing_package_is_one_line_with_all_that_is_needed():
    metric = build(
        partial(fail, AssertionError("must not load")),
        packages=("no_such_package",),
        install="pip install no-such-package",
        restriction="no commercial use",
    )
    with pytest.raises(UserError, match="beauty needs the package no_such_package") as error:
        load_metric(metric, CPU)
    message = str(error.value)
    assert "score.extra_metrics" in message
    assert "`pip install no-such-package`" in message
    assert "somebody/weights (about 3 GB)" in message
    assert "no commercial use" in message
    assert len(message.splitlines()) == 1


@pytest.mark.parametrize(
    "problem", [OSError("offline\nand more"), KeyError("state_dict"), RuntimeError("bad shapes")]
)
def test_weights_that_do_not_load_are_one_line_with_the_reason(problem):
    with pytest.raises(UserError, match="beauty cannot be loaded") as error:
        load_metric(build(partial(fail, problem)), CPU)
    message = str(error.value)
    assert "somebody/weights (about 3 GB)" in message
    assert str(problem).split()[0] in message
    assert len(message.splitlines()) == 1


def test_weights_that_cannot_be_had_are_found_out_before_loading(monkeypatch):
    requests = []

    def refuse(url, **_):
        requests.append(url)
        raise httpx.ConnectError("no network")

    monkeypatch.setattr("huggingface_hub.get_hf_file_metadata", refuse)
    files = (("somebody/no-such-weights", "config.json"),)
    metric = build(partial(fail, AssertionError("must not load")), files=files)
    with pytest.raises(UserError, match=r"somebody/no-such-weights/config\.json: no network"):
        load_metric(metric, CPU)
    assert len(requests) == 1


def test_a_loaded_metric_scores_pictures_with_their_own_prompts():
    metric = load_metric(
        build(
            lambda _: (
                lambda images, prompts: [f"{i} {p}" for i, p in zip(images, prompts, strict=True)]
            )
        ),
        CPU,
    )
    batch = Batch(
        pd.DataFrame({"prompt": ["a cat", "a dog"]}), [1, 2], torch.empty(0), torch.empty(0)
    )
    assert metric.compute(batch, None) == ["1 a cat", "2 a dog"]
    assert metric.column == "beauty"
