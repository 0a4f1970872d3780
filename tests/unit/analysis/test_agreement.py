import numpy as np
import pandas as pd
import pytest

from stages.analysis.agreement import NUM_PER_PAIR, correlate_metrics, find_disagreements


def make_values(differences: dict[str, tuple[str, list[float]]]) -> pd.DataFrame:
    """A row a picture and metric; each picture has a prompt of its own."""
    return pd.DataFrame(
        {
            "file_name": f"{index}.png",
            "prompt_id": f"p{index}",
            "set": "in_domain",
            "class": "cat",
            "prompt": "a cat",
            "index": 0,
            "metric": metric,
            "direction": better,
            "difference": difference,
        }
        for metric, (better, values) in differences.items()
        for index, difference in enumerate(values)
    )


def test_correlation_is_of_ranks_of_differences():
    values = make_values(
        {
            "clip_cosine": ("higher", [0.1, 0.2, 0.3, 9.0]),
            "sharpness": ("neither", [1.0, 2.0, 3.0, 4.0]),
            "retrieval_rank": ("lower", [4.0, 3.0, 2.0, 1.0]),
            "contrast": ("neither", [0.0, 0.0, 0.0, 0.0]),
        }
    )
    table = correlate_metrics(values).set_index(["metric_a", "metric_b"])
    assert len(table) == 6
    assert table.loc[("clip_cosine", "sharpness"), "spearman"] == pytest.approx(1)
    assert table.loc[("clip_cosine", "retrieval_rank"), "spearman"] == pytest.approx(-1)
    assert np.isnan(table.loc[("clip_cosine", "contrast"), "spearman"])
    assert (table["num_prompts"] == 4).all()


def test_disagreements_are_pictures_that_one_metric_calls_better_and_another_worse():
    values = make_values(
        {
            "clip_cosine": ("higher", [0.3, -0.3, 0.1, 0.2]),
            "retrieval_rank": ("lower", [7.0, -5.0, -1.0, 1.0]),  # worse, better, better, worse
            "sharpness": ("neither", [-9.0, 9.0, -9.0, 9.0]),
        }
    )
    table = find_disagreements(values)
    assert table["file_name"].tolist() == ["0.png", "1.png", "3.png"]
    assert table["rank_gap"].tolist() == pytest.approx([0.75, -0.75, 0.25])
    assert set(table["metric_b"]) == {"retrieval_rank"}
    assert table["difference_b"].tolist() == [7.0, -5.0, 1.0]


def test_a_pair_of_metrics_shows_only_its_worst_disagreements():
    rng = np.random.default_rng(0)
    values = make_values(
        {name: ("higher", list(rng.normal(size=100))) for name in ("clip_cosine", "musiq")}
    )
    gaps = find_disagreements(values)["rank_gap"].abs().tolist()
    assert len(gaps) == NUM_PER_PAIR
    assert gaps == sorted(gaps, reverse=True)
    assert gaps[-1] > 0.7


def test_without_another_metric_there_is_no_disagreement():
    assert find_disagreements(make_values({"clip_cosine": ("higher", [0.1, -0.1])})).empty
