"""Command line and --config file -> a checked Config. Imports nothing heavy, so it answers at once.

    config = parse_config(["--train_file", "a.conll", "--model_name_or_path", "bert-base-cased"])

Precedence: defaults < defaults of the task < its sample defaults < --config FILE < command line.
"""

import dataclasses
import os
import sys

from tagloop.errors import InputError, report_error, require_working_directory, say_interrupted
from tagloop.options.checks import find_problems
from tagloop.options.config import FIELDS, Config
from tagloop.options.places import check_places
from tagloop.options.reading.parsing import read_options
from tagloop.streams import open_streams, say_on_first
from tagloop.tasks import sample_defaults, task_module

__all__ = ["FIELDS", "Config", "check_command_line", "check_places", "parse_config"]
DEBUG_SAMPLES = 100


def check_command_line() -> None:
    """Answer --help, bad options and bad places at once, before anything slow is imported."""
    sys.excepthook = say_interrupted  # Ctrl-C while the rest is imported
    open_streams()
    try:
        require_working_directory()
        config = parse_config()
        if _is_on_one_machine():
            check_places(config)
    except InputError as error:
        report_error(error)
        sys.exit(error.exit_code)
    say_on_first("loading torch, transformers and accelerate")


def _is_on_one_machine() -> bool:
    """False where some processes run on other machines.

    These may have other files. Then the processes look at them when they have met: one that left
    alone would let the others wait for it.
    """
    sizes = [os.environ.get(name, "1") for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE")]
    return sizes[0] == sizes[1]


def parse_config(argv: list[str] | Config | None = None) -> Config:
    """Command line (and --config file) -> checked options; options are taken as they are.

    Raises:
        InputError: every unknown option and wrong type at once; else all failed checks at once.
    """
    require_working_directory()
    if isinstance(argv, Config):  # It is the configuration of one of several runs.
        return argv
    given = read_options(sys.argv[1:] if argv is None else list(argv))
    config = Config(**given)
    own = task_module(config.task_name, "options")
    defaults = getattr(own, "DEFAULTS", {})
    if config.uses_sample_model:
        defaults = defaults | sample_defaults(config.task_name)
    config = Config(**defaults | given)
    if problems := list(find_problems(config, given)):
        raise InputError("\n".join(problems))
    if config.debug:
        sizes = ("max_train_samples", "max_eval_samples", "max_predict_samples")
        small = {name: min(getattr(config, name) or DEBUG_SAMPLES, DEBUG_SAMPLES) for name in sizes}
        config = dataclasses.replace(config, **small)
    # Without a choice the run does all that its data allows.
    if not (config.do_train or config.do_eval or config.do_predict):
        trains = config.has_training_data
        evaluates = not config.train_on_validation
        config = dataclasses.replace(config, do_train=trains, do_eval=evaluates, do_predict=True)
    return config
