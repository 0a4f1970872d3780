from stages.reporting.style import LONGEST_LABEL, wrap_label


def test_labels_are_escaped_and_wrapped():
    assert wrap_label("<b>bold</b>") == "&lt;b&gt;bold&lt;/b&gt;"
    assert wrap_label("stack of chocolate cookies") == "stack of chocolate<br>cookies"


def test_labels_of_any_length_stay_short():
    assert len(wrap_label("a" * 10_000, 1000)) == LONGEST_LABEL
