"""Values that cannot be: on their own, for the task, or beside the values of other options."""

import math
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tagloop.options import protocol
from tagloop.options.config import FIELDS, Config
from tagloop.options.fine_tuning import find_fine_tuning_problems
from tagloop.options.lists import tasks_of
from tagloop.options.places import find_name_problem, find_text_problem
from tagloop.options.reading.values import show_value
from tagloop.tasks import task_module
from tagloop.wording import count

POLYNOMIAL_END = 1e-7  # transformers' polynomial schedule falls to this rate.

PROCESSES_PER_CORE = 4
FEW_PROCESSES = 16  # So many processes are no harm to any machine.


def find_problems(config: Config, given: dict[str, Any]) -> Iterator[str]:
    """Everything that is wrong with the options, one line each.

    Args:
        given: the values that the user gave, by name of the option.
    """
    yield from _single_problems(config)
    yield from _task_problems(config, given)
    yield from _joint_problems(config)


def _single_problems(config: Config) -> Iterator[str]:
    """Every value that is wrong whatever the others are."""
    for field in FIELDS.values():
        value = getattr(config, field.name)
        remedy = None
        if value == "" and field.metadata["may_be_empty"]:
            continue
        if isinstance(value, str):
            names_a_place = field.metadata["is_path"] or field.metadata["is_hub_name"]
            remedy = find_name_problem(value) if names_a_place else find_text_problem(value)
        elif isinstance(value, int | float):
            remedy = _number_remedy(value, **field.metadata["bounds"])
            if field.metadata["starts_processes"]:
                remedy = remedy or _processes_remedy(value)
        if remedy:
            yield f"--{field.name} {show_value(field.name, value)}: {remedy}"
    steps = config.checkpointing_steps
    if steps and not re.fullmatch("epoch|0*[1-9][0-9]{,17}", steps):
        yield f'--checkpointing_steps {steps}: must be a number of updates or "epoch"'
    warmup = config.num_warmup_steps
    if 1 < warmup < math.inf and warmup != int(warmup):
        yield (f"--num_warmup_steps {warmup}: must be whole updates, or a share of the run below 1")


def _number_remedy(
    value: float, *, least: float | None, above: float | None, below: float | None
) -> str | None:
    """What a number must be instead, if it is not good."""
    if isinstance(value, float) and not math.isfinite(value):
        return "must be a finite number"
    if least is not None and value < least:
        return f"must be at least {least}"
    if above is not None and value <= above:
        return f"must be above {above}"
    if below is not None and value >= below:
        return f"must be below {below}"
    return "must be below 2**63" if isinstance(value, int) and value >= 2**63 else None


def _processes_remedy(number: int) -> str | None:
    """How many processes this machine can bear instead, if it cannot bear so many."""
    cores = os.cpu_count() or 1
    most = max(PROCESSES_PER_CORE * cores, FEW_PROCESSES)
    if number <= most:
        return None
    return (
        f"must be at most {most}, as this machine has {count(cores, 'core')}; more processes than "
        "cores wait for each other"
    )


def _task_problems(config: Config, given: dict[str, Any]) -> Iterator[str]:
    """Options that were given and belong to another task; then what the task itself refuses."""
    task = config.task_name
    for name in given:
        if task not in tasks_of(name):
            tasks = ", ".join(tasks_of(name))
            yield f"--{name} is for {tasks}; --task_name {task} does not take it"
    yield from task_module(task, "options").find_problems(config)


