"""How messages show numbers, values and errors."""

from typing import Any

from tagloop.errors import InputError


def first_line(error: BaseException) -> str:
    """The first line of an error that is no heading; torch puts headings before the reason.

    Of an error without text this is its type.

    >>> first_line(RuntimeError("Error(s) in loading state_dict:\\n\\tsize mismatch for a.bias\\n"))
    'size mismatch for a.bias'
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling = [line for line in lines if not line.endswith(":")]
    return (telling or lines or [type(error).__name__])[0][:500]


def in_brackets(error: BaseException) -> str:
    """The text of an error in brackets, to put behind a word; empty for an error without text.

    >>> in_brackets(RuntimeError("no room")), in_brackets(MemoryError())
    (' (no room)', '')
    """
    return f" ({first_line(error)})" if str(error).strip() else ""


def count(number: int, noun: str) -> str:
    """A number with a noun: "1 word" or "2 words".

    Args:
        noun: the noun in the singular.
    """
    return f"{number} {noun}" + "s" * (number != 1)


def shown(value: Any) -> str:
    """A value as Python writes it, with at most 60 characters."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def require_whole(text: str, place: str) -> None:
    r"""Refuse a text with half a character (a lone \u escape of JSON), which no file can hold.

    Args:
        place: file and line of the text, for the message.

    Raises:
        InputError: the text has half a character.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InputError(f"{place}: half a character ({error}); repair the \\u escape") from error
