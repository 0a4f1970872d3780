import json
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from stages.commands.methods import check_alike, main
from stages.config.mistakes import UserError
from stages.config.params import Params, load_params
from stages.reporting.methods import _place_labels, draw_methods
from tests.experiments import replace_in_params, write_experiments

SIZES = {"attn2": 391_968, "full": 5_599_652}
RATES = {"attn2": 2e-4, "full": 5e-5}
GAINS = {"attn2": 0.01, "full": -0.02}


def write_results(method: str) -> None:
    Path("plots/data/comparison").mkdir(parents=True, exist_ok=True)
    trained = {"num_trainable_parameters": SIZES[method], "validation_loss_change": -0.03}
    trained |= {"learning_rate": RATES[method]}
    Path("plots/data/finetune.json").write_text(json.dumps(trained), encoding="utf-8")
    gain = GAINS[method]
    row = {"metric": "clip_cosine", "gain_in_domain": gain, "gain_ci_low": gain - 0.005}
    row |= {"gain_ci_high": gain + 0.005, "change_out_of_domain": -0.03, "change_ci_low": -0.05}
    row |= {"change_ci_high": -0.01, "trade_off": np.nan}
    row |= {"trade_off_ci_low": np.nan, "trade_off_ci_high": np.nan}
    other = row | {"metric": "zero_shot_accuracy", "gain_in_domain": 9.0}
    pd.DataFrame([other, row]).to_csv("plots/data/comparison/forgetting.csv", index=False)


def write_experiment(method: str) -> None:
    replace_in_params("method: attn2\n", f"method: {method}\n")
    write_results(method)


@pytest.fixture
def experiments(tmp_path, monkeypatch):
    """A repository with the experiments attn2 and full, where `dvc exp` puts them."""
    monkeypatch.chdir(tmp_path)
    write_experiments({method: partial(write_experiment, method) for method in SIZES})


def test_experiments_are_read_by_name_into_a_table_and_a_chart(experiments):
    Path("plots").mkdir(exist_ok=True)
    main("attn2", "full")
    table = pd.read_csv("plots/methods.csv").set_index("experiment")
    assert table["num_trainable_parameters"].to_dict() == SIZES
    assert table["gain_in_domain"].to_dict() == GAINS  # CLIP's, not the accuracy's
    assert (
        table["learning_rate"].to_dict() == RATES
    )  # what was trained with, not what the params say now
    page = Path("plots/methods.html").read_text(encoding="utf-8")
    assert "plotly.js v" in page  # inside the page: it opens offline
    assert "<script src=" not in page
    with pytest.raises(UserError, match=r"nonsense: no params\.yaml .*dvc exp show"):
        main("attn2", "nonsense")


def test_without_experiments_or_with_one_named_twice_it_says_so():
    with pytest.raises(UserError, match="name experiments"):
        main()
    with pytest.raises(UserError, match="a: named twice"):
        main("a", "a")


def change(params: Params, section: str, **values: object) -> Params:
    part = getattr(params, section).model_copy(update=values)
    return params.model_copy(update={section: part})


def test_experiments_that_differ_in_more_than_how_they_train_are_refused():
    params = load_params()
    check_alike({"a": params, "b": change(params, "finetune", method="lora", seed=7)})
    check_alike({"a": params, "b": change(params, "compare", num_resamples=100)})
    with pytest.raises(UserError, match=r"b: sample is not as in a; .* finetune\.method"):
        check_alike({"a": params, "b": change(params, "sample", seed=7)})
    with pytest.raises(UserError, match="b: finetune is not as in a"):
        check_alike({"a": params, "b": change(params, "finetune", train_batch_size=9)})


def test_the_chart_shows_every_experiment_by_its_size_with_its_intervals():
    table = pd.DataFrame(
        {
            "experiment": ["small", "<large>"],
            "method": ["attn2", "full"],
            "num_trainable_parameters": [1_000, 2_000_000],
            "validation_loss_change": [-0.1, -0.2],
            "gain_in_domain": [0.01, 0.02],
            "gain_ci_low": [0.0, -0.01],
            "gain_ci_high": [0.02, 0.05],
            "change_out_of_domain": [-0.1, -0.2],
            "change_ci_low": [-0.15, -0.3],
            "change_ci_high": [-0.05, -0.1],
        }
    )
    figure = draw_methods(table, 0.95)
    loss, gain, forgetting = figure.data
    assert list(loss.y) == [-0.1, -0.2]
    assert loss.error_y.array is None
    np.testing.assert_allclose(gain.error_y.array, [0.01, 0.03])
    np.testing.assert_allclose(gain.error_y.arrayminus, [0.01, 0.03])
    np.testing.assert_allclose(forgetting.error_y.arrayminus, [0.05, 0.1])
    assert list(gain.x) == [1_000, 2_000_000]
    assert list(gain.text) == ["small", "&lt;large&gt;"]
    assert {figure.layout[axis].type for axis in ("xaxis", "xaxis2", "xaxis3")} == {"log"}
    low, high = figure.layout.xaxis.range
    assert low < 3
    assert high > 6.4  # log10 of the largest


def test_labels_of_methods_of_nearly_one_size_stand_at_either_side():
    assert _place_labels([391_968, 204_800, 207_872]) == [
        "middle right",
        "middle left",
        "middle right",
    ]
