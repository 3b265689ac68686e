"""The forward pass of evaluation, of tagging new text and of the ONNX export."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import nn

from tagloop.batches.examples import Examples
from tagloop.batches.packing import MicroBatch, build_micro_batch
from tagloop.batches.plan import plan_evaluation


def evaluation_batches(
    examples: Examples, *, batch_size: int, equal_lengths: bool
) -> list[np.ndarray]:
    """The ids of the examples of every batch, as `plan_evaluation` returns them.

    Args:
        equal_lengths: True if a batch may hold only examples that do not pad each other.
    """
    lengths = examples.shapes if equal_lengths else examples.padded_lengths
    return plan_evaluation(lengths, batch_size=batch_size, equal_lengths=equal_lengths)


def forward_batches(
    model: nn.Module, examples: Examples, batches: Sequence[np.ndarray], device: torch.device
) -> Iterator[tuple[MicroBatch, object]]:
    """Compute the outputs of some examples, one batch after another.

    Args:
        model: in evaluation mode. A model that the accelerator prepared computes in mixed
            precision by itself; for any other model the caller opens an autocast context.
        batches: ids of the examples of each batch, int64 [examples of the batch]. An empty batch
            is computed, too, because a sharded model communicates in every forward pass.

    Yields:
        The batch on the device, and the outputs of the model for this batch.
    """
    for ids in batches:
        batch = build_micro_batch(examples, ids).to(device)
        yield batch, model(**batch.inputs)


def places_of(examples: Examples, ids: np.ndarray) -> np.ndarray:
    """Numbers of the predictions of some examples within the split, int64 [num_predictions]."""
    starts, ends = examples.prediction_offsets[ids], examples.prediction_offsets[ids + 1]
    ranges = [np.arange(start, end) for start, end in zip(starts, ends, strict=True)]
    return np.concatenate([np.array([], dtype=np.int64), *ranges])
