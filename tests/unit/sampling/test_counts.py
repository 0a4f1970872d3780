from pathlib import Path

import pytest

from stages.config.params import load_params
from stages.sampling.batches import count_pictures
from stages.sources.prompts import build_prompts

PARAMS = load_params()


def count(protocol: str) -> dict[str, tuple[int, int]]:
    """Prompts and pictures of a prompt, by set, of the shipped params."""
    prompts = PARAMS.prompts.model_copy(update={"protocol": protocol})
    table = build_prompts(PARAMS.prepare.classes, prompts)
    images = count_pictures(PARAMS.sample, protocol)
    return {name: (num, images[name]) for name, num in table["set"].value_counts().items()}


def test_the_papers_protocol_is_one_word_away():
    assert count("paper") == {"in_domain": (50, 1), "marketing": (6, 30)}


def test_the_shipped_prompts_are_enough_to_judge_a_class_and_at_most_500_pictures():
    found = count("broad")
    assert found["in_domain"][0] / len(PARAMS.prepare.classes) >= 12
    assert found["marketing"][0] >= 24
    assert sum(num_prompts * num_images for num_prompts, num_images in found.values()) <= 500


@pytest.mark.parametrize("protocol", ["broad", "paper"])
def test_a_number_in_params_yaml_stands_before_the_protocols(protocol):
    params = PARAMS.sample.model_copy(update={"images_per_marketing_prompt": 5})
    assert count_pictures(params, protocol)["marketing"] == 5


def test_the_file_says_what_auto_is():
    text = Path("params.yaml").read_text(encoding="utf-8")
    for name in ("in_domain", "marketing"):
        broad, paper = count("broad")[name][1], count("paper")[name][1]
        assert f"auto: {broad}, and {paper} by the paper's protocol" in text
