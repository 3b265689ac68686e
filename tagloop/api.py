"""tagloop from Python: train, load_tagger and load_predictor. docs/python.md shows how to use them.

`import tagloop` offers these names, and imports this file when one of them is used.
"""

import functools
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from logging import getLogger
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, Protocol

import datasets
import numpy as np
import torch
import transformers
from accelerate.state import AcceleratorState, is_initialized
from torch import nn

from tagloop.data.documents.reading import Content, NamedValues, Tagged
from tagloop.data.memory import RowsInMemory, file_of_rows, name_rows
from tagloop.data.splitting import WordsWay
from tagloop.errors import InputError
from tagloop.options.reading.parsing import texts_of
from tagloop.options.scripts import scripts_folder
from tagloop.outcome.record import read_outcome
from tagloop.outcome.results import Results
from tagloop.processes.launch import quiet_libraries
from tagloop.processes.stop_signal import StopSignal
from tagloop.tasks import has_module, task_module, task_of

PARTS = {"train": "train", "eval": "validation", "test": "test"}  # Prefix of results -> split.
Precision = Literal["no", "bf16", "fp16"]


class Predictor(Protocol):
    """A trained model that is called with inputs. The stable members of every predictor.

    Attributes:
        model: the model of transformers, in evaluation mode on its device; of an exported model an
            object that is called in the same way.
        tokenizer: the tokenizer that was saved beside the model.
    """

    model: nn.Module
    tokenizer: transformers.PreTrainedTokenizerFast

    def __call__(self, inputs: str | Sequence[Content]) -> list[Tagged] | list[NamedValues]:
        """Predict. The result has an entry for each input, also if there is only one input.

        Args:
            inputs: a string is one input; a list has many. An entry of a list is a text; for a
                tagger it may also be the list of the words of a sentence, and for a model that
                reads two texts a pair of them.
        """
        ...


class Tagger(Predictor, Protocol):
    """A predictor whose results are tags of words, and entities."""

    def __call__(
        self,
        inputs: str | Sequence[str | Sequence[str]],
        documents: Sequence[Any] | None = None,
    ) -> list[Tagged]:
        """Tag texts, or lists of words. The result has an entry for each input.

        Args:
            documents: names or numbers of the documents of the inputs, one for each. If the model
                was trained with --context_tokens, inputs that follow each other and have equal
                values see each other. Without documents every input is one by itself.
        """
        ...


@dataclass(frozen=True)
class TrainingResult:
    """What a run has left.

    Attributes:
        folder: the output folder, which has the model and all files of the run.
        scores: for the splits "train", "validation" and "test", as far as the run used them, the
            values by name: scores["test"]["f1"]. A score is None if the split has nothing that it
            could be computed from.
        by_type: by split, for every type or class its scores by name:
            by_type["test"]["PER"]["f1"]. A split without types is missing.
        history: for every evaluation of the validation data during training, in order, `step`,
            `epoch` and the scores by name.
    """

    folder: Path
    scores: dict[str, dict[str, float | None]]
    by_type: dict[str, dict[str, dict[str, float]]]
    history: list[dict[str, float | None]]

    def __repr__(self) -> str:
        """The folder, and a line with the scores of each split."""
        lines = [f"TrainingResult of {self.folder}"]
        for split, scores in self.scores.items():
            texts = [f"{k} {v:.4g}" for k, v in scores.items() if v is not None]
            lines.append(f"  {split}: {', '.join(texts)}")
        return "\n".join(lines)

    def load_model(
        self,
        *,
        batch_size: int = 32,
        device: str | torch.device | None = None,
        mixed_precision: Precision = "no",
    ) -> Predictor:
        """Load the trained model to apply it, as `load_predictor(folder)` does.

        The predictor has the model of transformers as its attribute `model`.
        """
        return load_predictor(
            self.folder, batch_size=batch_size, device=device, mixed_precision=mixed_precision
        )


