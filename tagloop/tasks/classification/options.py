"""The options that only classification takes. Imports nothing heavy: --help reads this file."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tagloop.options.marks import option

# A model from scratch wants a higher rate than fine-tuning, and the sample is small.
SAMPLE_DEFAULTS = {
    "learning_rate": 1e-3,
    "per_device_train_batch_size": 16,
    "num_train_epochs": 4,
    "num_warmup_steps": 0.1,
}
EXPORT_FORMATS = ()


@dataclass(frozen=True)
class Options:
    """What is read of the texts."""

    text_pair_column_name: str | None = option(
        None, "Column of the second text of a pair.", about="data"
    )


def find_problems(config: Any) -> Iterator[str]:
    """The options of a Config that contradict one another, one line each."""
    yield from ()
