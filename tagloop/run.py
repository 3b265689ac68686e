"""Run: what was asked for, what was built for it, and where it is."""

from dataclasses import dataclass
from pathlib import Path

from accelerate import Accelerator
from torch import nn, optim

from tagloop.config import Config
from tagloop.tasks.task import Task
from tagloop.training import processes
from tagloop.training.progress import Timetable, TrainState


@dataclass
class Run:
    """What was asked for, what was built for it, and where it is."""

    config: Config
    accelerator: Accelerator
    folder: Path
    task: Task
    model: nn.Module
    optimizer: optim.Optimizer  # prepared by the accelerator
    lr_scheduler: optim.lr_scheduler.LRScheduler  # plain: it steps once per update
    equal_lengths: bool  # in a batch: the model sees padding
    global_batch_size: int  # examples that one update learns from, over all processes
    timetable: Timetable
    identity: dict  # what a resumed run must have in common with the one it resumes
    state: TrainState

    @property
    def is_over(self) -> bool:
        """True after the last update, or when early stopping has seen enough."""
        patience = self.config.early_stopping_patience
        gave_up = patience is not None and self.state.evaluations_without_gain >= patience
        return self.state.step >= self.timetable.num_updates or gave_up

    def say(self, text: str) -> None:
        """Print on the main process, above the progress bar."""
        processes.say(self.accelerator, text)
