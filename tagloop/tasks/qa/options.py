"""The options of question answering. --help reads this file, so it imports no large library."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tagloop.options.marks import option
from tagloop.options.misaligned import MisalignedOption

# The sample is small, and a model from scratch needs a higher learning rate than fine-tuning. Some
# of its questions have no answer.
SAMPLE_DEFAULTS = {
    "learning_rate": 1e-3,
    "per_device_train_batch_size": 16,
    "num_train_epochs": 4,
    "num_warmup_steps": 0.1,
    "version_2_with_negative": True,
}
EXPORT_FORMATS = ()


@dataclass(frozen=True)
class Options(MisalignedOption):
    """The options that say how contexts become windows, and how an answer is chosen."""

    doc_stride: int = option(
        128, "Sub-tokens of the context that neighbouring windows share.", about="data", least=0
    )
    version_2_with_negative: bool = option(
        False, "Some questions have no answer (SQuAD 2.0).", about="data"
    )
    null_score_diff_threshold: float = option(
        0.0,
        'A question gets no answer if the score of "no answer" exceeds that of the best by more.',
        about="training",
        above=-1e6,
        below=1e6,
    )
    n_best_size: int = option(
        20, "Answers of a question in *_nbest_predictions.json.", about="report", least=1
    )
    max_answer_length: int = option(
        30, "Sub-tokens of a predicted answer, at most.", about="training", least=1
    )


def find_problems(config: Any) -> Iterator[str]:
    """Messages about options of this task that contradict each other, one line each."""
    for name in ("text_column_name", "label_column_name"):
        if getattr(config, name):
            yield (
                f"--{name}: not for --task_name {config.task_name}, whose columns are called "
                "question, context and answers"
            )
    if config.max_length and config.doc_stride >= config.max_length:
        yield (
            f"--doc_stride {config.doc_stride}: windows of --max_length {config.max_length} cannot "
            f"share so much; give --doc_stride {config.max_length // 3} or a longer --max_length"
        )
    if config.misaligned == "widen":
        yield "--misaligned widen: is for spans of words; answers take error, drop or nearest"
