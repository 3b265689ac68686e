"""The options of summarization. --help reads this file, so it imports no large library."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tagloop.options.generation import GenerationOptions, generation_problems
from tagloop.options.marks import option

USUAL_SOURCE = 1024  # Sub-tokens of a text, at most, unless the user asks for another number.
# The sample is small, and a T5 from scratch needs a much higher learning rate than fine-tuning.
SAMPLE_DEFAULTS = {
    "learning_rate": 3e-3,
    "per_device_train_batch_size": 16,
    "num_train_epochs": 4,
    "num_warmup_steps": 0.1,
    "max_target_length": 24,
}
EXPORT_FORMATS = ()


@dataclass(frozen=True)
class Options(GenerationOptions):
    """The options that say how pairs become examples, and how summaries are generated."""

    summary_column: str | None = option(
        None,
        "Column of the summaries; that of the texts is --text_column_name.",
        about="data",
        unset="by its usual names, else the second column",
    )
    source_prefix: str | None = option(
        None,
        'What is put before each text, such as "summarize: " for a T5.',
        about="data",
        may_be_empty=True,
    )
    max_source_length: int | None = option(
        None,
        "Sub-tokens of a text, at most; a longer one loses its end.",
        about="data",
        least=2,
        unset=f"{USUAL_SOURCE}, or as many as the model takes",
    )
    max_target_length: int = option(
        128, "Sub-tokens of a summary that is learned, at most.", about="data", least=2
    )
    val_max_target_length: int | None = option(
        None,
        "Sub-tokens of a summary whose loss is evaluated, at most.",
        about="data",
        least=2,
        unset="--max_target_length",
    )
    ignore_pad_token_for_loss: bool = option(
        True, "Must be true: padding is never a target.", about="training"
    )


def find_problems(config: Any) -> Iterator[str]:
    """Messages about options of this task that contradict each other, one line each."""
    if config.label_column_name:
        yield "--label_column_name: the column of the summaries is given by --summary_column"
    if config.max_length:
        yield (
            "--max_length: texts and summaries have limits of their own; give --max_source_length "
            "and --max_target_length"
        )
    if not config.ignore_pad_token_for_loss:
        yield (
            "--ignore_pad_token_for_loss false: a model would learn to write padding, and the loss "
            "would depend on how a batch is cut; leave the option out"
        )
    yield from generation_problems(config, SAMPLE_DEFAULTS)
