"""The progress of a training, and the timetable that says what is due after an update.

Nothing here is random or depends on time, so a resumed run does the same as an uninterrupted run.
"""

import math
from dataclasses import dataclass, field
from fractions import Fraction

from tagloop.options.config import Config
from tagloop.tasks.task import Metric, Scores


@dataclass
class TrainState:
    """The part of a run's state besides weights, optimizer and schedule.

    The manifest of a checkpoint holds these fields under their names.

    Attributes:
        step: the number of updates taken. The epoch, and the update in the epoch, follow from it.
        log_loss_sum, log_num_labels: the sum of losses and the sum of target weights since the
            last log line.
        epoch_loss_sum, epoch_num_labels: the two sums since the epoch began.
        grad_norm: the gradient norm of the last update before clipping; None if it was not finite.
        first_loss: the mean loss over the targets of the first update that had targets.
        train_loss: the mean loss over the targets of the last epoch that ended.
        last_results, best_results: the scores of the last and of the best evaluation, by name;
            empty before the first evaluation.
        last_by_type, best_by_type: the scores for every type in these two evaluations.
        best_step: the number of updates before the best evaluation.
        best_checkpoint: the name of the folder with the weights of the best evaluation.
        evaluations_without_gain: the number of evaluations since the best one.
    """

    step: int = 0
    log_loss_sum: float = 0.0
    log_num_labels: float = 0
    epoch_loss_sum: float = 0.0
    epoch_num_labels: float = 0
    grad_norm: float | None = None
    first_loss: float | None = None
    train_loss: float | None = None
    last_results: dict[str, float | None] = field(default_factory=dict)
    last_by_type: dict[str, dict[str, float]] = field(default_factory=dict)
    best_results: dict[str, float | None] = field(default_factory=dict)
    best_by_type: dict[str, dict[str, float]] = field(default_factory=dict)
    best_step: int | None = None
    best_checkpoint: str | None = None
    evaluations_without_gain: int = 0

    @property
    def last_scores(self) -> Scores:
        """The scores of the last evaluation."""
        return Scores(self.last_results, self.last_by_type)

    @property
    def best_scores(self) -> Scores:
        """The scores of the best evaluation."""
        return Scores(self.best_results, self.best_by_type)

    def add_loss(self, loss_sum: float, target_weight: float) -> None:
        """Add the loss of one update to the sums.

        A mean loss is always a sum of losses divided by a sum of target weights. It is never a
        mean of means.

        Args:
            loss_sum: the sum of the losses of the update.
            target_weight: the sum of the weights of its targets.
        """
        if self.first_loss is None and target_weight:
            self.first_loss = loss_sum / target_weight
        self.log_loss_sum += loss_sum
        self.log_num_labels += target_weight
        self.epoch_loss_sum += loss_sum
        self.epoch_num_labels += target_weight

    def take_log_loss(self) -> float:
        """The mean loss over the targets since the last call of this method."""
        mean = self.log_loss_sum / (self.log_num_labels or 1)
        self.log_loss_sum, self.log_num_labels = 0.0, 0
        return mean

    def end_epoch(self) -> None:
        """Keep the epoch's mean loss and begin the next epoch."""
        self.train_loss = self.epoch_loss_sum / (self.epoch_num_labels or 1)
        self.epoch_loss_sum, self.epoch_num_labels = 0.0, 0

    @property
    def has_diverged(self) -> bool:
        """Whether the last epoch's mean loss is far above the loss that the run began with.

        A factor alone would also be met by a trained model whose loss is next to nothing.
        """
        first, last = self.first_loss, self.train_loss
        return None not in (first, last) and last > 2 * first and last > first + 1

    def add_evaluation(self, scores: Scores, metric: Metric) -> bool:
        """Note the scores of an evaluation.

        Returns:
            True if the evaluation is the best so far by `metric`.
        """
        sign = -1 if metric.lower_is_better else 1
        # A score is None if neither the data nor the predictions have a type, or if a loss has no
        # targets. Such a score becomes NaN.
        score, best = (
            math.nan if values.get(metric.name) is None else sign * values[metric.name]
            for values in (scores.values, self.best_results)
        )
        is_first = not self.best_results
        is_best = is_first or score > best or math.isnan(best) > math.isnan(score)
        self.last_results, self.last_by_type = scores
        if is_best:
            self.best_results, self.best_by_type = scores
            self.best_step = self.step
        self.evaluations_without_gain = 0 if is_best else self.evaluations_without_gain + 1
        return is_best


