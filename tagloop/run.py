"""Run: the options of a run, the objects that were built for them, and its progress."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from accelerate import Accelerator
from torch import Tensor, nn, optim

from tagloop.batches.dataloader import marks_targets
from tagloop.batches.packing import MicroBatch, Packing, build_micro_batch
from tagloop.batches.shapes import choose_shapes
from tagloop.errors import InputError, Interrupted, Preempted
from tagloop.options.config import Config
from tagloop.processes.agree import say, warn
from tagloop.processes.devices import is_compiled
from tagloop.tasks.task import Scores, Task
from tagloop.terminal import Table
from tagloop.training.average import WeightAverage
from tagloop.training.background import Background
from tagloop.training.casts import WeightCasts
from tagloop.training.dropout import DropoutCall
from tagloop.training.memory import find_micro_batch, smaller_micro_batches
from tagloop.training.progress import Timetable, TrainState
from tagloop.training.vocabulary import Vocabulary


def table_of_updates() -> Table:
    """A table for the updates and evaluations of a run; the scores come with their first row."""
    columns = {"update": 6, "epoch": 6, "loss": 8, "grad_norm": 9, "learning_rate": 9}
    # The bar shows the learning rate, too. The room is that of the mark "best".
    return Table(columns, spare=("learning_rate",), room=6)


@dataclass
class Run:
    """The options of a run, the objects that were built for them, and its progress.

    Attributes:
        config: the options, with a value for each.
        folder: the output folder.
        vocabulary: the rows of the input embedding that the model holds, and the waiting rows.
        optimizer: as the accelerator prepared it.
        lr_scheduler: not prepared by the accelerator, so it steps once per update.
        equal_lengths: True if padding changes the outputs of the model, so that a batch may hold
            only examples that do not pad each other.
        packing: how training examples share the rows of a batch; None: a row for each example.
        dropout_calls: what is known of every call of dropout in a forward pass.
        global_batch_size: examples that one update learns from, over all processes.
        identity: JSON values that must be equal in this run and in the run that it resumes.
        background: writes checkpoints beside training.
        average: the average of the weights; None without --ema_decay.
        padding_of_shapes: the share of padding, 0 to 1, that the shapes of --static_shapes cost.
        scores: the scores at the end of the run by part: "train", "eval", "test".
        table: the rows that the screen shows of updates and evaluations.
    """

    config: Config
    accelerator: Accelerator
    folder: Path
    task: Task
    model: nn.Module
    vocabulary: Vocabulary
    optimizer: optim.Optimizer
    lr_scheduler: optim.lr_scheduler.LRScheduler
    equal_lengths: bool
    packing: Packing | None
    dropout_calls: tuple[DropoutCall, ...]
    global_batch_size: int
    timetable: Timetable
    identity: dict
    state: TrainState
    background: Background
    padding_of_shapes: float = 0.0
    average: WeightAverage | None = None
    scores: dict[str, Scores] = field(default_factory=dict)
    table: Table = field(default_factory=table_of_updates)

    def __post_init__(self) -> None:
        model, decay = self.accelerator.unwrap_model(self.model), self.config.ema_decay
        if self.equal_lengths and hasattr(model.config, "tagloop"):
            model.config.tagloop["equal_lengths"] = True  # predict.py must not pad, either.
        if decay and self.config.do_train:
            self.average = WeightAverage(model, self.optimizer, self.vocabulary, decay=decay)

    def after_update(self) -> None:
        """Do what follows an update that was not skipped, before the schedule's step."""
        self.vocabulary.after_update(self.optimizer)
        if self.average:
            self.average.after_update(self.state.step)

    def averaged(self) -> AbstractContextManager:
        """A context in which the model has its averaged weights, if the run averages them."""
        return self.average.in_use() if self.average else nullcontext()

    @cached_property
    def casts(self) -> WeightCasts:
        """Casts the weights of linear layers once in an update."""
        return WeightCasts(self.accelerator, self.model)

    @property
    def learning_rate(self) -> float:
        """What the schedule makes of --learning_rate; groups of parameters may have other rates."""
        schedule = self.lr_scheduler
        return self.config.learning_rate * schedule.lr_lambdas[0](schedule.last_epoch)

    @property
    def is_over(self) -> bool:
        """True after the last update, or when early stopping ends the run."""
        return self.state.step >= self.timetable.num_updates or self.gave_up

    @property
    def gave_up(self) -> bool:
        """True when early stopping ends the run: too many evaluations brought no gain."""
        patience = self.config.early_stopping_patience
        return patience is not None and self.state.evaluations_without_gain >= patience

    def size_micro_batches(self, compute_loss: Callable[["Run", MicroBatch], Tensor]) -> None:
        """Choose the sizes of micro-batches as --auto_micro_batch and --static_shapes say.

        Every process must call this.

        Args:
            compute_loss: the summed loss of a micro-batch on the device, as in training.

        Raises:
            InputError, RunStopped: as `fit_micro_batch` and `fix_shapes` raise them.
        """
        self.fit_micro_batch(compute_loss)
        self.fix_shapes()

    def fit_micro_batch(self, compute_loss: Callable[["Run", MicroBatch], Tensor]) -> None:
        """Choose smaller micro-batches if memory is too small and --auto_micro_batch is given.

        Every process must call this. An update still learns from the same global batch. The
        options of the run then say how the global batch is cut.

        Args:
            compute_loss: the summed loss of a micro-batch on the device, as in training.

        Raises:
            InputError: the run uses FSDP.
            RunStopped: not even one example fits into memory.
        """
        config, examples = self.config, self.task.examples.get("train")
        if not config.auto_micro_batch or examples is None:
            return

        def loss_of(ids: np.ndarray) -> Tensor:
            mark_targets = marks_targets(examples, self.accelerator)
            batch = build_micro_batch(examples, ids, self.packing, mark_targets=mark_targets)
            return compute_loss(self, batch.to(self.accelerator.device))

        most = min(config.per_device_train_batch_size, len(examples))
        share = -(-self.global_batch_size // self.accelerator.num_processes)
        sizes = [most, *smaller_micro_batches(most, share)]
        size = find_micro_batch(self.accelerator, self.model, examples.lengths, loss_of, sizes)
        if size < most:
            rounds = -(-share // size)
            cut = {"per_device_train_batch_size": size, "gradient_accumulation_steps": rounds}
            self.config = replace(config, **cut)
            self.task.warnings.append(
                f"{most} examples do not fit into the memory of a device: micro-batches hold "
                f"{size} instead, {rounds} make an update; the result is the same"
            )

    def fix_shapes(self) -> None:
        """Choose the few shapes of packed rows if --static_shapes is given; the header names them.

        Raises:
            InputError: the rows of this run are not packed.
        """
        config = self.config
        if not config.static_shapes or not config.do_train:
            return
        if self.packing is None:
            raise InputError(
                "--static_shapes: is for packed rows, and the rows of this run are padded; "
                "--pad_to_max_length gives all padded rows one length"
            )
        shapes, padding = choose_shapes(
            self.task.examples["train"].lengths,
            self.packing,
            num_shapes=config.static_shapes,
            num_epochs=self.timetable.num_epochs,
            seed=config.seed,
            global_batch_size=self.global_batch_size,
            num_processes=self.accelerator.num_processes,
            per_device_batch_size=config.per_device_train_batch_size,
            group_by_length=bool(config.group_by_length),
        )
        self.packing, self.padding_of_shapes = replace(self.packing, shapes=shapes), padding
        if is_compiled(self.accelerator):
            from torch import _dynamo  # This import takes seconds.

            # With more shapes than this number, torch would give up compiling.
            _dynamo.config.recompile_limit = max(8, len(shapes))

    def stopped(self, *, saved: bool) -> Preempted:
        """The exception for a run that ends because a signal came.

        Args:
            saved: True if a checkpoint was written after the last update.
        """
        if not saved:
            best = self.state.best_checkpoint
            kept = f"only {best}, the best so far, was saved" if best else "nothing was saved"
            return Interrupted(
                f"stopped by Ctrl-C after update {self.state.step}; {kept}, as "
                "--checkpointing_steps was not given"
            )
        return Preempted(
            f"stopped by a signal after update {self.state.step}; go on with "
            f"--output_dir {self.folder} --resume_from_checkpoint auto"
        )

    def say(self, text: str) -> None:
        """Print on the main process, above the progress bar."""
        say(self.accelerator, text)

    def warn(self, text: str) -> None:
        """Print a warning on the main process, in yellow on a terminal."""
        warn(self.accelerator, text)
