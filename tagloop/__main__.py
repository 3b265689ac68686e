"""The command `tagloop`, which is also `python -m tagloop`: a name for each script.

    tagloop train --train_file train.conll --validation_file dev.conll --output_dir runs/mine
    tagloop check --train_file train.conll
    tagloop predict runs/mine --text "Ann Lee lives in Oslo."
    tagloop report runs/mine
    tagloop export runs/mine --format onnx
    tagloop copy-loop mine

Many devices: accelerate launch -m tagloop train ...
"""

import difflib
import os
import runpy
import shutil
import sys
from pathlib import Path

from tagloop import __version__
from tagloop.errors import InputError, report_error, require_working_directory
from tagloop.options.scripts import scripts_folder
from tagloop.streams import open_streams, write_line

COMMANDS = {
    "train": "train a model, score it, and write it into a folder",
    "check": "look at data instead of training: counts, and problems by file and line",
    "predict": "apply a trained model to texts or files",
    "report": "write the page of a run, or compare several runs",
    "export": "write a trained model for onnxruntime",
    "copy-loop": "write the training loop into a folder, to be edited there",
}
SCRIPTS = {"train": "train_loop.py", "check": "train_loop.py"}  # Else COMMAND.py.
COPIED = ("train_loop.py", "postprocess.py", "accelerate_configs")
COPY_LOOP_HELP = """usage: tagloop copy-loop FOLDER

Write train_loop.py and postprocess.py into a folder, and the launch files in accelerate_configs/.
You edit these two files there; they run with the installed package. No file is replaced."""
# A name that is less alike than this is more often a wrong suggestion than a right one.
ALIKE = 0.5


def main() -> int:
    """Run the command that the arguments of the process name; return the exit code.

    A script ends the process by itself, so this function returns only without a script.
    """
    open_streams()
    try:
        require_working_directory()
        return run(sys.argv[1:])
    except InputError as error:
        return report_error(error)


def run(arguments: list[str]) -> int:
    """Run a command.

    Args:
        arguments: the name of the command and the arguments of the command.

    Raises:
        InputError: no command has this name, or its arguments cannot work.
    """
    name, *rest = arguments or [""]
    if name in ("-h", "--help"):
        write_line(usage(), "stdout")
    elif name == "--version":
        write_line(f"tagloop {__version__}", "stdout")
    elif name == "copy-loop":
        copy_loop(rest)
    elif name in COMMANDS:
        run_script_of(name, rest)
    else:
        raise InputError(unknown_command(name))
    return 0


def usage() -> str:
    """The text of --help."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {text}" for name, text in COMMANDS.items()]
    return "\n".join(
        (
            "usage: tagloop COMMAND [--help] [ARGUMENT ...]",
            "       tagloop [--help] [--version]",
            "",
            *lines,
            "",
            "Many devices: accelerate launch -m tagloop train ...",
        )
    )


def unknown_command(name: str) -> str:
    """A message about a word that is no command; it names the command that is most alike."""
    commands = ", ".join(COMMANDS)
    if not name:
        return f"a command is missing; give one of {commands}"
    if name.startswith("-"):
        return f"{name}: options stand after a command; the commands are {commands}"
    closest = difflib.get_close_matches(name.replace("_", "-"), COMMANDS, n=1, cutoff=ALIKE)
    remedy = f"did you mean {closest[0]}?" if closest else f"the commands are {commands}"
    return f"{name}: is no command; {remedy}"


def run_script_of(command: str, arguments: list[str]) -> None:
    """Run the script of a command as if the interpreter had been started with that script.

    The script ends with SystemExit, which has the exit code of the command.
    """
    folder = scripts_folder()
    sys.path.insert(0, str(folder))  # The scripts import each other: `import postprocess`.
    extra = ["--check_data"] if command == "check" else []
    sys.argv[1:] = [*extra, *arguments]
    runpy.run_path(str(folder / SCRIPTS.get(command, f"{command}.py")), run_name="__main__")


def copy_loop(arguments: list[str]) -> None:
    """Write the training loop into a folder, and say how the loop is started there.

    Args:
        arguments: the folder, which may be new.

    Raises:
        InputError: the folder is missing among the arguments, cannot be written, or holds a file
            that would be replaced.
    """
    if arguments in (["-h"], ["--help"]):
        write_line(COPY_LOOP_HELP, "stdout")
        return
    if len(arguments) != 1 or arguments[0].startswith("-"):
        raise InputError("copy-loop takes one argument, the folder to write into")
    folder = Path(arguments[0]).expanduser()
    if there := [name for name in COPIED if os.path.lexists(folder / name)]:
        raise InputError(
            f"{folder / there[0]}: exists, and copy-loop replaces nothing; name another folder"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in COPIED:
            source = scripts_folder() / name
            copy = shutil.copytree if source.is_dir() else shutil.copyfile
            copy(source, folder / name)
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror or error})") from None
    loop = folder / COPIED[0]
    write_line(
        f"{folder}: {', '.join(COPIED)}\n"
        f"Edit {loop}, then start it: python {loop}, or accelerate launch {loop}",
        "stdout",
    )


if __name__ == "__main__":
    sys.exit(main())
