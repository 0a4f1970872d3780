"""Prompts and class names that try to leave their place in a page."""

import pandas as pd

HOSTILE = (
    "</script><script>window.injected = 1</script><img id=injected src=x "
    'onerror="window.injected = 2">{{ 7*7 }} <!-- \'"&amp; é \u2028 %{x}'
)


def list_hostile_prompts() -> pd.DataFrame:
    """Prompts as `tests.report_project` wants them: hostile ones, a very long one, a plain one."""
    rows = [
        ("class", HOSTILE, HOSTILE),
        ("class", HOSTILE, f"a photo of a {HOSTILE}"),
        ("class", "cat", "long " * 2000),
        ("class", "cat", "a cat"),
        ("marketing", HOSTILE, f"{HOSTILE} on a table"),
        ("marketing", "mug", "a mug" + "\U0001f600" * 40),
    ]
    table = pd.DataFrame(rows, columns=["set", "class", "prompt"])
    return table.assign(prompt_id=[f"p{number}" for number in range(len(table))])
