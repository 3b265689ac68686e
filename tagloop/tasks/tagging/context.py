"""--context_tokens: what windows see of their document, told to the user and recorded."""

from collections.abc import Iterable
from typing import Any

from tagloop.data.words.corpus import Corpus
from tagloop.errors import InputError
from tagloop.options.config import Config
from tagloop.tasks.task import needed_splits

REMEDY = (
    "begin each document with a line -DOCSTART- (in CoNLL-U # newdoc), or give a table a column "
    "document; or give --unmarked_split document, if the sentences of the split stand in the order "
    "of one text; or --context_tokens 0"
)


def check_context(
    config: Config, corpus: Corpus, max_length: int, earlier: dict[str, Any] | None
) -> None:
    """Refuse context that a window has no room for, or that would be of any sentences.

    Args:
        max_length: sub-tokens in a window, special tokens included.
        earlier: what config.json records of the run that trained the model, if a run did.

    Raises:
        InputError: the message names the split and the remedy.
    """
    if config.context_tokens >= max_length:
        raise InputError(
            f"--context_tokens {config.context_tokens}: must be less than the {max_length} "
            "sub-tokens of a window, which holds its own words, too"
        )
    if config.context_tokens and config.unmarked_split == "error":
        splits = needed_splits(config, corpus.splits)
        require_documents((split, corpus.documents[split]) for split in splits)
    trained = earlier.get("context_tokens", 0) if isinstance(earlier, dict) else 0
    if not config.do_train and trained != config.context_tokens:
        corpus.warnings.append(
            f"the model was trained with --context_tokens {trained}, and this run gives it "
            f"{config.context_tokens}"
        )


def require_documents(splits: Iterable[tuple[str, str | None]]) -> None:
    """Refuse splits whose documents are not known.

    Args:
        splits: the name of a split, and what marks its documents; None: nothing.

    Raises:
        InputError: nothing marks the documents of a split.
    """
    for split, marks in splits:
        if marks is None:
            raise InputError(
                f"{split}: nothing marks where a document begins, so --context_tokens would show "
                f"a sentence others that it may not belong to; {REMEDY}"
            )


def context_text(config: Config) -> str:
    """What a window sees beside its sentence, in words."""
    return f"up to {config.context_tokens} sub-tokens of the same document on each side"


def recorded_context(config: Config) -> dict[str, Any]:
    """The values that config.json of a trained model records of its context; {} without any."""
    if not config.context_tokens:
        return {}
    return {
        "context_tokens": config.context_tokens,
        "unmarked_split": config.unmarked_split,
        "document_column_name": config.document_column_name,
    }
