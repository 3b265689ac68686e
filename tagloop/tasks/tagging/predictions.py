"""Label ids of all words -> tags of every sentence -> files."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tagloop.batches.examples import IGNORE_INDEX
from tagloop.batches.forward import places_of
from tagloop.batches.packing import MicroBatch
from tagloop.files import write_text
from tagloop.tasks.tagging.windows import Windows


def logits_of_words(windows: Windows, batch: MicroBatch, logits: Tensor) -> Tensor:
    """The logits of the first sub-token of every word that the windows of a batch own.

    Args:
        logits: [rows, columns, num_labels], as the model gives them for the batch.

    Returns:
        [num_words_of_batch, num_labels], in the order of the windows and their words.
    """
    ids = batch.example_ids
    words_per_row = windows.word_offsets[ids + 1] - windows.word_offsets[ids]
    rows = np.repeat(np.arange(len(ids)), words_per_row)
    columns = windows.first_sub_token[places_of(windows, ids)].astype(np.int64)
    rows, columns = (torch.from_numpy(each).to(logits.device) for each in (rows, columns))
    return batch.unpack(logits)[rows, columns]


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
