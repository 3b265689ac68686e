"""The options of classification. --help reads this file, so it imports no large library."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tagloop.options.class_loss import ClassLossOptions
from tagloop.options.marks import option

# The sample is small, and a model from scratch needs a higher learning rate than fine-tuning.
SAMPLE_DEFAULTS = {
    "learning_rate": 1e-3,
    "per_device_train_batch_size": 16,
    "num_train_epochs": 4,
    "num_warmup_steps": 0.1,
}
EXPORT_FORMATS = ()


@dataclass(frozen=True)
class Options(ClassLossOptions):
    """Which columns of the data are texts, and what a mistake costs."""

    text_pair_column_name: str | None = option(
        None, "Column of the second text of a pair.", about="data"
    )


def find_problems(config: Any) -> Iterator[str]:
    """Messages about options of this task that contradict each other, one line each."""
    yield from ()
