"""What the loop asks of a task. docs/new_task.md shows how one is written."""

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from datasets import Dataset
from torch import Tensor, nn
from transformers import (
    PreTrainedConfig,
    PreTrainedTokenizerFast,
)

from tagloop.batches.examples import Examples
from tagloop.data.check import MOST_PROBLEMS, uses_colour
from tagloop.errors import InputError, ProblemsFound
from tagloop.models.tokenizers import tokenizer_digest
from tagloop.options.config import Config
from tagloop.processes.launch import quiet_libraries
from tagloop.streams import write_line
from tagloop.tasks import task_module
from tagloop.tasks.card_facts import CardFacts


def choose_metric(config: Config, known: Sequence[str]) -> str:
    """The score that tells the best evaluation: --metric_for_best_model, else the first known.

    Raises:
        InputError: no evaluation of this task has it.
    """
    metric = (config.metric_for_best_model or known[0]).removeprefix("eval_")
    if metric not in known:
        raise InputError(
            f"--metric_for_best_model {config.metric_for_best_model}: not among {', '.join(known)}"
        )
    return metric


def needed_splits(config: Config, splits: dict[str, Dataset]) -> dict[str, Dataset]:
    """The splits that the --do_ options ask for.

    Raises:
        InputError: there is nothing to train on.
    """
    if config.do_train and "train" not in splits:
        raise InputError(f"{config.dataset_name}: no training split; give --train_file")
    asked = {"train": config.do_train, "validation": config.do_eval}
    needed = {split: data for split, data in splits.items() if asked.get(split, config.do_predict)}
    if not needed:
        raise InputError("nothing to do: the data has no split for what the --do_ options ask")
    if config.load_best_model_at_end and "validation" not in needed:
        raise InputError("--load_best_model_at_end: no validation split can tell the best")
    return needed


def load_task(config: Config, *, pad_to_multiple_of: int) -> "Task":
    """Data, labels, tokenizer and examples of the task that the options name.

    Args:
        pad_to_multiple_of: columns of a batch; eight is what half precision on a GPU likes.

    Raises:
        InputError: bad data, or options that do not fit it.
    """
    module = task_module(config.task_name, "task")  # imported here: it brings its libraries along
    return module.load_task(config, pad_to_multiple_of=pad_to_multiple_of)


def prediction_files_of(task_name: str) -> tuple[str, ...]:
    """Names of all files that a task's write() may write, before the task is loaded."""
    return task_module(task_name, "task").PREDICTION_FILES


def check_data(config: Config) -> dict:
    """Print what the data holds and what is wrong with it; the first process alone does.

    Raises:
        ProblemsFound: there are problems, which are printed.
        InputError: an option is wrong, or names no data.
    """
    if os.environ.get("RANK", "0") != "0":
        return {}
    quiet_libraries()
    report = task_module(config.task_name, "check").check_task(config)
    most = MOST_PROBLEMS if sys.stdout.isatty() else None
    write_line(report.text(colour=uses_colour(sys.stdout), most=most), "stdout")
    if report.num_problems:
        kinds = ", ".join(f"{len(found):,} x {kind}" for kind, found in report.problems.items())
        raise ProblemsFound(f"--check_data: {kinds}; see above")
    write_line("no problems found", "stdout")
    return {}


class Scores(NamedTuple):
    """Scores of a split.

    Attributes:
        values: plain floats by name. The loop adds "loss", None where nothing has a target.
        by_type: for every type or class {"precision", "recall", "f1", "number"}; empty without
            types.
    """

    values: dict[str, float]
    by_type: dict[str, dict[str, float]]


class Task(Protocol):
    """What is learned, predicted and scored. Built the same on every process.

    Attributes:
        examples: by split, those of train, validation, test and predict that the run needs.
        best_metric: the score that tells which evaluation is best; a loss counts downwards.
        tokenizer: of the model.
        processors: objects with `save_pretrained` that are saved beside the model, the tokenizer
            first.
        prediction_files: names of all files that write() may write; task.py of the task's folder
            has them as PREDICTION_FILES, too, for they are asked for before a task is loaded.
        identity: JSON values that a resumed run must share: data, tokenizer, model.
        fingerprints: per split that was read, a hash of its rows.
        warnings: for the user; nothing in them stops a run.
    """

    examples: dict[str, Examples]
    best_metric: str
    tokenizer: Any
    processors: list[Any]
    prediction_files: tuple[str, ...]
    identity: dict
    fingerprints: dict[str, str]
    warnings: list[str]

    def build_model(self) -> nn.Module:
        """The model in float32 on the CPU, the same on every process."""
        ...

    def losses(self, outputs: Any, labels: Tensor) -> Tensor:
        """The loss of every target, unreduced, in any shape; 0 where a label is ignored."""
        ...

    def predict(self, outputs: Any, split: str, ids: np.ndarray) -> Tensor:
        """The predicted values of a batch, one vector in the order of ids, on the device."""
        ...

    def score(self, split: str, predictions: np.ndarray) -> Scores:
        """Scores of a whole split; the main process alone calls this."""
        ...

    def write(self, folder: Path, split: str, predictions: np.ndarray) -> None:
        """Write predictions.* of a whole split; the main process alone calls this."""
        ...

    def describe(self) -> list[tuple[str, str]]:
        """What was read, as (name, text) lines of the header."""
        ...

    def card(self) -> CardFacts:
        """What the model card says of the task; the main process alone calls this."""
        ...


def identify(
    fingerprints: dict[str, str],
    examples: dict[str, Examples],
    tokenizer: PreTrainedTokenizerFast,
    model_config: PreTrainedConfig,
) -> dict:
    """What a resumed run must share of a task: data that it learns from, tokenizer and model."""
    learned = [split for split in ("train", "validation") if split in examples]
    return {
        "data": {split: fingerprints[split] for split in learned},
        "tokenizer": tokenizer_digest(tokenizer),
        "model": describe_model(model_config),
    }


def describe_model(model_config: PreTrainedConfig) -> dict:
    """The architecture and label list, without what names a place or a version."""
    facts = model_config.to_dict()
    facts = {k: v for k, v in facts.items() if k not in ("_name_or_path", "transformers_version")}
    return json.loads(json.dumps(facts, default=str))
