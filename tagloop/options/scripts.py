"""What the scripts beside train_loop.py have in common: their command line."""

import argparse
from typing import Any, NoReturn

from tagloop.errors import InputError, require_working_directory


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
