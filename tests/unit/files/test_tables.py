import math

import pandas as pd
import pytest

from stages.config.mistakes import UserError
from stages.files.tables import (
    PROMPTS_SCHEMA,
    SCORES_SCHEMA,
    read_csv,
    read_json,
    read_prompts,
    read_scores,
    write_json,
    write_table,
)


def test_names_that_look_like_missing_values_stay_text(tmp_path):
    names = ["NA", "null", "", "01", "True", 'a "b", c']
    table = pd.DataFrame(dict.fromkeys(PROMPTS_SCHEMA, names))
    write_table(table, tmp_path / "prompts.csv")
    assert read_prompts(tmp_path / "prompts.csv").to_dict("list") == table.to_dict("list")


def test_a_number_that_is_missing_comes_back_as_nan_and_others_exactly(tmp_path):
    write_table(pd.DataFrame({"x": [0.1 + 0.2, math.nan]}), tmp_path / "x.csv")
    values = read_csv(tmp_path / "x.csv", {"x": "float64"}, "score")["x"]
    assert values[0] == 0.1 + 0.2
    assert math.isnan(values[1])


def test_a_missing_file_names_the_stage_that_makes_it(tmp_path):
    with pytest.raises(UserError, match="dvc repro prepare"):
        read_prompts(tmp_path / "nothing")


@pytest.mark.parametrize("text", ["prompt_id,set,class\na,b,c\n", ""])
def test_a_table_without_its_columns_is_refused_by_name(text, tmp_path):
    path = tmp_path / "prompts.csv"
    path.write_text(text)
    with pytest.raises(UserError, match=r"prompts\.csv: .*dvc repro prepare"):
        read_prompts(path)


def test_a_write_that_fails_leaves_the_earlier_file_and_nothing_else(tmp_path):
    path = tmp_path / "metrics.json"
    write_json({"a": 1}, path)
    with pytest.raises(ValueError, match="JSON"):
        write_json({"a": math.nan}, path)
    assert read_json(path, "score") == {"a": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_scores_of_extra_metrics_come_back_as_numbers(tmp_path):
    zeros = {"str": "NA", "int64": 0, "float64": 0.5, "bool": True}
    table = pd.DataFrame({name: [zeros[dtype]] for name, dtype in SCORES_SCHEMA.items()})
    write_table(table.assign(pickscore=21, musiq=0.1 + 0.2), tmp_path / "scores.csv")
    scores = read_scores(tmp_path / "scores.csv")
    assert scores["pickscore"].dtype == float
    assert scores["musiq"][0] == 0.1 + 0.2
    assert scores["class"][0] == "NA"
