"""Single values of a policy: how they are read, named in a message and written."""

from __future__ import annotations

import json
import math
import numbers
import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import numpy as np

Level = str | int | float | bool


class Problems(ValueError):
    """Several problems found at one place: (key below that place, message) each."""

    def __init__(self, problems: Sequence[tuple[str, str]]) -> None:
        super().__init__("; ".join(f"{key}: {message}" for key, message in problems))
        self.problems = tuple(problems)


def plain(value: Any) -> Any:
    """Return a NumPy scalar as Python's own."""
    return value.item() if isinstance(value, np.generic) else value


def read_number(value: Any) -> float:
    """Read a finite number."""
    value = plain(value)
    if isinstance(value, bool) or not isinstance(value, numbers.Real | Decimal):
        remedy = " Delete the quotes." if isinstance(value, str) and is_number(value) else ""
        raise ValueError(f"expected a number, got {show(value)}.{remedy}")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ValueError(f"expected a finite number, got {value}.")
    return number + 0.0  # -0.0 would hash apart from 0.0


def read_whole(value: Any) -> int:
    """Read a whole number."""
    value = plain(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"expected a whole number, got {show(value)}.")
    return value


def read_step(value: Any) -> Decimal:
    """Read a positive step as the decimal that was written."""
    value = plain(value)
    number = read_number(value)
    if number <= 0:
        raise ValueError(f"a step must be greater than 0, got {value}. Leave it out for any value.")
    return value if isinstance(value, Decimal) else Decimal(repr(value))


def read_level(value: Any) -> str | int | float | bool:
    """Read one level of a category."""
    value = float(value) if isinstance(value, Decimal) else plain(value)
    if not isinstance(value, str | int | float | bool):
        raise ValueError(f"a level is a text, a number, true or false, got {show(value)}.")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"expected a finite number, got {value}.")
    return value


def read_class(value: Any) -> str | int | bool:
    """Read a class label."""
    value = plain(value)
    if not isinstance(value, str | int | bool):
        raise ValueError(f"a class is a text, a whole number, true or false, got {show(value)}.")
    return value


def read_threshold(value: Any) -> float | str:
    """Read a threshold: a number, or the text of a column's name or of an expression."""
    if isinstance(value, str) and not is_number(value):
        return read_text(value)
    return read_number(value)


def read_text(value: Any) -> str:
    """Read a text that says something: a name, a column or an expression."""
    if not isinstance(value, str):
        raise ValueError(f'expected a text in quotes, such as "income > 0", got {show(value)}.')
    if not value.strip():
        raise ValueError("expected a text, got nothing. Delete the line, or say what is meant.")
    return value.strip()


def read_sequence(value: Any) -> Any:
    """Refuse a text where a list is meant."""
    if isinstance(value, list | tuple):
        return tuple(value)
    raise ValueError(f"expected a list in square brackets, got {show(value)}.")


def is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def show(value: Any) -> str:
    """Name a value that came, as the file writes it."""
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list | tuple):
        return "a list"
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "nothing"
    return repr(value) if isinstance(value, str) else str(value)


def toml_key(name: str) -> str:
    """Return a key as TOML writes it."""
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else toml_text(name)


def toml_text(value: str) -> str:
    """Return a text as a basic TOML string."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def plain_number(value: float) -> str:
    """Return a number without a needless ``.0``."""
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(value)


def toml_value(value: Any) -> str:
    """Return a value as TOML writes it, its type kept."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return toml_text(value)
    if isinstance(value, tuple):
        return "[" + ", ".join(toml_value(v) for v in value) + "]"
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{toml_key(k)} = {toml_value(v)}" for k, v in value.items()) + " }" if value else "{}"
    if isinstance(value, Decimal):
        return decimal_text(value)
    return repr(value)


def decimal_text(value: Decimal) -> str:
    """Return a step without exponent or needless zeros, so that equal steps read alike."""
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def find_level(levels: tuple[Level, ...], text: Level) -> Level | None:
    """Return the level that a key of a TOML table names: keys are texts, and true is written in lower case."""
    for level in levels:
        if str(level) == str(text) or (isinstance(level, bool) and str(level).lower() == text):
            return level
    for level in levels:
        if not isinstance(level, str) and is_number(str(text)) and float(text) == level:
            return level
    return None


def find_code(codes: dict[str, str], value: Level) -> str | None:
    """Return the key of the declared code that a number, or the text of one, is; None if it is none."""
    if isinstance(value, bool) or not is_number(str(value)):
        return None
    return next((key for key in codes if float(key) == float(value)), None)


def code_text(value: Level) -> str:
    """Return the end of a code's move as a key of `move_cost`: a code as it is declared, a number plainly."""
    return value if isinstance(value, str) else plain_number(float(value))


def spelling(level: Any) -> str:
    """Return a level as a CSV file would hold it, so that 1, 1.0 and "1" meet."""
    return str(int(level)) if isinstance(level, float) and level.is_integer() else str(level)
