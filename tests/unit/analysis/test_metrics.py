import pytest

from stages.analysis.metrics import list_metrics
from stages.config.mistakes import UserError

PROVENANCE = {
    "clip_cosine": {"better": "higher"},
    "zero_shot_accuracy": {"better": "higher"},
    "training_similarity": {"better": "higher"},
    "kid": {"better": "lower"},
    "diversity": {"better": "higher"},
    "musiq": {"better": "higher"},
}


def test_metrics_of_a_picture_are_those_that_the_provenance_names():
    metrics = {metric.name: metric.column for metric in list_metrics(PROVENANCE)}
    assert metrics == {
        "clip_cosine": "clip_cosine",
        "zero_shot_accuracy": "is_correct",
        "training_similarity": "training_similarity",
        "musiq": "musiq",
    }


def test_likeness_to_the_training_pictures_is_wanted_in_the_domain_alone():
    similarity = next(m for m in list_metrics(PROVENANCE) if m.name == "training_similarity")
    assert similarity.better_in("class") == "higher"
    assert similarity.better_in("marketing") == "neither"


def test_a_direction_that_is_none_is_refused():
    with pytest.raises(UserError, match="metric musiq is better when 'up'; should be higher"):
        list_metrics({"musiq": {"better": "up"}})
