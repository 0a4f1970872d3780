import pandas as pd
from PIL import Image

from stages.files.images import encode_png
from stages.reporting.blocks import MAX_BLOCKS, MAX_PROMPTS, build_blocks, choose_evenly


def test_blocks_hold_the_first_pictures_of_each_prompt_in_order():
    pairs = pd.DataFrame(
        {
            "file_name": f"{prompt}_{index}.png",
            "class": name,
            "prompt_id": prompt,
            "prompt": prompt,
            "index": index,
            "difference": 0.1,
        }
        for name, prompt in (("dog", "a dog"), ("dog", "the dog"), ("cat", "a cat"))
        for index in range(3)
    )
    files = {
        variant: {name: encode_png(Image.new("RGB", (8, 8), colour)) for name in pairs["file_name"]}
        for variant, colour in (("baseline", "blue"), ("finetuned", "red"))
    }
    blocks = build_blocks(pairs, "class", 1, files)
    assert [(block.label, len(block.pairs)) for block in blocks] == [("dog", 2), ("cat", 1)]
    assert [pair.prompt for pair in blocks[0].pairs] == ["a dog", "the dog"]
    assert blocks[1].pairs[0].file_name == "a cat_0.png"
    assert blocks[1].pairs[0].baseline.getpixel((0, 0)) == (0, 0, 255)
    assert blocks[1].pairs[0].finetuned.getpixel((0, 0)) == (255, 0, 0)


def test_of_many_labels_and_prompts_some_are_shown_spread_evenly():
    pairs = pd.DataFrame(
        {
            "file_name": "picture.png",
            "class": f"{name:03d}",
            "prompt_id": f"{name}-{prompt}",
            "prompt": str(prompt),
            "index": 0,
            "difference": 0.1,
        }
        for name in range(2 * MAX_BLOCKS)
        for prompt in range(3 * MAX_PROMPTS)
    )
    picture = {"picture.png": encode_png(Image.new("RGB", (8, 8)))}
    blocks = build_blocks(pairs, "class", 1, {"baseline": picture, "finetuned": picture})
    assert [int(block.label) for block in blocks] == list(range(0, 2 * MAX_BLOCKS, 2))
    for block in blocks:
        shown = [int(pair.prompt) for pair in block.pairs]
        assert shown == list(range(0, 3 * MAX_PROMPTS, 3))


def test_rows_are_chosen_evenly_over_the_classes():
    classes = ["cat"] * 5 + ["dog"] * 5
    assert choose_evenly(classes, 4) == [0, 1, 5, 6]
    assert choose_evenly(["", ""], 9) == [0, 1]
