import re
from pathlib import Path

import pytest

from stages.config import paths
from stages.config.mistakes import UserError
from stages.study.key import read_key
from stages.study.votes import LEFT, MAX_BYTES, RIGHT, SAME, compute_check, read_votes, value_votes
from tests.hostile import NAMES
from tests.study_project import answer_study, prefer

ONE_VOTE = Path(__file__).parents[3] / "docs/one_vote"


def save(text: str, name: str = "votes.csv") -> None:
    (paths.VOTES / name).write_text(text, encoding="utf-8")


def test_the_checksum_is_fnv_1a():
    # Test vectors of the authors, http://www.isthe.com/chongo/tech/comp/fnv/.
    assert compute_check("") == 0x811C9DC5
    assert compute_check("a") == 0xE40C292C
    assert compute_check("foobar") == compute_check("bar", compute_check("foo")) == 0xBF9CF968


def test_votes_are_read_with_what_was_on_either_side(key):
    save(answer_study(key, 7, prefer("finetuned")))
    votes = read_votes(paths.VOTES, key)
    assert len(votes) == 2 * len(key)
    assert set(votes["rater"]) == {"7"}
    pairs = votes[votes["kind"] == "pair"]
    sides = pairs["arm_left"].where(pairs["answer"] == LEFT, pairs["arm_right"])
    assert set(sides) == {"finetuned"}
    assert set(pairs["answer"]) == {LEFT, RIGHT}
    assert (value_votes(pairs, "finetuned")["value"] == 1).all()
    assert (value_votes(pairs, "baseline")["value"] == 0).all()
    again = votes[votes["kind"] == "repeat"].merge(pairs, on=["pair", "question"])
    assert (again["picked_x"] == again["picked_y"]).all()
    assert len(again) == 4


def test_the_votes_in_docs_are_on_the_study_in_docs():
    votes = read_votes(ONE_VOTE / "votes", read_key(ONE_VOTE / "key.csv"))
    assert votes["rater"].nunique() == 1
    assert len(votes) == 2 * 48


def test_no_difference_is_half_a_vote_for_either(key):
    save(answer_study(key, 7, lambda *_: SAME))
    assert (value_votes(read_votes(paths.VOTES, key), "finetuned")["value"] == 0.5).all()


def test_a_rater_who_stopped_is_read_as_far_as_it_went_and_no_votes_are_an_empty_table(key):
    assert read_votes(paths.VOTES, key).empty
    save(answer_study(key, 7, prefer("finetuned"), rows=9))
    assert len(read_votes(paths.VOTES, key)) == 9


def test_mail_may_change_line_ends(key):
    save(answer_study(key, 7, prefer("finetuned")).replace("\n", "\r\n"))
    assert len(read_votes(paths.VOTES, key)) == 2 * len(key)


@pytest.mark.parametrize(
    ("old", "new", "found"),
    [
        (",left,2.5", ",right,2.5", "was edited, or a line before it"),
        (",2.5,", ",2.6,", "was edited, or a line before it"),
        ("fits_text", "fits_taste", "no line of a vote"),
        (",no difference,", ",nothing,", "no line of a vote"),
        (",7,1,", ",8,1,", "was edited"),
    ],
)
def test_an_edited_file_is_refused_by_line(key, old, new, found):
    text = answer_study(key, 7, prefer("finetuned"))
    assert old in text
    place = text.index(old)
    save(text[:place] + new + text[place + len(old) :])
    line = text[:place].count("\n") + 1
    with pytest.raises(UserError, match=rf"votes\.csv, line {line}: .*{found}"):
        read_votes(paths.VOTES, key)


def test_a_line_that_is_taken_out_is_noticed_where_it_was(key):
    lines = answer_study(key, 7, prefer("finetuned")).splitlines(keepends=True)
    save("".join(lines[:5] + lines[6:]))
    with pytest.raises(UserError, match=r"votes\.csv, line 6: was edited, or a line before it"):
        read_votes(paths.VOTES, key)


