"""What the scripts have in common: their command line, and how they end."""

import argparse
import os
import re
import shlex
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import tagloop
from tagloop import __version__
from tagloop.errors import (
    InputError,
    Preempted,
    RunStopped,
    report_error,
    require_working_directory,
)
from tagloop.options.places import NO_PLAIN_FILE, find_name_problem, find_odd_file
from tagloop.streams import open_streams

LAUNCH_FILES = "accelerate_configs"  # The folder of the launch files, beside the scripts.
INSTALLED = "scripts"  # The folder of the scripts in an installed package; see pyproject.toml.
MOST_SHOWN = 200  # characters of a word of an argument in a message


class ScriptParser(argparse.ArgumentParser):
    """A command line that the script's docstring describes; a mistake in it is an InputError."""

    def __init__(self, script: str, description: str):
        name, formatter = program_name(script), argparse.RawDescriptionHelpFormatter
        if name != script:
            description = description.replace(f"python {script}", name)
            description = description.replace(f" {script}", f" -m {name}")  # accelerate launch
            description = re.sub(rf"--config_file {LAUNCH_FILES}/\S+ ", "", description)
        super().__init__(prog=name, description=description, formatter_class=formatter)
        self.add_argument("--version", action="version", version=f"tagloop {__version__}")

    def parse_args(self, *arguments: Any, **options: Any) -> argparse.Namespace:
        """As argparse has it. Raises InputError, also where the working directory is gone."""
        require_working_directory()
        return super().parse_args(*arguments, **options)

    def error(self, message: str) -> NoReturn:
        """Raise InputError."""
        message = re.sub(rf"(\S{{{MOST_SHOWN}}})\S+", r"\1...", message)
        raise InputError(f"{message}; --help shows all options")


def program_name(script: str) -> str:
    """What the user types to start a script: "predict.py", or "tagloop predict" if installed."""
    folder = scripts_folder()
    if folder.name != INSTALLED or Path(sys.argv[0]).parent != folder:
        return script
    return _command(script)


def command_of(script: str) -> str:
    """What the user types next to run a script, whatever was started to come here.

    Returns:
        "tagloop predict" if installed; in a checkout "python predict.py", and with the whole path
        of the script if the working directory is another one.
    """
    folder = scripts_folder()
    if folder.name == INSTALLED:
        return _command(script)
    path = folder / script
    is_here = os.path.realpath(script) == str(path)
    return f"{_interpreter()} {script if is_here else shlex.quote(str(path))}"


def _interpreter() -> str:
    """What starts this Python: "python", or its path if it is that of another environment."""
    is_active = os.environ.get("VIRTUAL_ENV") == sys.prefix or sys.prefix == sys.base_prefix
    if is_active or shutil.which("python") == sys.executable:
        return "python"
    path = Path(sys.executable)
    here = Path.cwd()
    return shlex.quote(str(path.relative_to(here) if path.is_relative_to(here) else path))


def launch_file(name: str) -> str:
    """What the user types behind --config_file of accelerate launch, as `command_of` has it."""
    path = scripts_folder() / LAUNCH_FILES / name
    here = os.path.join(LAUNCH_FILES, name)
    return here if os.path.realpath(here) == str(path) else shlex.quote(str(path))


def _command(script: str) -> str:
    return f"tagloop {script.removesuffix('.py').removesuffix('_loop')}"


def scripts_folder() -> Path:
    """The folder of the scripts: inside of an installed package, or at the top of a checkout."""
    package = Path(tagloop.__file__).resolve().parent
    installed = package / INSTALLED
    return installed if installed.is_dir() else package.parent


def place(text: str) -> str:
    """The name of a file or folder as an argument of argparse; `~` becomes the home folder.

    Raises:
        argparse.ArgumentTypeError: no file can have this name.
    """
    name = os.path.expanduser(text)
    if problem := find_name_problem(name):
        raise argparse.ArgumentTypeError(f"{text}: {problem}")
    return name


def path(text: str) -> Path:
    """The same as a Path."""
    return Path(place(text))


def saved_folder(text: str) -> Path:
    """The same, of a folder that a run left; a pipe or a device in it would be read for ever."""
    folder = path(text)
    if odd := find_odd_file(folder):
        raise argparse.ArgumentTypeError(f"{folder}: {odd.name} {NO_PLAIN_FILE}")
    return folder


def input_file(text: str) -> str:
    """The same, of a file to read, or "-" for standard input; a pipe may only be that."""
    name = place(text)
    if name != "-" and os.path.exists(name) and not (os.path.isfile(name) or os.path.isdir(name)):
        raise argparse.ArgumentTypeError(f"{name}: {NO_PLAIN_FILE}, or give it as standard input")
    return name


def run_script(main: Callable[[list[str] | None], object], argv: list[str] | None = None) -> int:
    """Run main(argv) and return the exit code.

    An error that a user can mend becomes one message instead of a traceback. This includes an error
    of the system about a file that has a name, as in a folder that the user may not enter.

    Args:
        argv: arguments of the command line; None takes those of the process.
    """
    open_streams()
    try:
        require_working_directory()
        main(argv)
    except (InputError, RunStopped, Preempted, KeyboardInterrupt) as error:
        return report_error(error)
    except OSError as error:
        if error.filename is None or error.strerror is None:
            raise
        return report_error(InputError(f"{error.filename}: {error.strerror}"))
    return 0
