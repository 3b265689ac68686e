"""One option of the command line: its default, its help line, and the marks that lists are made of.

Each option is a field of a frozen dataclass. The options that all tasks share stand in
tagloop/options/config.py, the others in options.py of the folder of their task. A list of options
is never kept by hand: it is a comprehension over the marks.
"""

import dataclasses
from typing import Any, Literal

About = Literal["data", "model", "training", "stage", "machine", "place", "report"]


def option(
    default: Any,
    help: str,
    *,
    about: About,
    group: str | None = None,
    aliases: tuple[str, ...] = (),
    least: float | None = None,
    above: float | None = None,
    below: float | None = None,
    unset: str | None = None,
    settled: bool = False,
    tasks: tuple[str, ...] | None = None,
    instead_of: str | None = None,
    is_path: bool = False,
    is_hub_name: bool = False,
    is_list: bool = False,
    may_be_empty: bool = False,
    starts_processes: bool = False,
    secret: bool = False,
    may_change: bool = False,
    formerly: Any = ...,
) -> Any:
    """Define one option.

    Args:
        default: its value if nobody gives it.
        help: a line for --help and docs/options.md; it does not repeat the default.
        about: the subject of the option. "data": the examples and their order. "model": the model
            that the run begins with. "training": all else that decides which weights are learned
            and kept. "stage": which parts of a run are done. "machine": how the work is laid out
            on devices and processes. "place": where the run reads and writes, or uploads to.
            "report": what the run shows, logs and saves on its way.
        group: opens a group of --help; the shared options that follow belong to the group, too.
        aliases: further spellings on the command line.
        least, above, below: what a number must be at least, above or below.
        unset: what the run does if the default is None and nobody gives a value.
        settled: the value of an option that nobody gave is decided in tagloop/options/settle.py.
        tasks: names of the tasks that take the option, if not all tasks of the folder do.
        instead_of: the beginning of the name of another option, with dashes. With one of the values
            of this option, which are a few words, that spelling means this option.
        is_path: the value names a file or folder of this machine.
        is_hub_name: the value is a name on the hub, or else names a file or folder.
        is_list: the value is names with commas between them; a file may give them as a list.
        may_be_empty: the value may be a text without characters.
        starts_processes: the value is how many processes each process of the run starts.
        secret: never written to a file, a log or a tracker.
        may_change: a resumed run may give another value. True for what names places (what lies
            there is compared by content), says how often to report, or moves work between devices
            without changing what an update learns; all else is part of what the run is.
        formerly: the value that a checkpoint older than the option is taken to have; the default
            if not given.
    """
    metadata = {
        "help": help,
        "about": about,
        "group": group,
        "aliases": aliases,
        "bounds": {"least": least, "above": above, "below": below},
        "unset": unset,
        "settled": settled,
        "tasks": tasks,
        "instead_of": instead_of,
        "is_path": is_path,
        "is_hub_name": is_hub_name,
        "is_list": is_list,
        "may_be_empty": may_be_empty,
        "starts_processes": starts_processes,
        "secret": secret,
        "may_change": may_change,
        "formerly": default if formerly is ... else formerly,
    }
    return dataclasses.field(default=default, metadata=metadata)
