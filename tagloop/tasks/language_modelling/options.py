"""The options of language models. --help reads this file, so it imports no large library."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tagloop.options.marks import option

CAUSAL, MASKED, SPANS = "clm", "mlm", "t5_mlm"
DEFAULTS = {"validation_split_percentage": 5}  # as in transformers' scripts
# The sample is small, and a model from scratch needs a higher learning rate than fine-tuning.
SAMPLE_DEFAULTS = {
    "learning_rate": 2e-3,
    "per_device_train_batch_size": 16,
    "num_train_epochs": 6,
    "num_warmup_steps": 0.1,
    "line_by_line": True,
    "mlm_probability": 0.3,  # With more targets a short training learns more.
}
OWN_SAMPLE_DEFAULTS = {
    # A T5 from scratch learns slowly. Of long spans it learns more, as it sees how they begin.
    SPANS: {"learning_rate": 3e-3, "mlm_probability": 0.5, "mean_noise_span_length": 8.0},
}
EXPORT_FORMATS = ()


@dataclass(frozen=True)
class Options:
    """The options that say how texts become rows, and which sub-tokens are learned."""

    block_size: int | None = option(
        None,
        "Join all texts, and cut them into blocks of so many sub-tokens; without it every text is "
        "a row of its own.",
        about="data",
        least=2,
        unset="a text a row",
        tasks=(CAUSAL,),
    )
    append_eos: bool | None = option(
        None,
        "End every text with the tokenizer's end-of-text token.",
        about="data",
        unset="true, but false with --block_size",
        tasks=(CAUSAL,),
    )
    keep_linebreaks: bool = option(
        True,
        "Keep the ends of the lines of .txt files in the blocks of --block_size.",
        about="data",
        tasks=(CAUSAL,),
    )
    mlm_probability: float = option(
        0.15,
        "Share of the sub-tokens of a row that are hidden and learned.",
        about="data",
        above=0,
        below=1,
        tasks=(MASKED, SPANS),
    )
    mean_noise_span_length: float = option(
        3.0,
        "Mean number of sub-tokens of a hidden span.",
        about="data",
        least=1,
        tasks=(SPANS,),
    )
    config_overrides: str | None = option(
        None,
        "Other values in the configuration of a model from scratch, e.g. n_layer=6,n_head=2.",
        about="model",
    )
    line_by_line: bool = option(
        False,
        "Every text is a row of its own; else all texts are joined and cut into rows of "
        "--max_seq_length sub-tokens.",
        about="data",
        tasks=(MASKED, SPANS),
    )


def find_problems(config: Any) -> Iterator[str]:
    """Messages about options of this task that contradict each other, one line each."""
    if config.label_column_name:
        yield f"--label_column_name: a text has no label in --task_name {config.task_name}"
    from_scratch = config.model_type or config.config_name
    if config.config_overrides and (config.model_name_or_path or not from_scratch):
        yield "--config_overrides: is for a model from scratch, of --model_type or --config_name"
    if config.block_size and config.max_length:
        yield "--block_size with --max_length: both give the sub-tokens of a row; give one of them"
