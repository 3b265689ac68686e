"""Which labels a model may have to be trained and scored here, and which scores they have."""

import itertools
from collections.abc import Sequence

from tagloop.data.words import schemes
from tagloop.errors import InputError
from tagloop.options.config import Config
from tagloop.options.scripts import command_of
from tagloop.tasks.tagging.kinds import KINDS
from tagloop.tasks.task import LOSS, Metric

SPAN_METRICS = (
    "f1", "precision", "recall", "accuracy", "strict_f1", "strict_precision", "strict_recall",
)  # fmt: skip
POS_METRICS = ("accuracy", "macro_f1")


def known_metrics(config: Config, labels: Sequence[str]) -> list[Metric]:
    """The names of the scores that an evaluation of these labels has; the first is the default."""
    known = list(POS_METRICS if config.task_name == "pos" else SPAN_METRICS)
    if config.return_entity_level_metrics and config.task_name == "pos":
        known += [f"{tag}_f1" for tag in labels]
    elif config.return_entity_level_metrics:
        types = sorted({tag[2:] for tag in labels if tag != "O"})
        known += [f"{type_}_{score}" for type_ in types for score in ("f1", "precision", "recall")]
    return [*map(Metric, known), LOSS]


def refuse_other_schemes(config: Config, labels: Sequence[str]) -> None:
    """Refuse a model whose spans have ends of their own (E-, S-, L-, U-): data is read as IOB2.

    Raises:
        InputError: the labels of the model are those of such a scheme.
    """
    scheme = schemes.scheme_of_labels(labels) if KINDS[config.task_name].has_spans else None
    if scheme is not None:
        raise InputError(
            f"{config.model_name_or_path}: the labels of this model ({', '.join(labels[:9])}) are "
            f"{scheme}, and only IOB2 (B-, I-) is trained and scored here; "
            f"{command_of('predict.py')} finds the entities of this model; to train, name the "
            "model that it was made from"
        )


def refuse_plain_tags(config: Config, predicted: Sequence[Sequence[str]]) -> None:
    """Refuse predictions that are no spans, as of a model with the label X or [CLS].

    Args:
        predicted: the predicted tags of every sentence.

    Raises:
        InputError: a tag is neither O nor begins with B- or I-.
    """
    for tag in sorted(set(itertools.chain.from_iterable(predicted))):
        if tag != "O" and tag[:2] not in ("B-", "I-"):
            raise InputError(
                f"{config.model_name_or_path}: the model predicts the tag {tag!r}, which is no tag "
                "of spans (O, B-, I-), so there is no F1; train a new head "
                "(--ignore_mismatched_sizes), or score plain tags with --task_name pos"
            )
