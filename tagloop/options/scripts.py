"""What the scripts have in common: their command line, and how they end."""

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from tagloop import __version__
from tagloop.errors import InputError, Preempted, RunStopped, report_error
from tagloop.options.places import check_working_directory, find_name_problem
from tagloop.streams import open_streams

MOST_SHOWN = 200  # characters of an argument in a message


class ScriptParser(argparse.ArgumentParser):
    """A command line that the script's docstring describes; a mistake in it is an InputError."""

    def __init__(self, prog: str, description: str | None):
        formatter = argparse.RawDescriptionHelpFormatter
        super().__init__(prog=prog, description=description, formatter_class=formatter)
        self.add_argument("--version", action="version", version=f"tagloop {__version__}")

    def error(self, message: str) -> NoReturn:
        """Raise InputError."""
        message = message if len(message) <= MOST_SHOWN else f"{message[:MOST_SHOWN]}..."
        raise InputError(f"{message}; --help shows all options")


def place(text: str) -> str:
    """The name of a file or folder as an argument of argparse; `~` becomes the home folder.

    Raises:
        argparse.ArgumentTypeError: no file can have this name.
    """
    name = os.path.expanduser(text)
    if problem := find_name_problem(name):
        shown = text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}..."
        raise argparse.ArgumentTypeError(f"{shown}: {problem}")
    return name


def path(text: str) -> Path:
    """The same as a Path."""
    return Path(place(text))


def run_script(main: Callable[[list[str] | None], object], argv: list[str] | None = None) -> int:
    """Run main(argv) and return the exit code.

    An error that a user can mend becomes one message instead of a traceback.

    Args:
        argv: arguments of the command line; None takes those of the process.
    """
    open_streams()
    try:
        check_working_directory()
        main(argv)
    except (InputError, RunStopped, Preempted, KeyboardInterrupt) as error:
        return report_error(error)
    return 0
