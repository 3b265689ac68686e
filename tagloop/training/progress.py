"""Where the training is, and what is due after an update. Pure, so a resumed run does the same."""

import math
from dataclasses import dataclass, field
from fractions import Fraction

from tagloop.options.config import Config
from tagloop.tasks.task import Metric, Scores


@dataclass
class TrainState:
    """What a run remembers besides weights and optimizer; a checkpoint's manifest holds it.

    Attributes:
        step: updates taken; the epoch, and the update in it, follow from this.
        log_loss_sum, log_num_labels: losses and weights of targets since the last log line.
        epoch_loss_sum, epoch_num_labels: the same since the epoch began.
        grad_norm: of the last update, before it was clipped; None if it was not finite.
        first_loss: mean over the targets of the first update that had any.
        train_loss: mean over the targets of the last epoch that ended.
        last_results, best_results: scores of the last and of the best evaluation, by name; empty
            before the first.
        last_by_type, best_by_type: the same for every type.
        best_step: the update that the best evaluation followed.
        best_checkpoint: name of the folder with the weights of the best evaluation.
        evaluations_without_gain: evaluations since the best one.
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
        """Of the last evaluation."""
        return Scores(self.last_results, self.last_by_type)

    @property
    def best_scores(self) -> Scores:
        """Of the best evaluation."""
        return Scores(self.best_results, self.best_by_type)

    def add_loss(self, loss_sum: float, target_weight: float) -> None:
        """Count one update's summed loss; means are taken over targets, never over means."""
        if self.first_loss is None and target_weight:
            self.first_loss = loss_sum / target_weight
        self.log_loss_sum += loss_sum
        self.log_num_labels += target_weight
        self.epoch_loss_sum += loss_sum
        self.epoch_num_labels += target_weight

    def take_log_loss(self) -> float:
        """Mean loss over the targets since the last call."""
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
        """Note an evaluation; True if it is the best so far by `metric`."""
        sign = -1 if metric.lower_is_better else 1
        # A type that is in neither side, or a loss without targets, is no score at all.
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
    """The state in a manifest of an older version, with the names of this version's fields.

    Version 1 kept the scores of each type among the results.
    """
    upgraded = dict(values)
    for which in ("last", "best"):
        results = upgraded.get(f"{which}_results")
        if isinstance(results, dict) and "types" in results:
            upgraded[f"{which}_by_type"] = results["types"]
            upgraded[f"{which}_results"] = {k: v for k, v in results.items() if k != "types"}
    return upgraded


@dataclass(frozen=True)
class DueNow:
    """What has to be done after an update."""

    log: bool
    evaluate: bool
    save: bool
    end_epoch: bool
    end_run: bool

    def __bool__(self) -> bool:
        return self.log or self.evaluate or self.save or self.end_epoch or self.end_run


@dataclass(frozen=True)
class Timetable:
    """When things are due. All counts are updates.

    >>> table = Timetable(updates_per_epoch=4, num_updates=8, logging_steps=3)
    >>> [step for step in range(1, 9) if table.due(step).evaluate]
    [4, 8]
    """

    updates_per_epoch: int
    num_updates: int
    logging_steps: int
    eval_steps: int | None = None  # None: after every epoch
    checkpointing_steps: str | None = None  # a number, or "epoch"
    num_warmup_updates: int = 0

    @property
    def num_epochs(self) -> int:
        """Epochs begun by the end of the run."""
        return -(-self.num_updates // max(self.updates_per_epoch, 1))

    def position(self, step: int) -> tuple[int, int]:
        """Epoch and update in epoch that come after `step` updates."""
        return divmod(step, max(self.updates_per_epoch, 1))

    def due(self, step: int) -> DueNow:
        """What is due after update `step` (the first is 1)."""
        end_epoch = step % self.updates_per_epoch == 0
        end_run = step == self.num_updates
        every = self.checkpointing_steps
        return DueNow(
            log=step % self.logging_steps == 0 or end_run,
            evaluate=end_run or (step % self.eval_steps == 0 if self.eval_steps else end_epoch),
            # At the end, too: what comes after the last update may be killed as well.
            save=bool(every)
            and (end_run or (end_epoch if every == "epoch" else step % int(every) == 0)),
            end_epoch=end_epoch,
            end_run=end_run,
        )


def build_timetable(config: Config, num_examples: int, global_batch_size: int) -> Timetable:
    """The timetable of a run; a warm-up below 1 is a share of it.

    A fraction of an epoch is that share of its updates, rounded up, so at least one.
    """
    updates_per_epoch = -(-num_examples // global_batch_size)
    # As it is written: of 30 updates, 0.1 are 3; in binary numbers the product is a little more.
    epochs = Fraction(str(config.num_train_epochs))
    num_updates = config.max_train_steps or math.ceil(epochs * updates_per_epoch)
    warmup = config.num_warmup_steps
    return Timetable(
        updates_per_epoch,
        num_updates,
        config.logging_steps,
        config.eval_steps,
        config.checkpointing_steps,
        num_warmup_updates=int(warmup) if warmup >= 1 else round(warmup * num_updates),
    )
