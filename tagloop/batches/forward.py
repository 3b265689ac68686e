"""The one forward pass of all that is not training: evaluation, tagging new text, the exporter."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import nn

from tagloop.batches.examples import Examples
from tagloop.batches.packing import MicroBatch, build_micro_batch


def forward_batches(
    model: nn.Module, examples: Examples, batches: Sequence[np.ndarray], device: torch.device
) -> Iterator[tuple[MicroBatch, object]]:
    """Compute the outputs of some examples, a batch at a time.

    Args:
        model: in evaluation mode; an accelerator's prepared model casts by itself, any other
            model wants an autocast context around this.
        batches: int64 [examples of the batch] each, ids of examples; an empty one is computed,
            too, because a sharded model communicates in every forward.

    Yields:
        The batch on the device, and what the model made of it.
    """
    for ids in batches:
        batch = build_micro_batch(examples, ids).to(device)
        yield batch, model(**batch.inputs)


def places_of(examples: Examples, ids: np.ndarray) -> np.ndarray:
    """Where the predictions of these examples lie in the split, int64 [num_predictions]."""
    starts, ends = examples.prediction_offsets[ids], examples.prediction_offsets[ids + 1]
    ranges = [np.arange(start, end) for start, end in zip(starts, ends, strict=True)]
    return np.concatenate([np.array([], dtype=np.int64), *ranges])
