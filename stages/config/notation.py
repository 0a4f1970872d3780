"""How numbers are written for people, the same in logs, tables and charts."""

import math

SMALLEST_P_VALUE = 0.001
"""More digits than this would pretend."""
MISSING = "\N{EN DASH}"
MINUS = "\N{MINUS SIGN}"


def word_set(name: str) -> str:
    """A value of the column `set` as people read it, before "prompts": "in-domain"."""
    return name.replace("_", "-")


def format_count(number: int, noun: str) -> str:
    """A number with its noun: "1 picture", "2 copies"."""
    if number == 1:
        return f"1 {noun}"
    return f"{number} {noun[:-1]}ies" if noun.endswith("y") else f"{number} {noun}s"


def format_number(value: float, digits: int = 4) -> str:
    """A number with so many decimals and a true minus; an en dash if there is none."""
    if value is None or math.isnan(value):
        return MISSING
    text = f"{value:.{digits}f}"
    return (text[1:] if float(text) == 0 and text[0] == "-" else text).replace("-", MINUS)


def format_signed(value: float, digits: int = 4) -> str:
    """As `format_number`, with a plus where it is above zero."""
    text = format_number(value, digits)
    return f"+{text}" if text != MISSING and text[0] != MINUS and float(text) > 0 else text


def format_interval(low: float, high: float, digits: int = 4) -> str:
    """`+0.0210 to +0.0470`; an en dash if there is no interval."""
    if low is None or math.isnan(low):
        return MISSING
    return f"{format_signed(low, digits)} to {format_signed(high, digits)}"


def format_share_interval(low: float, high: float) -> str:
    """`0.43 to 0.58`; an en dash if there is no interval."""
    if low is None or math.isnan(low):
        return MISSING
    return f"{format_number(low, 2)} to {format_number(high, 2)}"


def format_p_value(value: float) -> str:
    """`0.0312`, or `< 0.001`."""
    if value is None or math.isnan(value):
        return MISSING
    return f"< {SMALLEST_P_VALUE}" if value < SMALLEST_P_VALUE else f"{value:.4f}"