def train(
    *,
    train_data: RowsInMemory | None = None,
    validation_data: RowsInMemory | None = None,
    test_data: RowsInMemory | None = None,
    **options: Any,
) -> TrainingResult:
    """Train a model in this process, as `tagloop train` does, and return what the run has left.

    The run prints the same lines and writes the same files as the command. Several calls after
    another are independent of each other. At the end of a call the handlers of signals, the random
    numbers of torch, the variables of the environment, the warnings and the log levels of the
    libraries are as they were before the call.

    Args:
        train_data, validation_data, test_data: rows in memory in place of a file: a
            datasets.Dataset, or a list of dicts as in a JSON file. The columns are found and named
            as in a file. The rows are written into the cache of prepared data (TAGLOOP_CACHE), once
            for each content, and stay there: a resumed run, a report and an export read them again.
        **options: the options of docs/options.md by name, without "--". A list is given as a list,
            a switch as True or False, and None is the default of an option. Without data the run
            uses the built-in sample.

    Raises:
        InputError: data, an option or the environment cannot work. The message says where the
            mistake is and how to mend it. Nothing was trained.
        tagloop.errors.RunStopped: the run could not go on: a loss is not finite, the memory or the
            disk is full.
        tagloop.errors.Preempted: Ctrl-C, SIGTERM or SIGUSR1 stopped the run.
    """
    if threading.current_thread() is not threading.main_thread():
        raise InputError(
            "tagloop.train: handles signals, which Python allows in the main thread alone; call it "
            "there, or start a process for each run"
        )
    given = {"train": train_data, "validation": validation_data, "test": test_data}
    written = {}
    with _left_as_it_was():
        quiet_libraries()
        for split, rows in given.items():
            if rows is not None:
                if options.get(f"{split}_file") is not None:
                    raise InputError(f"{split}_data with {split}_file: give one of them")
                options[f"{split}_file"] = written[split] = file_of_rows(rows, split)
        try:
            return _result(_train_loop().main(_arguments(options)))
        except InputError as error:
            raise type(error)(name_rows(str(error), written)) from None


def load_predictor(
    folder: str | Path,
    *,
    words: WordsWay | None = None,
    batch_size: int = 32,
    device: str | torch.device | None = None,
    mixed_precision: Precision = "no",
) -> Predictor:
    """Load the model in a folder, of any task, to apply it.

    Args:
        folder: the output folder of a run or of an export, or another folder of a trained model.
        words: only for taggers: how running text is split into words. None takes the way in which
            the words of the training data were split.
        batch_size: the number of the longest inputs that go through the model at once.
        device: None takes a GPU if the machine has one, else the CPU.
        mixed_precision: "no" (float32), "bf16" or "fp16".

    Raises:
        InputError: the folder holds no trained model, or its task has no predictor.
    """
    folder = Path(folder).expanduser()
    task = task_of(folder)
    if not has_module(task, "predictor"):
        raise InputError(
            f"{folder}: a model of --task_name {task} has no predictor; "
            "tagloop train --do_predict --predict_file FILE applies it"
        )
    module = task_module(task, "predictor")
    if words is not None and not module.SPLITS_WORDS:
        raise InputError("words: is for taggers; this model predicts for whole texts")
    with _without_bars():  # of transformers; a notebook would keep one for each model
        return module.load_predictor(
            folder,
            **({"words": words} if module.SPLITS_WORDS else {}),
            batch_size=batch_size,
            device=device,
            mixed_precision=mixed_precision,
        )


def load_tagger(
    folder: str | Path,
    *,
    words: WordsWay | None = None,
    batch_size: int = 32,
    device: str | torch.device | None = None,
    mixed_precision: Precision = "no",
) -> Tagger:
    """Load the model in a folder, which has to be a tagger. The arguments are of load_predictor.

    Raises:
        InputError: the folder holds no trained tagger.
    """
    task = task_of(Path(folder).expanduser())
    if not (has_module(task, "predictor") and task_module(task, "predictor").SPLITS_WORDS):
        raise InputError(
            f"{folder}: holds no tagger but a model of --task_name {task}; "
            "tagloop.load_predictor loads it"
        )
    return load_predictor(
        folder, words=words, batch_size=batch_size, device=device, mixed_precision=mixed_precision
    )


