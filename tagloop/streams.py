"""stdout and stderr, whatever became of them: a lost reader ends the output, not the run."""

import contextlib
import os
import sys

from tqdm import tqdm

JOINERS = "\u200c\u200d"  # inside words of Persian and Hindi, and of several emoji one


def write_line(text: str, name: str) -> None:
    """Write to sys.stdout or sys.stderr, above the progress bar.

    A reader that has gone (`| head`) or a full disk ends the output, not the run.
    """
    stream = getattr(sys, name)
    if stream is None:
        return
    try:
        tqdm.write(text, file=stream)
        stream.flush()
    except (OSError, ValueError):
        # The interpreter flushes again as it ends, so the stream must lead somewhere.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        with contextlib.suppress(OSError, ValueError):  # no file below it: a notebook, a test
            os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def say_on_first(text: str) -> None:
    """Write a line to stdout, on the first process of a run alone."""
    if os.environ.get("RANK", "0") == "0":
        write_line(text, "stdout")


def visible(text: str) -> str:
    """Text of a corpus for a person: it may hold what steers a terminal, which becomes U+FFFD."""
    return "".join(
        letter if letter.isprintable() or letter in JOINERS else "\ufffd" for letter in text
    )


def open_streams() -> None:
    """A closed stdout or stderr leads nowhere: else the next file to be opened takes its number."""
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
    """End the process. One of several ends at once: threads of torch may abort it on the way out.

    Everything is written by then; "terminate called without an active exception" after the last
    line would turn a good run into a failed launch.
    """
    if int(os.environ.get("WORLD_SIZE", 1)) == 1:
        sys.exit(code)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)
