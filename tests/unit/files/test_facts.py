import json

import pytest

from stages.config.mistakes import UserError
from stages.files.facts import SETS, read_facts, write_facts
from stages.scoring.metrics.metric import PIXELS
from stages.scoring.metrics.registry import METRICS, SET_METRICS, describe_metrics
from stages.scoring.metrics.training import TRAINING_SIMILARITY


def test_facts_are_read_as_they_were_written(tmp_path):
    facts = describe_metrics(METRICS, PIXELS)
    write_facts(facts, tmp_path / "facts.json")
    assert read_facts(tmp_path / "facts.json") == facts


def test_a_metric_of_a_picture_has_a_column_and_no_other_has():
    facts = describe_metrics(METRICS, PIXELS)
    units = {name: entry.unit for name, entry in facts.items() if not entry.column}
    assert units == {"kid": "set", "cmmd": "set", "diversity": "prompt"}
    assert set(units) == {metric.name for metric in SET_METRICS}
    assert facts["zero_shot_accuracy"].column == "is_correct"
    assert facts["clip_cosine"].column == "clip_cosine"


def test_likeness_to_the_training_pictures_is_wanted_in_the_domain_alone():
    facts = describe_metrics(METRICS, PIXELS)
    elsewhere = {"marketing": "neither", "subject": "neither"}
    assert facts["training_similarity"].direction == {"in_domain": "higher", **elsewhere}
    assert facts["clip_cosine"].direction == dict.fromkeys(SETS, "higher")


def test_a_direction_that_is_none_is_refused(tmp_path):
    entry = TRAINING_SIMILARITY.describe(PIXELS).model_dump()
    entry["direction"]["marketing"] = "up"
    path = tmp_path / "facts.json"
    path.write_text(json.dumps({"musiq": entry}), encoding="utf-8")
    with pytest.raises(UserError, match=r"musiq\.direction\.marketing: found 'up'; .*'higher'"):
        read_facts(path)