def _arguments(options: dict[str, Any]) -> list[str]:
    """Keywords -> arguments of the command line.

    Raises:
        InputError: a name is no option, or a value cannot be written on the command line.
    """
    texts, problems = texts_of({name: _plain(value) for name, value in options.items()})
    if problems:
        raise InputError("\n".join(problems))
    for name in ("seeds", "folds"):
        if options.get(name) is not None and options.get("fold") is None:
            one = "seed=N" if name == "seeds" else "folds=K, fold=N"
            raise InputError(
                f"{name}: tagloop.train trains one run; call it for each with {one}, or run "
                f"`tagloop train --{name}`"
            )
    if options.get("check_data"):
        raise InputError("--check_data: trains nothing; the command `tagloop check` does it")
    return [f"--{name}={text}" for name, text in texts.items()]


def _plain(value: Any) -> Any:
    """A path as text, a number of NumPy as a number, a tuple as a list."""
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, np.generic):
        return value.item()
    return list(value) if isinstance(value, tuple) else value


@functools.cache
def _train_loop() -> ModuleType:
    """Import train_loop.py, and leave sys.path and other modules of the same names as they were."""
    folder, own = scripts_folder(), ("train_loop", "postprocess")
    loaded = sys.modules.get("train_loop")
    if loaded is not None and Path(loaded.__file__).resolve().parent == folder:
        return loaded
    others = {name: sys.modules.pop(name) for name in own if name in sys.modules}
    sys.path.insert(0, str(folder))
    try:
        return import_module("train_loop")
    finally:
        sys.path.remove(str(folder))
        for name in own:
            sys.modules.pop(name, None)
        sys.modules.update(others)


@contextmanager
def _without_bars() -> Iterator[None]:
    """Without the progress bars of transformers; at the end of a block they are as they were."""
    logging = transformers.utils.logging
    has_bar = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if has_bar:
            logging.enable_progress_bar()


@contextmanager
def _left_as_it_was() -> Iterator[None]:
    """Put back at the end of a block what a run changes in its process."""
    handlers = {number: signal.getsignal(number) for number in StopSignal.SIGNALS}
    variables, logging = dict(os.environ), transformers.utils.logging
    verbosity, has_bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    has_no_bars, is_own_state = datasets.are_progress_bars_disabled(), not is_initialized()
    pictures = getLogger("matplotlib")  # The report sets its level.
    level = pictures.level
    devices = range(torch.cuda.device_count()) if torch.cuda.is_available() else []
    try:
        with warnings.catch_warnings(), torch.random.fork_rng(devices=devices):
            yield
    finally:
        for number, handler in handlers.items():
            if handler is not None:  # None is a handler that no Python code has installed.
                signal.signal(number, handler)
        os.environ.clear()
        os.environ.update(variables)
        logging.set_verbosity(verbosity)
        pictures.setLevel(level)
        if has_bar:
            logging.enable_progress_bar()
        if not has_no_bars:
            datasets.enable_progress_bars()
        if is_own_state:  # A later run may choose another precision.
            AcceleratorState._reset_state(reset_partial_state=True)


def _result(results: Results) -> TrainingResult:
    """What main() returns, as a result for Python."""
    outcome = read_outcome(results.folder)
    scores = {
        split: {
            name.removeprefix(f"{part}_"): value
            for name, value in results.items()
            if name.startswith(f"{part}_")
        }
        for part, split in PARTS.items()
    }
    history = [
        {name.removeprefix("eval_"): value for name, value in line.items()}
        for line in outcome.metrics
        if any(name.startswith("eval_") for name in line)
    ]
    return TrainingResult(
        folder=results.folder,
        scores={split: values for split, values in scores.items() if values},
        by_type={
            split: results.by_type[part] for part, split in PARTS.items() if part in results.by_type
        },
        history=history,
    )
