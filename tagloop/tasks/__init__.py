"""What is learned, predicted and scored. A task is one case here; see task.py."""

import os
import sys

from tagloop.data.check import MOST_PROBLEMS, uses_colour
from tagloop.errors import ProblemsFound
from tagloop.options.config import Config
from tagloop.processes.launch import quiet_libraries
from tagloop.streams import write_line
from tagloop.tasks.task import Task


def load_task(config: Config, *, pad_to_multiple_of: int) -> Task:
    """Data, labels, tokenizer and examples of the task that the options name.

    Args:
        pad_to_multiple_of: columns of a batch; eight is what half precision on a GPU likes.

    Raises:
        InputError: bad data, or options that do not fit it.
    """
    match config.task_name:  # imported here: a task brings its libraries along
        case "ner" | "pos" | "chunk":
            from tagloop.tasks.tagging.task import load_tagging as load
        case "classification":
            from tagloop.tasks.classification.task import load_classification as load
    return load(config, pad_to_multiple_of=pad_to_multiple_of)


def check_data(config: Config) -> dict:
    """Print what the data holds and what is wrong with it; the first process alone does.

    Raises:
        ProblemsFound: there are problems, which are printed.
        InputError: an option is wrong, or names no data.
    """
    if os.environ.get("RANK", "0") != "0":
        return {}
    if config.task_name == "classification":
        from tagloop.tasks.classification.check import check_classification as check
    else:
        from tagloop.tasks.tagging.check import check_tagging as check
    quiet_libraries()
    report = check(config)
    most = MOST_PROBLEMS if sys.stdout.isatty() else None
    write_line(report.text(colour=uses_colour(sys.stdout), most=most), "stdout")
    if report.num_problems:
        kinds = ", ".join(f"{len(found):,} x {kind}" for kind, found in report.problems.items())
        raise ProblemsFound(f"--check_data: {kinds}; see above")
    write_line("no problems found", "stdout")
    return {}
