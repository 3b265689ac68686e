"""Run: what was asked for, what was built for it, and where it is."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from accelerate import Accelerator
from torch import Tensor, nn, optim

from tagloop.batches.packing import MicroBatch, Packing, build_micro_batch
from tagloop.errors import Interrupted, Preempted
from tagloop.options.config import Config
from tagloop.processes.agree import say
from tagloop.tasks.task import Task
from tagloop.training.background import Background
from tagloop.training.memory import find_micro_batch, smaller_micro_batches
from tagloop.training.progress import Timetable, TrainState
from tagloop.training.vocabulary import Vocabulary


@dataclass
class Run:
    """What was asked for, what was built for it, and where it is."""

    config: Config
    accelerator: Accelerator
    folder: Path
    task: Task
    model: nn.Module
    vocabulary: Vocabulary  # rows of the input embedding that the model holds, and the others
    optimizer: optim.Optimizer  # prepared by the accelerator
    lr_scheduler: optim.lr_scheduler.LRScheduler  # plain: it steps once per update
    equal_lengths: bool  # padding changes what the model says: a batch holds one length only
    packing: Packing | None  # how training batches share rows; None: a row for each example
    example_dims: tuple[int | None, ...]  # where examples lie in the tensor of each dropout call
    global_batch_size: int  # examples that one update learns from, over all processes
    timetable: Timetable
    identity: dict  # what a resumed run must have in common with the one it resumes
    state: TrainState
    background: Background  # checkpoints are written beside training

    @property
    def is_over(self) -> bool:
        """True after the last update, or when early stopping has seen enough."""
        return self.state.step >= self.timetable.num_updates or self.gave_up

    @property
    def gave_up(self) -> bool:
        """True when early stopping has seen enough."""
        patience = self.config.early_stopping_patience
        return patience is not None and self.state.evaluations_without_gain >= patience

    def fit_micro_batch(self, compute_loss: Callable[["Run", MicroBatch], Tensor]) -> None:
        """--auto_micro_batch: cut global batches smaller if need be. Every process must call this.

        An update learns the same as before; the options then say how it is cut.

        Args:
            compute_loss: of a micro-batch on the device, as training computes it.
        """
        config, examples = self.config, self.task.examples.get("train")
        if not config.auto_micro_batch or examples is None:
            return

        def loss_of(ids: np.ndarray) -> Tensor:
            batch = build_micro_batch(examples, ids, self.packing)
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

    def stopped(self, *, saved: bool) -> Preempted:
        """How a run ends that a signal asked to stop, after the update it was in."""
        if not saved:
            return Interrupted(
                f"stopped by Ctrl-C after update {self.state.step}; nothing was saved, as "
                "--checkpointing_steps was not given"
            )
        return Preempted(
            f"stopped by a signal after update {self.state.step}; go on with "
            f"--output_dir {self.folder} --resume_from_checkpoint auto"
        )

    def say(self, text: str) -> None:
        """Print on the main process, above the progress bar."""
        say(self.accelerator, text)
