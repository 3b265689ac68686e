"""Predictions of all processes -> padded, gathered once, put back in order -> tags per sentence.

found = predict_split(accelerator, model, windows, batch_size=8, ...)   # every process
tags = to_tags(found.predictions, windows.sentence_offsets, id2label)
"""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn.functional import cross_entropy
from tqdm import tqdm

from batching import plan_evaluation
from distributed import precise_dtype
from windows import IGNORE_INDEX, Windows


@dataclass(frozen=True)
class SplitPredictions:
    """What a model says about one split, the same on every process.

    Attributes:
        predictions: int16 [num_words], a label id per word, in the order of the split.
        loss: mean cross-entropy over the labelled sub-tokens (nats); None if there are none.
    """

    predictions: np.ndarray
    loss: float | None


@torch.no_grad()
def predict_split(
    accelerator, model, windows: Windows, *, batch_size: int, description: str
) -> SplitPredictions:
    """Predict every word of a split once. Every process must call this.

    The batches are cut without regard to the number of processes and dealt in turn, so each is
    computed in the same way wherever it lands. A process that runs out of batches computes a
    batch of nothing, because a sharded model communicates in every forward.
    """
    model.eval()
    batches = plan_evaluation(windows.lengths, batch_size=batch_size)
    num_rounds = -(-len(batches) // accelerator.num_processes)
    own = batches[accelerator.process_index :: accelerator.num_processes]
    own += [np.array([], dtype=np.int64)] * (num_rounds - len(own))
    predictions, losses = [], []
    quiet = None if accelerator.is_main_process else True  # None: unless this is a terminal
    for window_ids in tqdm(own, desc=description, leave=False, disable=quiet):
        batch = windows.collate(window_ids)
        rows, columns = sub_tokens_of_words(windows, window_ids)
        batch = {name: tensor.to(accelerator.device) for name, tensor in batch.items()}
        labels = batch.pop("labels")
        logits = model(**batch).logits
        token_losses = cross_entropy(
            logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORE_INDEX, reduction="none"
        )
        losses.append(token_losses.sum(dtype=precise_dtype(accelerator)))
        # int16 holds any label id and is an eighth of argmax's int64.
        best = logits[torch.from_numpy(rows), torch.from_numpy(columns)].argmax(-1)
        predictions.append(best.to(torch.int16))
    loss_sums = accelerator.gather(torch.stack(losses))
    gathered = gather_padded(accelerator, torch.cat(predictions))

    # The plan says which words each process predicted, in which order: no positions travel.
    result = np.full(windows.num_words, -1, dtype=np.int16)
    seen = np.zeros(windows.num_words, dtype=np.int8)
    for process in range(accelerator.num_processes):
        shares = batches[process :: accelerator.num_processes]
        words = np.concatenate([words_of(windows, ids) for ids in shares] or [np.array([], int)])
        result[words] = gathered[process, : len(words)]
        np.add.at(seen, words, 1)
    assert (seen == 1).all(), "every word has exactly one prediction"
    num_labels = int(windows.num_labels.sum())
    # Summed in the order of the batches, not of the processes: the last digit is the same.
    in_order = loss_sums.view(accelerator.num_processes, num_rounds).T.flatten()[: len(batches)]
    # Five decimals: below them a batch's padding shows in float32.
    loss = round(sum(in_order.tolist()) / num_labels, 5) if num_labels else None
    return SplitPredictions(result, loss)


def gather_padded(accelerator, values: torch.Tensor) -> np.ndarray:
    """Gather int16 vectors of different lengths. Every process must call this.

    Args:
        values: int16 [num_values of this process], on the device.

    Returns:
        int16 [num_processes, longest], padded with IGNORE_INDEX.
    """
    padded = accelerator.pad_across_processes(values, pad_index=IGNORE_INDEX)
    # As bytes: NCCL knows no 16-bit integers.
    gathered = accelerator.gather(padded.view(torch.uint8))
    return gathered.cpu().numpy().view(np.int16).reshape(accelerator.num_processes, -1)


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
