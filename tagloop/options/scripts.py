"""What the scripts have in common: their command line, and how they end."""

import argparse
from collections.abc import Callable
from typing import Any, NoReturn

from tagloop.errors import (
    InputError,
    Preempted,
    RunStopped,
    report_error,
    require_working_directory,
)
from tagloop.streams import open_streams


class ScriptParser(argparse.ArgumentParser):
    """A command line that the script's docstring describes; a mistake in it is an InputError."""

    def __init__(self, prog: str, description: str | None):
        formatter = argparse.RawDescriptionHelpFormatter
        super().__init__(prog=prog, description=description, formatter_class=formatter)

    def parse_args(self, *arguments: Any, **options: Any) -> argparse.Namespace:
        """As argparse has it. Raises InputError, also where the working directory is gone."""
        require_working_directory()
        return super().parse_args(*arguments, **options)

    def error(self, message: str) -> NoReturn:
        """Raise InputError."""
        raise InputError(f"{message}; --help shows all options")


def run_script(main: Callable[[list[str] | None], object], argv: list[str] | None = None) -> int:
    """Run main(argv) and return the exit code.

    An error that a user can mend becomes one message instead of a traceback.

    Args:
        argv: arguments of the command line; None takes those of the process.
    """
    open_streams()
    try:
        main(argv)
    except (InputError, RunStopped, Preempted, KeyboardInterrupt) as error:
        return report_error(error)
    return 0
