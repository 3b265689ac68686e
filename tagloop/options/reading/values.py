"""The value of one option: what a text means for it, what it may be, how it is shown."""

import dataclasses
import os
from types import NoneType
from typing import Any, get_args

from tagloop.options.config import FIELDS, SECRETS

YES_NO = dict.fromkeys(("true", "yes", "on", "1"), True)
YES_NO |= dict.fromkeys(("false", "no", "off", "0"), False)

MOST_SHOWN = 200  # characters of a value in a message


def read_value(field: dataclasses.Field, text: str) -> Any:
    """The value that a text means for an option.

    Raises:
        ValueError: says which values the option takes.
    """
    kind, choices = plain_type(field), choices_of(field)
    truth = YES_NO.get(text.lower())
    if kind is bool:
        if truth is None:
            raise ValueError("must be true or false")
        return truth
    if choices:  # `False` in a file is one way to write `no`
        same = [c for c in choices if c == text or (truth is not None and YES_NO.get(c) is truth)]
        if not same:
            raise ValueError(f"must be one of {', '.join(choices)}")
        return same[0]
    if kind is str:
        names_a_place = field.metadata["is_path"] or field.metadata["is_hub_name"]
        return os.path.expanduser(text) if names_a_place else text
    try:
        number = int(text.removesuffix(".0")) if kind is int else kind(text)
    except ValueError:
        wanted = "a whole number" if kind is int else "a number"
        raise ValueError(f"must be {wanted}") from None
    # 3 and 3.0 epochs are the same run, and 3 is how they have always been recorded.
    counts = isinstance(field.default, int) and kind is float
    return int(number) if counts and number.is_integer() else number


def plain_type(field: dataclasses.Field) -> Any:
    """The type of an option without None: `int | None` -> `int`."""
    parts = get_args(field.type)
    return parts[0] if NoneType in parts else field.type


def choices_of(field: dataclasses.Field) -> tuple[str, ...]:
    """The values among which an option chooses; empty if it takes any text or number."""
    return get_args(plain_type(field))


def option_of_word(spelling: str, value: str) -> str | None:
    """The option that a shared spelling means beside one of the words that the option takes.

    >>> option_of_word("--task", "translate"), option_of_word("--task", "pos")
    ('whisper_task', None)
    """
    shared = (n for n, field in FIELDS.items() if field.metadata["instead_of"] == spelling)
    return next((name for name in shared if value in choices_of(FIELDS[name])), None)


def show_value(name: str, value: object) -> str:
    """A value for a message; the value of a secret option is hidden."""
    text = "(hidden)" if name in SECRETS else str(value)
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}..."


def describe_values(field: dataclasses.Field) -> str:
    """The values that an option takes, for --help and docs/options.md."""
    names = {bool: "true|false", int: "N", float: "X", str: "TEXT"}
    return "|".join(choices_of(field)) or names[plain_type(field)]


def describe_default(field: dataclasses.Field) -> str:
    """The default of an option as it is typed; empty if the option then does nothing."""
    default = field.default
    if default is None:
        return field.metadata["unset"] or ""
    return str(default).lower() if isinstance(default, bool) else str(default)
