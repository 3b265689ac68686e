"""Bytes -> lines of text."""

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from tagloop.data.encodings import not_utf8, read_head
from tagloop.streams import visible
from tagloop.terminal import is_terminal, slow_bar

Lines = Iterable[tuple[int, str]]  # the number of a line, and the line with its end

SNIFFED_LINES = 1000
LARGE = 1 << 24  # bytes of a file; while a larger one is read, a terminal shows how far it is
PIECE = 1 << 18  # bytes between two looks at the bar


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield number and line of a UTF-8 file, ends of line (LF, CRLF or CR) and BOM removed.

    Raises:
        InputError: the file is no text, or not UTF-8.
    """
    head = read_head(path)
    with path.open("rb") as file:
        # bytes split at b"\n" only; a file without one may have the line ends of old Macs
        lines: Iterable[bytes] = file
        if is_cr_only(head):
            lines = file.read().splitlines(keepends=True)
        if is_terminal(sys.stderr) and path.stat().st_size > LARGE:
            lines = _with_bar(lines, path)
        for number, line in decode_lines(lines, str(path)):
            yield number, without_end(line)


def _with_bar(lines: Iterable[bytes], path: Path) -> Iterator[bytes]:
    """Yield the lines of a file; a terminal shows a bar if that takes more than a second."""
    name, read = f"reading {visible(path.name)}", 0
    with slow_bar(path.stat().st_size, name, unit="B", unit_scale=True) as bar:
        for line in lines:
            yield line
            read += len(line)
            if read > PIECE:
                bar.update(read)
                read = 0
        bar.update(read)


def decode_lines(lines: Iterable[bytes], name: str) -> Iterator[tuple[int, str]]:
    """Yield number and line, with its end, of UTF-8 bytes that are split already; BOM removed.

    Args:
        name: of the file or the stream, for messages.

    Raises:
        InputError: the bytes are not UTF-8.
    """
    offset = 0
    for number, raw in enumerate(lines, start=1):
        try:
            line = raw.decode()
        except UnicodeDecodeError as error:
            byte = raw[error.start]
            raise not_utf8(Path(name), number, offset + error.start, byte) from error
        offset += len(raw)
        yield number, line.removeprefix("\ufeff") if number == 1 else line


def without_end(line: str) -> str:
    """A line without its end: LF, CRLF or CR; CR CR LF, where CRLF was converted twice."""
    return line.removesuffix("\n").rstrip("\r")


def read_text(path: Path) -> str:
    """The whole of a UTF-8 file, BOM removed.

    Raises:
        InputError: the file is no text, or not UTF-8.
    """
    read_head(path)
    raw = path.read_bytes()
    try:
        return raw.decode().removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise not_utf8(path, line, error.start, raw[error.start]) from error


def is_cr_only(head: bytes) -> bool:
    """Whether lines end as on old Macs, by a CR alone."""
    return b"\r" in head and b"\n" not in head


def is_blank(line: str) -> bool:
    """Whether a line, given without its end, holds spaces and tabs alone."""
    return not line.strip(" \t")
