"""The commands that the pages for people show: README.md and docs/."""

import re
import shlex

from launches import REPO

FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", flags=re.DOTALL | re.MULTILINE)


def read(name: str) -> str:
    return (REPO / name).read_text(encoding="utf-8")


def commands_of(name: str, *, before: str | None = None) -> list[str]:
    """The commands of a page's bash blocks, without comments, continuation lines joined.

    Args:
        before: a heading; only the blocks above it count.
    """
    text = read(name).split(f"\n{before}\n")[0] if before else read(name)
    blocks = [code for language, code in FENCED.findall(text) if language == "bash"]
    lines = "\n".join(blocks).replace("\\\n", " ").split("\n")
    commands = [re.split(r"\s#\s", line)[0].strip() for line in lines]
    return [command for command in commands if command and not command.startswith("#")]


def training_options(command: str) -> list[str] | None:
    """The options of a command that starts train_loop.py; None for any other command."""
    found = re.search(r"(?:^|-m )tagloop (train|check)\b|\btrain_loop\.py\b", command)
    # An outline of a command is no command; help and files of options have tests of their own.
    if not found or re.search(r"\.\.\.|[<>\[$]|--help|--config ", command):
        return None
    words = shlex.split(command[found.end() :])
    return ["--check_data", *words] if found[1] == "check" else words