@pytest.mark.parametrize("cut", [0, 1, 3, 20, 30])
def test_a_file_that_was_cut_off_is_refused(key, cut):
    lines = answer_study(key, 7, prefer("finetuned")).splitlines(keepends=True)
    save("".join(lines[:cut]))
    with pytest.raises(UserError, match=r"votes\.csv, line \d+: (found|ends after)"):
        read_votes(paths.VOTES, key)
    save("".join(lines[: cut + 1])[:-5])
    with pytest.raises(UserError, match=r"votes\.csv, line \d+: found"):
        read_votes(paths.VOTES, key)


def test_a_file_of_votes_is_known_whatever_the_case_of_its_name_and_no_other_is_passed_over(key):
    save(answer_study(key, 7, prefer("finetuned")), "A.CSV")
    save("What this folder is for.", "README.md")
    save("", ".DS_Store")
    assert set(read_votes(paths.VOTES, key)["rater"]) == {"7"}
    save(answer_study(key, 8, prefer("finetuned")), "b.csv.txt")
    with pytest.raises(
        UserError, match=r"data/votes/b\.csv\.txt: should end in \.csv.*; rename it"
    ):
        read_votes(paths.VOTES, key)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-be"])
def test_what_a_spreadsheet_saved_anew_is_said_to_be_that(key, encoding):
    text = answer_study(key, 7, prefer("finetuned"))
    mark = "" if encoding != "utf-16-be" else "\ufeff"
    (paths.VOTES / "votes.csv").write_bytes((mark + text).encode(encoding))
    with pytest.raises(UserError, match=r"votes\.csv, line 1: starts with the mark .*spreadsheet"):
        read_votes(paths.VOTES, key)


def test_votes_that_are_there_twice_name_both_lines(key):
    for name in ("a.csv", "b.csv"):
        save(answer_study(key, 7, prefer("finetuned")), name)
    with pytest.raises(UserError, match=r"b\.csv, line 2: rater 7 .*a\.csv, line 2, too; keep one"):
        read_votes(paths.VOTES, key)


def test_votes_of_another_study_are_refused_with_both_ids(key):
    other = key.assign(study="0" * 12)
    save(answer_study(other, 7, prefer("finetuned")))
    ours = key["study"][0]
    with pytest.raises(
        UserError, match=rf"line 2: is of study 0{{12}}, but .* has the key of {ours}"
    ):
        read_votes(paths.VOTES, key)


def test_every_file_that_is_wrong_is_told_at_once(key):
    for name in ("a.csv", "b.csv"):
        save("rater\n1\n", name)
    with pytest.raises(UserError) as mistakes:
        read_votes(paths.VOTES, key)
    assert len(str(mistakes.value).splitlines()) == 2


def test_hostile_votes_are_refused_in_a_line_without_their_markup(key):
    header, first, rest = answer_study(key, 7, prefer("finetuned")).split("\n", 2)
    fields = first.split(",")
    for hostile in (*NAMES, "\x00", "é", "9" * 300, "=1+1", "@SUM(A1)", "a,b" * 99):
        for place in range(0, len(fields), 3):
            line = ",".join([*fields[:place], hostile, *fields[place + 1 :]])
            save(f"{header}\n{line}\n{rest}")
            with pytest.raises(UserError, match=r"votes\.csv, line \d+: ") as mistake:
                read_votes(paths.VOTES, key)
            assert len(str(mistake.value)) < 400
            assert str(mistake.value).isprintable()


def test_other_columns_are_refused(key):
    text = answer_study(key, 7, prefer("finetuned"))
    save(re.sub(r"$", ",name", text, flags=re.MULTILINE))
    with pytest.raises(UserError, match=r"votes\.csv, line 1: found .*; expected study,rater"):
        read_votes(paths.VOTES, key)


def test_a_huge_file_is_refused_unread(key):
    save("x" * (10 * MAX_BYTES))
    with pytest.raises(
        UserError, match=r"votes\.csv: has 10,000,000 bytes; a page saves 1,000,000"
    ):
        read_votes(paths.VOTES, key)
