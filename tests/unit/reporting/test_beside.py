"""Pictures that do not pair, laid beside each other."""

from stages.reporting.beside import lay_beside
from tests.unit.analysis.builders import make_scores


def test_a_side_with_fewer_pictures_of_a_prompt_shows_them_again() -> None:
    scores = {
        "baseline": make_scores({"p0": [0.1, 0.2], "p1": [0.3]}),
        "finetuned": make_scores({"p1": [0.4, 0.5], "p0": [0.6]}),
    }
    files = {
        variant: {name: f"{variant} {name}".encode() for name in table["file_name"]}
        for variant, table in scores.items()
    }
    laid, renamed = lay_beside(scores, files)
    names = ["p0_000.png", "p0_001.png", "p1_000.png", "p1_001.png"]
    for variant, cosines in (
        ("baseline", [0.1, 0.2, 0.3, 0.3]),
        ("finetuned", [0.6, 0.6, 0.4, 0.5]),
    ):
        assert laid[variant]["file_name"].tolist() == names
        assert laid[variant]["clip_cosine"].tolist() == cosines
        assert list(laid[variant].columns) == list(scores[variant].columns)
    assert renamed["baseline"]["p1_001.png"] == b"baseline p1_000.png"
    assert renamed["finetuned"]["p1_001.png"] == b"finetuned p1_001.png"
