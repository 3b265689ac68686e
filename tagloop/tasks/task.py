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
from tagloop.batches.packing import MicroBatch
from tagloop.data.check import MOST_PROBLEMS, uses_colour
from tagloop.errors import InputError, ProblemsFound
from tagloop.models.tokenizers import tokenizer_digest
from tagloop.options.config import Config
from tagloop.processes.launch import quiet_libraries
from tagloop.streams import say_on_first, write_line
from tagloop.tasks import task_module
from tagloop.tasks.card_facts import CardFacts


class Metric(NamedTuple):
    """A score that can tell which of two evaluations is better."""

    name: str
    lower_is_better: bool = False


LOSS = Metric("loss", lower_is_better=True)


class Scores(NamedTuple):
    """What an evaluation of a split came to.

    Attributes:
        values: the scores of the whole split by name.
        by_type: for every type or class, where there are any: precision, recall and f1, floats,
            and `number`, how many of the type the data has.
    """

    values: dict[str, float]
    by_type: dict[str, dict[str, float]]

    def plain(self) -> "Scores":
        """The same with Python's own numbers, which JSON and YAML can hold; NumPy's they cannot."""
        return Scores(
            {name: _plain(value) for name, value in self.values.items()},
            {
                type_: {name: _plain(value) for name, value in values.items()}
                for type_, values in self.by_type.items()
            },
        )


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value


def choose_metric(config: Config, known: Sequence[Metric]) -> Metric:
    """The score that tells the best evaluation: --metric_for_best_model, else the first known.

    Raises:
        InputError: no evaluation of this task has that score.
    """
    asked = (config.metric_for_best_model or known[0].name).removeprefix("eval_")
    found = next((metric for metric in known if metric.name == asked), None)
    if found is None:
        names = ", ".join(metric.name for metric in known)
        raise InputError(
            f"--metric_for_best_model {config.metric_for_best_model}: not among {names}"
        )
    return found


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
    say_on_first(f"reading {config.names_of_data}")
    report = task_module(config.task_name, "check").check_task(config)
    most = MOST_PROBLEMS if sys.stdout.isatty() else None
    write_line(report.text(colour=uses_colour(sys.stdout), most=most), "stdout")
    if report.num_problems:
        kinds = ", ".join(f"{len(found):,} x {kind}" for kind, found in report.problems.items())
        raise ProblemsFound(f"--check_data: {kinds}; see above")
    write_line("no problems found", "stdout")
    return {}


class Task(Protocol):
    """What is learned, predicted and scored. Built the same on every process.

    Attributes:
        examples: by split, those of train, validation, test and predict that the run needs.
        metric: the score that tells which evaluation is best.
        processors: objects with `save_pretrained` that are saved beside the model, the tokenizer
            first.
        prediction_files: names of all files that write() may write; task.py of the task's folder
            has them as PREDICTION_FILES, too, for they are asked for before a task is loaded.
        identity: JSON values that a resumed run must share: data, tokenizer, model.
        fingerprints: per split that was read, a hash of its rows.
        warnings: for the user; nothing in them stops a run.
    """

    examples: dict[str, Examples]
    metric: Metric
    processors: list[Any]
    prediction_files: tuple[str, ...]
    identity: dict
    fingerprints: dict[str, str]
    warnings: list[str]

    def build_model(self) -> nn.Module:
        """The model in float32 on the CPU, the same on every process."""
        ...

    def losses(self, outputs: Any, batch: MicroBatch) -> Tensor:
        """The loss of every target, unreduced, times its weight.

        Args:
            outputs: what the model made of the batch, laid out as the batch is: in packed rows,
                or a padded row for each example; `batch.unpack` gives rows of packed values.
            batch: on the device; `batch.labels` are laid out in the same way.

        Returns:
            A tensor of any shape, float32 or the dtype of the outputs; 0, or nothing, where a
            label is ignored. The loop takes its sum, over the sum of all targets' weights.
        """
        ...

    def predict(
        self, model: nn.Module, batch: MicroBatch, outputs: Any, losses: Tensor, split: str
    ) -> dict[str, Tensor]:
        """What is predicted for the examples of a batch, without gradient.

        Args:
            model: not wrapped for several processes, for tasks that have to generate.
            batch: on the device, a padded row for each example; without ids for a process that
                has no work, which then predicts tensors of length 0.
            outputs, losses: of this batch.

        Returns:
            Tensors by name, [num_predictions of these examples, ...], in the order of the ids, on
            the device. Names, dtypes and all sizes but the first are the same on every process.
        """
        ...

    def score(self, split: str, predictions: dict[str, np.ndarray], loss: float | None) -> Scores:
        """Scores of a whole split; the main process alone calls this.

        Args:
            predictions: by name, [num_predictions of the split, ...], in the order of the split.
            loss: mean over the targets; None if there are none. The loop adds it to the scores.
        """
        ...

    def write(self, folder: Path, split: str, predictions: dict[str, np.ndarray]) -> None:
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
