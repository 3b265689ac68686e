"""The interface between the training loop and a task; docs/new_task.md shows how to write one."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from datasets import Dataset
from torch import Tensor, nn

from tagloop.batches.examples import Examples
from tagloop.batches.packing import MicroBatch
from tagloop.data.check import MOST_PROBLEMS
from tagloop.errors import InputError, ProblemsFound
from tagloop.options.config import Config
from tagloop.options.places import check_places
from tagloop.processes.launch import quiet_libraries
from tagloop.streams import say_on_first, write_line
from tagloop.tasks import has_module, task_module
from tagloop.tasks.card_facts import CardFacts
from tagloop.terminal import uses_colour


class Metric(NamedTuple):
    """The name of a score by which two evaluations can be compared, and its direction."""

    name: str
    lower_is_better: bool = False


LOSS = Metric("loss", lower_is_better=True)


class Scores(NamedTuple):
    """The scores of one evaluation of a split.

    Attributes:
        values: the scores of the whole split by name. A score is None if the split has nothing
            that it could be computed from.
        by_type: for every type or class its precision, recall and f1 as floats, and `number`: how
            many of this type the data has. Empty for a task without types.
    """

    values: dict[str, float]
    by_type: dict[str, dict[str, float]]

    def plain(self) -> "Scores":
        """A copy with Python numbers in place of NumPy numbers, which JSON and YAML cannot hold."""
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
    """The score that decides which evaluation is best, as --metric_for_best_model says.

    Args:
        known: the scores of an evaluation of this task; the first is the default.

    Raises:
        InputError: the option names a score that is not in `known`.
    """
    name = (config.metric_for_best_model or known[0].name).removeprefix("eval_")
    chosen = next((metric for metric in known if metric.name == name), None)
    if chosen is None:
        names = ", ".join(metric.name for metric in known)
        raise InputError(
            f"--metric_for_best_model {config.metric_for_best_model}: not among {names}"
        )
    return chosen


def needed_splits(config: Config, splits: dict[str, Dataset]) -> dict[str, Dataset]:
    """The splits that the options --do_train, --do_eval and --do_predict need.

    Raises:
        InputError: the data has no split for one of these options.
    """
    if config.do_train and "train" not in splits:
        raise InputError(f"{config.dataset_name}: no training split; give --train_file")
    is_needed = {"train": config.do_train, "validation": config.do_eval}
    needed = {
        split: data for split, data in splits.items() if is_needed.get(split, config.do_predict)
    }
    if not needed:
        raise InputError("nothing to do: the data has no split for what the --do_ options ask")
    if config.load_best_model_at_end and "validation" not in needed:
        raise InputError("--load_best_model_at_end: no validation split can tell the best")
    return needed


def load_task(config: Config, *, pad_to_multiple_of: int) -> "Task":
    """Load data, labels, tokenizer and examples of the task that --task_name names.

    Args:
        pad_to_multiple_of: the number of columns of a batch is a multiple of this number. A GPU
            computes half precision fastest with 8.

    Raises:
        InputError: the data is bad, or the options do not fit the data.
    """
    module = task_module(config.task_name, "task")  # The import loads the libraries of this task.
    return module.load_task(config, pad_to_multiple_of=pad_to_multiple_of)


def prediction_files_of(task_name: str) -> tuple[str, ...]:
    """Names of all files that `Task.write` may write, known before the task is loaded."""
    return task_module(task_name, "task").PREDICTION_FILES


def check_data(config: Config) -> dict:
    """Print a summary of the data and its problems; only the first process prints.

    Raises:
        ProblemsFound: the data has problems; the function has printed them.
        InputError: an option is wrong, or names no data.
    """
    check_places(config)
    if os.environ.get("RANK", "0") != "0":
        return {}
    quiet_libraries()
    say_on_first(f"reading {config.names_of_data}")
    if not has_module(config.task_name, "check"):
        raise InputError(f"--check_data: --task_name {config.task_name} has no check of its data")
    report = task_module(config.task_name, "check").check_task(config)
    most = MOST_PROBLEMS if sys.stdout.isatty() else None
    write_line(report.text(colour=uses_colour(sys.stdout), most=most), "stdout")
    if report.num_problems:
        kinds = ", ".join(f"{len(places):,} x {kind}" for kind, places in report.problems.items())
        raise ProblemsFound(f"--check_data: {kinds}; see above")
    write_line("no problems found", "stdout")
    return {}


class Task(Protocol):
    """Decides what a model learns and predicts, and how predictions are scored.

    A task must be the same on every process.

    Attributes:
        examples: the examples of every split that the run needs, by the name of the split: train,
            validation, test, predict.
        metric: the score that decides which evaluation is best.
        processors: objects with `save_pretrained` that are saved beside the model; the first is
            the tokenizer.
        prediction_files: names of all files that `write` may write. The file task.py of the task
            also has these names as PREDICTION_FILES, because a run needs them before it loads the
            task.
        written_splits: the splits that `write` is called for if they were predicted at the end of
            a run, in this order.
        identity: JSON values that must be equal in a resumed run: data, tokenizer, model.
        fingerprints: for every split that was read, a hash of its rows.
        warnings: sentences for the user; they do not stop a run.
    """

    examples: dict[str, Examples]
    metric: Metric
    processors: list[Any]
    prediction_files: tuple[str, ...]
    written_splits: tuple[str, ...]
    identity: dict
    fingerprints: dict[str, str]
    warnings: list[str]

    def build_model(self) -> nn.Module:
        """Build or load the model: float32, on the CPU, the same on every process."""
        ...

    def losses(self, outputs: Any, batch: MicroBatch) -> Tensor:
        """The loss of every target, times the weight of the target, without any sum or mean.

        Args:
            outputs: the outputs of the model for this batch. They have the layout of the batch:
                packed rows, or a padded row for each example. `batch.unpack` turns packed rows
                into a row for each example.
            batch: on the device; `batch.labels` have the same layout as the outputs.

        Returns:
            A tensor of any shape, in float32 or in the dtype of the outputs. An ignored label has
            a loss of 0, or no entry. The loop divides the sum of the tensor by the sum of the
            weights of all targets.
        """
        ...

    def predict(
        self, model: nn.Module, batch: MicroBatch, outputs: Any, losses: Tensor, split: str
    ) -> dict[str, Tensor]:
        """The predictions for the examples of a batch. The loop calls this without gradients.

        Args:
            model: the model without the wrapper for several processes, so that a task can call
                `generate_ids` of tagloop/models/generation.py. The call is in the same autocast
                context as the forward pass.
            batch: on the device, with a padded row for each example. A process without work gets
                a batch without example ids and returns tensors of length 0.
            outputs, losses: the outputs of the model and the losses of the task for this batch.

        Returns:
            Tensors by name, [num_predictions of these examples, ...], in the order of
            `batch.example_ids`, on the device. A dtype has 1, 2, 4 or 8 bytes. Names, dtypes and
            all sizes but the first are the same on every process.
        """
        ...

    def complete(self, split: str, predictions: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Finish predictions that need more than one example, as the tags of a long sentence do.

        Every process calls this, with the predictions of all processes.

        Args:
            predictions: as `predict` gives them, [num_predictions of the split, ...] each, in the
                order of the split.

        Returns:
            The predictions as `score` and `write` take them, [num_predictions of the split, ...].
        """
        ...

    def score(self, split: str, predictions: dict[str, np.ndarray], loss: float | None) -> Scores:
        """The scores of a whole split. Only the main process calls this.

        Args:
            predictions: by name, [num_predictions of the split, ...] each, in the order of the
                split.
            loss: mean over the targets; None if the split has no targets. The loop adds the loss
                to the scores.
        """
        ...

    def write(self, folder: Path, split: str, predictions: dict[str, np.ndarray]) -> None:
        """Write the prediction files of a whole split. Only the main process calls this.

        Args:
            folder: the output folder.
            predictions: by name, [num_predictions of the split, ...] each, in the order of the
                split.

        Raises:
            OSError: a file cannot be written.
        """
        ...

    def describe(self) -> list[tuple[str, str]]:
        """Lines (name, text) of the header that say which data and labels were read."""
        ...

    def card(self) -> CardFacts:
        """The facts about the task for the model card. Only the main process calls this."""
        ...


def sizes_of(task: Task) -> dict[str, str]:
    """The size of every split in words, as the header says it; for the model card."""
    return {name: text for name, text in task.describe() if name in task.examples}
