"""How messages show numbers, values and errors."""

from typing import Any

from tagloop.errors import InputError


def first_line(error: BaseException) -> str:
    """The first line of an error that says something; torch puts headings before it.

    >>> first_line(RuntimeError("Error(s) in loading state_dict:\\n\\tsize mismatch for a.bias\\n"))
    'size mismatch for a.bias'
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling = [line for line in lines if not line.endswith(":")]
    return (telling or lines or ["nothing"])[0][:500]


def in_brackets(error: BaseException) -> str:
    """What an error says, to put behind a word; nothing for one that says nothing.

    >>> in_brackets(RuntimeError("no room")), in_brackets(MemoryError())
    (' (no room)', '')
    """
    return f" ({first_line(error)})" if str(error).strip() else ""


def count(number: int, what: str) -> str:
    return f"{number} {what}" + "s" * (number != 1)


def shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def require_whole(text: str, place: str) -> None:
    """Refuse half a character, which JSON can write and no file can hold."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InputError(f"{place}: half a character ({error}); repair the \\u escape") from error
