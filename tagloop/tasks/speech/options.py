"""The options of speech recognition. --help reads this file, so it imports no large library."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from tagloop.options.generation import GenerationOptions, generation_problems
from tagloop.options.marks import option

# A model from scratch needs a higher learning rate than fine-tuning.
SAMPLE_DEFAULTS = {
    "learning_rate": 1e-3,
    "per_device_train_batch_size": 16,
    "per_device_eval_batch_size": 50,
    "num_train_epochs": 3,
    "num_warmup_steps": 0.1,
    "generation_max_length": 16,
}
EXPORT_FORMATS = ()


@dataclass(frozen=True)
class Options(GenerationOptions):
    """The options that say which recordings are learned, and how transcripts are written."""

    train_split_name: str | None = option(
        None,
        "Split of --dataset_name to learn from; + joins several.",
        about="data",
        unset="train",
    )
    eval_split_name: str | None = option(
        None,
        "Split of --dataset_name to evaluate on while training; + joins several.",
        about="data",
        unset="validation, else dev or valid",
    )
    audio_column_name: str | None = option(
        None,
        "Column of the recordings: names of files, or {path, bytes}.",
        about="data",
        unset="audio, else file_name, path or file",
    )
    max_duration_in_seconds: float = option(
        20.0, "Longer recordings are not learned.", about="data", above=0
    )
    min_duration_in_seconds: float = option(
        0.0, "Only longer recordings are learned.", about="data", least=0
    )
    language: str | None = option(
        None,
        "Language of the transcripts, for a model of several languages, e.g. en or english.",
        about="data",
    )
    whisper_task: Literal["transcribe", "translate"] = option(
        "transcribe",
        "What a model of several languages writes: the language that is spoken, or English. "
        "--task with one of these words means this option.",
        about="data",
        instead_of="--task",
    )
    do_lower_case: bool = option(True, "Put the transcripts into lower case.", about="data")
    feature_extractor_name: str | None = option(
        None,
        "Feature extractor, if not the model's own.",
        about="model",
        is_hub_name=True,
    )
    freeze_encoder: bool = option(False, "Train the decoder only.", about="training")


def find_problems(config: Any) -> Iterator[str]:
    """Messages about options of this task that contradict each other, one line each."""
    if config.label_column_name:
        yield "--label_column_name: the transcripts are a text; name it with --text_column_name"
    for name in ("train_split_name", "eval_split_name"):
        if getattr(config, name) and not config.dataset_name:
            yield f"--{name}: names a split of --dataset_name; give that, too, or leave it out"
    if config.max_duration_in_seconds <= config.min_duration_in_seconds < math.inf:
        yield "--min_duration_in_seconds: must be below --max_duration_in_seconds"
    if config.max_length is not None:
        yield "--max_length: a model hears recordings of one length; leave it out"
    if config.pad_to_max_length:
        yield "--pad_to_max_length: every recording is padded anyway; leave it out"
    yield from generation_problems(config, SAMPLE_DEFAULTS)
