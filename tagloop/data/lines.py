"""Bytes -> lines of text, and how messages show what was found there."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tagloop.errors import InputError

SNIFFED_LINES = 1000


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield (line number, line) of a UTF-8 file, ends of line (LF or CRLF) and BOM removed."""
    offset = 0
    with path.open("rb") as file:
        for number, raw in enumerate(file, start=1):  # bytes split at b"\n" only
            try:
                line = raw.decode()
            except UnicodeDecodeError as error:
                raise not_utf8(path, number, offset + error.start, raw[error.start]) from error
            offset += len(raw)
            line = line.removeprefix("\ufeff") if number == 1 else line
            yield number, line.removesuffix("\n").removesuffix("\r")


def not_utf8(path: Path, line: int, offset: int, byte: int) -> InputError:
    return InputError(
        f"{path}:{line}: not UTF-8: byte 0x{byte:02x} at offset {offset}; "
        "convert the file, for example: iconv -f latin1 -t utf-8"
    )


def is_blank(line: str) -> bool:
    return not line.strip(" \t")


def count(number: int, what: str) -> str:
    return f"{number} {what}" + "s" * (number != 1)


def shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
