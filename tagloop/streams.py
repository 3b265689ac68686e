"""Writes to stdout and stderr: if their reader has gone, the output ends, but not the run."""

import contextlib
import os
import sys

from tqdm import tqdm

JOINERS = "\u200c\u200d"  # They stand inside words of Persian and Hindi, and inside some emoji.


def write_line(text: str, name: str) -> None:
    """Write a line above the progress bar.

    If the reader has gone (`| head`) or the disk is full, the output ends, but not the run.

    Args:
        name: "stdout" or "stderr".
    """
    stream = getattr(sys, name)
    if stream is None:
        return
    try:
        tqdm.write(text, file=stream)
        stream.flush()
    except (OSError, ValueError):
        # The interpreter flushes the stream again when it ends. So the stream gets a new target
        # that accepts any text.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        # The stream of a notebook or of a test has no file descriptor.
        with contextlib.suppress(OSError, ValueError):
            os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def say_on_first(text: str) -> None:
    """Write a line to stdout, on the first process of a run alone."""
    if os.environ.get("RANK", "0") == "0":
        write_line(visible(text), "stdout")


def visible(text: str) -> str:
    """The text with U+FFFD for every character that is not printable.

    A corpus may contain characters that control a terminal.
    """
    return "".join(
        letter if letter.isprintable() or letter in JOINERS else "\ufffd" for letter in text
    )


def open_streams() -> None:
    """Open stdout and stderr on the null device if they are closed.

    If this were not done, the next file that the process opens would get their number, and output
    would go into that file.
    """
    for number, name in ((1, "stdout"), (2, "stderr")):
        try:
            os.fstat(number)
        except OSError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            if nowhere != number:
                os.dup2(nowhere, number)
                os.close(nowhere)
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, "w", encoding="utf-8", closefd=False))


def leave(code: int) -> None:
    """End the process with an exit code.

    If the launch has several processes, the process ends without the usual cleanup, because
    threads of torch may abort the process during the cleanup ("terminate called without an active
    exception"), and a good run would become a failed launch. All files are written before.
    """
    if os.environ.get("WORLD_SIZE", "1") == "1":
        sys.exit(code)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)
