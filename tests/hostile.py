"""Prompts and class names that try to leave their place: in a page, a table, a folder."""

import pandas as pd

HOSTILE = (
    "</script><script>window.injected = 1</script><img id=injected src=x "
    'onerror="window.injected = 2">{{ 7*7 }} <!-- \'"&amp; é \u2028 %{x}'
)
NAMES = (
    HOSTILE.replace("\u2028", "-"),  # which would be two lines in params.yaml
    "</style></textarea></title><svg id=injected onload=alert(1)>",
    "javascript:alert(1)",
    "data:text/html,<script>alert(1)</script>",
    "../../escape",
    "..\\..\\escape",
    "/etc/passwd",
    "C:\\Windows\\cat:stream",
    "CON",
    "nul.png",
    "trailing dot.",
    "-rf *",
    "$(touch escaped) `touch escaped`; touch escaped",
    'it\'s, a "comma"; yes',
    '=HYPERLINK("http://localhost")',
    "${base} {} {0} {{ 7*7 }} %(x)s %n",
    "NA",
    "\u202egnp.exe \u05d0\u05d1\u05d2 \u0645\u0631\u062d\u0628\u0627",
    "\U0001f469\u200d\U0001f469\u200d\U0001f467 e\u0301 \ufeff\u200b!",
    "x" * 10_000,
)
"""Names of classes that params.yaml takes: markup, paths, reserved names, shell, CSV, Unicode."""
MARKETING = NAMES[::5]


def list_hostile_prompts() -> pd.DataFrame:
    """Prompts as `tests.report_project` wants them: hostile ones, a very long one, a plain one."""
    rows = [
        ("in_domain", HOSTILE, HOSTILE),
        ("in_domain", HOSTILE, f"a photo of a {HOSTILE}"),
        ("in_domain", "cat", "long " * 2000),
        ("in_domain", "cat", "a cat"),
        ("marketing", HOSTILE, f"{HOSTILE} on a table"),
        ("marketing", "mug", "a mug" + "\U0001f600" * 40),
    ]
    table = pd.DataFrame(rows, columns=["set", "class", "prompt"])
    return table.assign(prompt_id=[f"p{number}" for number in range(len(table))])
