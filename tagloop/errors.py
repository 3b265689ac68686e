"""The exceptions that end a run. The user sees one message, and never a traceback."""

import os
import sys
import time
from types import TracebackType

from tagloop.streams import visible, write_line

EXIT_PROBLEMS = 1  # --check_data found problems in the data.
EXIT_INPUT = 2  # Data, an option or the environment cannot work, so training did not start.
EXIT_STOPPED = 3  # The loss is not finite, or the disk is full; the last checkpoint is good.
EXIT_INTERRUPTED = 130  # Ctrl-C ended the run, and no checkpoint was written at that moment.
EXIT_PREEMPTED = 75  # A signal ended the run after a checkpoint: --resume_from_checkpoint auto.
SECONDS_TO_SPEAK = 1


class InputError(ValueError):
    """Data, an option or the environment is bad. The message names the place and the remedy."""

    exit_code = EXIT_INPUT


class ProblemsFound(InputError):
    """--check_data found problems in the data; they are printed before this is raised."""

    exit_code = EXIT_PROBLEMS


class RunStopped(RuntimeError):
    """The run cannot go on. The message says why, and from which checkpoint to resume."""

    exit_code = EXIT_STOPPED


class OutOfMemory(RunStopped):
    """This process has no memory left; the other processes may not know this."""


class NotFinite(RunStopped):
    """A weight, a moment or a loss is NaN or infinite; the message names the update."""


class Preempted(RuntimeError):
    """The run wrote a checkpoint and stopped, because a signal asked for it."""

    exit_code = EXIT_PREEMPTED


class Interrupted(Preempted):
    """The run stopped without a checkpoint, because the user pressed Ctrl-C."""

    exit_code = EXIT_INTERRUPTED


def require_working_directory() -> None:
    """Refuse to start in a working directory that was deleted: importing torch would crash.

    Raises:
        InputError: the working directory was deleted.
    """
    try:
        os.getcwd()
    except OSError:
        raise InputError("the working directory was deleted; cd into one that is there") from None


def report_error(error: BaseException) -> int:
    """Print the message of an error, once per machine, and return the exit code.

    Only the first process of a machine prints, because all processes raise the same error. An
    OutOfMemory may belong to one process only, so every process prints it.
    """
    if isinstance(error, KeyboardInterrupt):  # Training has a StopSignal and never raises this.
        error = Interrupted("interrupted; what was saved before is whole")
    if os.environ.get("LOCAL_RANK", "0") == "0" or isinstance(error, OutOfMemory):
        for line in str(error).splitlines():
            write_line(f"error: {visible(line)}", "stderr")
    else:  # The launcher ends all processes as soon as one leaves: the first has to speak before.
        time.sleep(SECONDS_TO_SPEAK)
    return error.exit_code


def say_interrupted(kind: type, error: BaseException, traceback: TracebackType | None) -> None:
    """Print one line for Ctrl-C, and the usual traceback for any other error.

    The function serves as sys.excepthook.
    """
    if issubclass(kind, KeyboardInterrupt):
        report_error(error)
    else:
        sys.__excepthook__(kind, error, traceback)