def _joint_problems(config: Config) -> Iterator[str]:
    """Every option that contradicts another."""
    asked = config.do_train or config.do_eval or config.do_predict
    only_files = config.dataset_name is None and not config.uses_sample_corpus
    yield from find_fine_tuning_problems(config)
    yield from _data_problems(config, only_files)
    yield from _model_problems(config, asked)
    yield from _folder_problems(config, asked)
    yield from protocol.find_problems(config)
    if config.lr_scheduler_type == "polynomial" and config.learning_rate <= POLYNOMIAL_END:
        yield (
            f"--lr_scheduler_type polynomial: falls to {POLYNOMIAL_END:g}; give a higher "
            "--learning_rate"
        )
    if config.show_examples is not None and not config.check_data:
        yield "--show_examples: needs --check_data"
    if config.train_on_validation:  # Then nothing is evaluated.
        return
    held_out = config.validation_fraction or _holds_out_first_rows(config)
    has_validation = not only_files or config.validation_file or held_out
    for name in ("early_stopping_patience", "load_best_model_at_end", "metric_for_best_model"):
        if getattr(config, name) and not (has_validation and (config.do_eval or not asked)):
            yield (
                f"--{name} needs an evaluation to tell which model is best: --validation_file or "
                "--validation_fraction, and --do_eval if any --do_ option is given"
            )


def _data_problems(config: Config, only_files: bool) -> Iterator[str]:
    """What the data options say against each other or the --do_ options."""
    if config.validation_fraction is not None and config.validation_file is not None:
        yield "--validation_fraction with --validation_file: give one of them"
    for name in ("dataset_config_name", "dataset_revision"):
        if getattr(config, name) and config.uses_sample_corpus:
            yield f"--{name}: needs --dataset_name, the dataset that it is of"
    if (config.validation_split_percentage or 0) >= 100:
        yield "--validation_split_percentage: must be below 100, or nothing is left to learn"
    for name, files in (
        ("do_train", ["train_file"]),
        ("do_eval", ["validation_file", "validation_fraction"]),
        ("do_predict", ["test_file", "predict_file"]),
    ):
        has_rows = any(getattr(config, f) for f in files)
        has_rows = has_rows or (name == "do_predict" and config.folds)  # the part that is left out
        has_rows = has_rows or (name == "do_eval" and _holds_out_first_rows(config))
        if only_files and getattr(config, name) and not has_rows:
            yield f"--{name} needs --{' or --'.join(files)}"


def _holds_out_first_rows(config: Config) -> bool:
    """True if the first rows of the training file become validation data."""
    return bool(config.validation_split_percentage and config.train_file)


def _model_problems(config: Config, asked: bool) -> Iterator[str]:
    """A model, and where it comes from and goes to."""
    from_scratch = config.config_name or config.model_type
    if config.check_data:  # It loads no model, at most a tokenizer.
        return
    if not (config.model_name_or_path or from_scratch or config.uses_sample_model):
        yield (
            "your data needs a model: give --model_name_or_path, or --model_type and "
            "--tokenizer_name to train from scratch"
        )
    if from_scratch and not (config.model_name_or_path or config.tokenizer_name):
        yield "a model from scratch needs --tokenizer_name"
    trains = config.do_train if asked else config.has_training_data
    if config.push_to_hub and not trains:
        yield "--push_to_hub needs --do_train: there is nothing to push"


def _folder_problems(config: Config, asked: bool) -> Iterator[str]:
    """The output folder against what is read from it."""
    if config.overwrite_output_dir and config.resume_from_checkpoint:
        yield (
            "--overwrite_output_dir with --resume_from_checkpoint: one deletes what the other needs"
        )
    if config.resume_from_checkpoint and config.output_dir is None:
        yield "--resume_from_checkpoint needs --output_dir: the folder of the run to go on with"
    only_scores = asked and not config.do_train  # Then the model stays as it is.
    if config.output_dir is None or only_scores:
        return
    # A resumed run may take its tokenizer from its own folder, where the tokenizer stays the same.
    folder = Path(config.output_dir)
    read = ["model_name_or_path"]
    read += ["config_name", "tokenizer_name"] if config.overwrite_output_dir else []
    for name in read:
        place = Path(getattr(config, name) or os.devnull)
        are_names = not any(find_name_problem(str(path)) for path in (place, folder))
        if are_names and place.resolve().is_relative_to(folder.resolve()):
            yield f"--output_dir {folder}: holds --{name}, which would be overwritten"
