"""How a run ends when it does not end well. Each is one message, never a traceback."""

import os
import sys
import time
from types import TracebackType

from tagloop.streams import write_line

EXIT_PROBLEMS = 1  # --check_data found some
EXIT_INPUT = 2  # what the user gave cannot work; nothing was started
EXIT_STOPPED = 3  # the run had to stop: non-finite loss, full disk; the last checkpoint is good
EXIT_INTERRUPTED = 130  # Ctrl-C, and nothing was saved for it
EXIT_PREEMPTED = 75  # a signal asked to stop; saved, resume with --resume_from_checkpoint auto
SECONDS_TO_SPEAK = 1


class InputError(ValueError):
    """Bad data, option or environment. The message names the place and the remedy."""

    exit_code = EXIT_INPUT


class ProblemsFound(InputError):
    """--check_data found what is wrong with the data; it is on the screen by then."""

    exit_code = EXIT_PROBLEMS


class RunStopped(RuntimeError):
    """The run cannot go on. The message says why, and where it can be taken up again."""

    exit_code = EXIT_STOPPED


class OutOfMemory(RunStopped):
    """Memory ended on this process, of which the others may know nothing."""


class NotFinite(RunStopped):
    """Weights, moments or a loss are not numbers any more; the message says since when."""


class Preempted(RuntimeError):
    """A signal asked the run to stop, and it did, with a checkpoint."""

    exit_code = EXIT_PREEMPTED


class Interrupted(Preempted):
    """Ctrl-C asked the run to stop, and it did, without a checkpoint."""

    exit_code = EXIT_INTERRUPTED


def require_working_directory() -> None:
    """Refuse to start where no library can be loaded: torch ends the process there.

    Raises:
        InputError: the working directory was deleted.
    """
    try:
        os.getcwd()
    except OSError:
        raise InputError("the working directory was deleted; cd into one that is there") from None


def report_error(error: BaseException) -> int:
    """One message for all processes of a machine if they met the same error; the exit code."""
    if isinstance(error, KeyboardInterrupt):  # not in training, which stops by itself
        error = Interrupted("interrupted; what was saved before is whole")
    if os.environ.get("LOCAL_RANK", "0") == "0" or isinstance(error, OutOfMemory):
        for line in str(error).splitlines():
            write_line(f"error: {line}", "stderr")
    else:  # The launcher ends all processes as soon as one leaves: the first has to speak before.
        time.sleep(SECONDS_TO_SPEAK)
    return error.exit_code


def say_interrupted(kind: type, error: BaseException, traceback: TracebackType | None) -> None:
    """For sys.excepthook: one line for Ctrl-C, all else as the interpreter shows it."""
    if issubclass(kind, KeyboardInterrupt):
        report_error(error)
    else:
        sys.__excepthook__(kind, error, traceback)
