"""The options of tagging. --help reads this file, so it imports no large library."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from tagloop.options.class_loss import ClassLossOptions
from tagloop.options.marks import option
from tagloop.options.misaligned import MisalignedOption

# The sample is small, and a model from scratch needs a higher learning rate than fine-tuning.
SAMPLE_DEFAULTS = {
    "learning_rate": 1e-3,
    "per_device_train_batch_size": 16,
    "num_train_epochs": 4,
    "num_warmup_steps": 0.1,
}
EXPORT_FORMATS = ("onnx",)


@dataclass(frozen=True)
class Options(MisalignedOption, ClassLossOptions):
    """How words and tags are read, how sentences become windows, and what a mistake costs."""

    labels_file: str | None = option(
        None,
        "Names of integer tags, one a line, in the order of the integers.",
        about="data",
        is_path=True,
        may_change=True,
    )
    label_all_tokens: bool = option(
        False, "Label every sub-token of a word instead of the first.", about="data"
    )
    stride: int | None = option(
        None,
        "Sub-tokens shared by neighbouring windows of a sentence.",
        about="data",
        least=0,
        unset="a quarter window",
    )
    context_tokens: int = option(
        0,
        "Sub-tokens around a window, from its document, that it sees on each side but does not "
        "learn or predict (FLERT, Schweter and Akbik 2020, has 64); 0: none.",
        about="data",
        least=0,
    )
    document_column_name: str | None = option(
        None,
        "Column of a table that names the document of a row, for context_tokens; column files mark "
        "documents by -DOCSTART- or # newdoc lines.",
        about="data",
        unset="found by its name, such as document or doc_id",
    )
    unmarked_split: Literal["error", "document"] = option(
        "error",
        "What context_tokens makes of a split in which nothing marks documents: an error, or one "
        "document, in the order of its sentences (not for shuffled data).",
        about="data",
    )
    return_entity_level_metrics: bool = option(
        False,
        "Report every entity type (every tag for pos) on its own, too.",
        about="report",
        may_change=True,
    )
    label_scheme: Literal["IOB1", "IOB2", "IOBES", "BMES", "BILOU", "IO"] | None = option(
        None,
        "Scheme of the tags in the data.",
        about="data",
        unset="detected",
        tasks=("ner", "chunk"),
    )
    decoding: Literal["best", "legal"] | None = option(
        None,
        "best: every word gets its likeliest label; legal: every sentence its likeliest labels "
        "without an I- that continues nothing (Viterbi 1967). New text is tagged in the same way.",
        about="training",
        unset="legal for a training; a resumed run goes on as it began; else as the model was "
        "trained, or best",
        settled=True,  # the default is decided in settle.py
        tasks=("ner", "chunk"),
    )


def find_problems(config: Any) -> Iterator[str]:
    """Messages about options of this task that contradict each other, one line each."""
    if config.misaligned == "nearest":
        yield "--misaligned nearest: is for answers; spans take error, drop or widen"
    longest = max((config.max_length or 0) - 2, 0) // 2
    if config.max_length and config.stride and config.stride > longest:
        yield (
            f"--stride {config.stride}: must be at most {longest}, half of the sub-tokens that "
            f"--max_length {config.max_length} leaves beside the two special tokens"
        )
    if config.context_tokens and 0 < (config.max_length or 0) <= config.context_tokens:
        yield (
            f"--context_tokens {config.context_tokens}: must be less than --max_length "
            f"{config.max_length}, as a window holds its own words, too"
        )
