"""Turns the label ids of all words into tags of sentences, and writes them into files."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tagloop.batches.examples import IGNORE_INDEX
from tagloop.batches.forward import places_of
from tagloop.batches.packing import MicroBatch
from tagloop.data.words.columns import shown_word
from tagloop.files import write_text
from tagloop.tasks.tagging.windows import Windows


def logits_of_words(windows: Windows, batch: MicroBatch, logits: Tensor) -> Tensor:
    """The logits of the first sub-token of every own word of the windows of a batch.

    Args:
        logits: float [rows, columns, num_labels], the output of the model for the batch.

    Returns:
        [own words of the batch, num_labels], in the order of the windows and their words.
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
    """Turn the label ids of all words into tags of every sentence.

    Args:
        label_ids: int [num_words]; IGNORE_INDEX becomes None.
        sentence_offsets: int64 [num_sentences + 1], the words of every sentence.
        id2label: the tag of every label id.

    >>> to_tags(np.array([1, 0, 0]), np.array([0, 2, 3]), {0: "O", 1: "B-PER"})
    [['B-PER', 'O'], ['O']]
    """
    names = [None if label == IGNORE_INDEX else id2label[label] for label in label_ids.tolist()]
    return [names[start:end] for start, end in itertools.pairwise(sentence_offsets.tolist())]


def gold_probabilities(logits: Tensor, references: np.ndarray) -> Tensor:
    """The probabilities of the gold labels of words.

    Args:
        logits: float [num_words, num_labels].
        references: int [num_words]; label ids, or what is none of the model's labels.

    Returns:
        float32 [num_words]; 0 where the gold label is none of the model's.
    """
    known = torch.from_numpy((references >= 0) & (references < logits.shape[-1])).to(logits.device)
    ids = torch.from_numpy(references.astype(np.int64)).to(logits.device).where(known, 0)
    return logits.float().softmax(-1).gather(-1, ids[:, None])[:, 0] * known


def write_predictions(
    folder: Path,
    sentences: Iterable[dict],
    predictions: Sequence[Sequence[str]],
) -> None:
    """Write predictions.txt, with the tags of a sentence in each line, and predictions.conll.

    predictions.conll has the columns word, gold tag and predicted tag, from which the official
    conlleval script computes the scores of this project. Words without a gold tag are left out, as
    in the scores. If no word has a gold tag, the columns are word and predicted tag. A space
    separates the columns, so a space in a word, and an empty word, becomes an underscore.

    Args:
        sentences: the rows of a split, with `tokens` and `tags`.
        predictions: the predicted tags of every sentence.

    Raises:
        OSError: a file cannot be written.
    """
    lines, scored, bare = [], [], []
    for sentence, predicted in zip(sentences, predictions, strict=True):
        lines.append(" ".join(predicted) + "\n")
        num_scored = len(scored)
        for word, gold, tag in zip(sentence["tokens"], sentence["tags"], predicted, strict=True):
            word = shown_word(word)
            bare.append(f"{word} {tag}\n")
            if gold is not None:
                scored.append(f"{word} {gold} {tag}\n")
        bare.append("\n")
        if len(scored) > num_scored or not sentence["tokens"]:
            scored.append("\n")
    has_gold = any(line != "\n" for line in scored)
    write_text(folder / "predictions.txt", "".join(lines))
    write_text(folder / "predictions.conll", "".join(scored if has_gold else bare))
