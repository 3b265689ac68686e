"""Label ids of all words -> tags of every sentence -> files."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from tagloop.batches.examples import IGNORE_INDEX
from tagloop.files import write_text
from tagloop.tasks.tagging.windows import Windows


def words_of(windows: Windows, window_ids: np.ndarray) -> np.ndarray:
    """Positions in the split of the words that these windows own, int64 [num_words_of_batch]."""
    starts, ends = windows.word_offsets[window_ids], windows.word_offsets[window_ids + 1]
    return np.concatenate([np.arange(a, b) for a, b in zip(starts, ends, strict=True)])


def sub_tokens_of_words(windows: Windows, window_ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Row and column in the padded batch of the first sub-token of every owned word."""
    if len(window_ids) == 0:
        return np.array([], dtype=np.int64), np.array([], dtype=np.int64)
    words_per_row = windows.word_offsets[window_ids + 1] - windows.word_offsets[window_ids]
    rows = np.repeat(np.arange(len(window_ids)), words_per_row)
    columns = windows.first_sub_token[words_of(windows, window_ids)].astype(np.int64)
    return rows, columns


def to_tags(
    label_ids: np.ndarray, sentence_offsets: np.ndarray, id2label: Mapping[int, str]
) -> list[list[str | None]]:
    """Label ids of all words -> tags of every sentence; IGNORE_INDEX becomes None.

    >>> to_tags(np.array([1, 0, 0]), np.array([0, 2, 3]), {0: "O", 1: "B-PER"})
    [['B-PER', 'O'], ['O']]
    """
    names = [None if label == IGNORE_INDEX else id2label[label] for label in label_ids.tolist()]
    return [names[start:end] for start, end in itertools.pairwise(sentence_offsets.tolist())]


def write_predictions(
    folder: Path,
    sentences: Iterable[dict],
    predictions: Sequence[Sequence[str]],
) -> None:
    """predictions.txt (the tags of a sentence on a line) and predictions.conll.

    predictions.conll has the columns word, gold tag, predicted tag, so that the official conlleval
    script gives our scores: where some words have a gold tag, those without are left out, as they
    are from the scores. Where none has, the columns are word and predicted tag. Columns are
    separated by a space, so a space inside a word becomes an underscore, and so does an empty word.
    """
    lines, scored, bare = [], [], []
    for sentence, predicted in zip(sentences, predictions, strict=True):
        lines.append(" ".join(predicted) + "\n")
        num_scored = len(scored)
        for word, gold, tag in zip(sentence["tokens"], sentence["tags"], predicted, strict=True):
            word = "".join("_" if letter.isspace() else letter for letter in word) or "_"
            bare.append(f"{word} {tag}\n")
            if gold is not None:
                scored.append(f"{word} {gold} {tag}\n")
        bare.append("\n")
        if len(scored) > num_scored or not sentence["tokens"]:
            scored.append("\n")
    has_gold = any(line != "\n" for line in scored)
    write_text(folder / "predictions.txt", "".join(lines))
    write_text(folder / "predictions.conll", "".join(scored if has_gold else bare))