def upgrade_state(values: dict) -> dict:
    """Give the state in an older manifest the fields of this version.

    Older manifests hold the scores of each type inside of the results, under "types".

    Args:
        values: the fields of the state by name, as the manifest has them.
    """
    upgraded = dict(values)
    for evaluation in ("last", "best"):
        results = upgraded.get(f"{evaluation}_results")
        if isinstance(results, dict) and "types" in results:
            upgraded[f"{evaluation}_by_type"] = results["types"]
            upgraded[f"{evaluation}_results"] = {k: v for k, v in results.items() if k != "types"}
    return upgraded


@dataclass(frozen=True)
class DueNow:
    """The actions that are due after an update; it is true if at least one of them is due."""

    log: bool
    evaluate: bool
    save: bool
    end_epoch: bool
    end_run: bool

    def __bool__(self) -> bool:
        return self.log or self.evaluate or self.save or self.end_epoch or self.end_run


@dataclass(frozen=True)
class Timetable:
    """When logging, evaluating and saving are due, counted in updates.

    Attributes:
        updates_per_epoch, num_updates: updates in an epoch and in the whole run.
        logging_steps: updates between two log lines.
        eval_steps: updates between two evaluations; None: an evaluation after every epoch.
        checkpointing_steps: updates between two checkpoints as a string, or "epoch"; None: no
            checkpoints.
        num_warmup_updates: updates in which the learning rate rises.

    >>> table = Timetable(updates_per_epoch=4, num_updates=8, logging_steps=3)
    >>> [step for step in range(1, 9) if table.due(step).evaluate]
    [4, 8]
    """

    updates_per_epoch: int
    num_updates: int
    logging_steps: int
    eval_steps: int | None = None
    checkpointing_steps: str | None = None
    num_warmup_updates: int = 0

    @property
    def num_epochs(self) -> int:
        """The number of epochs that the run begins; the last one may be incomplete."""
        return -(-self.num_updates // max(self.updates_per_epoch, 1))

    def position(self, step: int) -> tuple[int, int]:
        """The epoch, and the number of the update in this epoch, that come after `step` updates."""
        return divmod(step, max(self.updates_per_epoch, 1))

    def due(self, step: int) -> DueNow:
        """The actions that are due after update `step`; the first update is 1."""
        end_epoch = step % self.updates_per_epoch == 0
        end_run = step == self.num_updates
        every = self.checkpointing_steps
        return DueNow(
            log=step % self.logging_steps == 0 or end_run,
            evaluate=end_run or (step % self.eval_steps == 0 if self.eval_steps else end_epoch),
            # The end of the run saves, too, because a run may be killed after its last update.
            save=bool(every)
            and (end_run or (end_epoch if every == "epoch" else step % int(every) == 0)),
            end_epoch=end_epoch,
            end_run=end_run,
        )


def build_timetable(config: Config, num_examples: int, global_batch_size: int) -> Timetable:
    """Build the timetable of a run.

    A fraction of an epoch is that share of its updates, rounded up, so at least one update.

    Args:
        num_examples: examples of the training split.
        global_batch_size: examples that one update learns from, over all processes.
    """
    updates_per_epoch = -(-num_examples // global_batch_size)
    # As the number is written: of 30 updates, 0.1 are 3; in binary the product is a little more.
    epochs = Fraction(str(config.num_train_epochs))
    num_updates = config.max_train_steps or math.ceil(epochs * updates_per_epoch)
    num_warmup_steps = config.num_warmup_steps  # A number below 1 is a share of all updates.
    return Timetable(
        updates_per_epoch,
        num_updates,
        config.logging_steps,
        config.eval_steps,
        config.checkpointing_steps,
        num_warmup_updates=int(num_warmup_steps)
        if num_warmup_steps >= 1
        else round(num_warmup_steps * num_updates),
    )
