"""Predictions of all processes -> padded, gathered once, put back in order.

    found = predict_split(accelerator, model, task, "validation", batch_size=8)  # every process
    found.predictions                          # the same on every process, whatever their number

Knows no task: what an example predicts is a few values, and `prediction_offsets` says how many.
"""

from dataclasses import dataclass

import numpy as np
import torch
from accelerate import Accelerator
from torch import nn
from tqdm import tqdm

from tagloop.batches.examples import IGNORE_INDEX, Examples
from tagloop.batches.plan import plan_evaluation
from tagloop.processes.agree import precise_dtype
from tagloop.tasks.task import Task


@dataclass(frozen=True)
class SplitPredictions:
    """What a model says about one split, the same on every process.

    Attributes:
        predictions: [num_values], in the order of the split, in the dtype that the task predicts.
        loss: mean over the targets (nats for cross-entropy); None if there are none.
    """

    predictions: np.ndarray
    loss: float | None


@torch.no_grad()
def predict_split(
    accelerator: Accelerator,
    model: nn.Module,
    task: Task,
    split: str,
    *,
    batch_size: int,
    equal_lengths: bool = False,
) -> SplitPredictions:
    """Predict every example of a split once. Every process must call this.

    The batches are cut without regard to the number of processes and dealt in turn, so each is
    computed in the same way wherever it lands. A process that runs out of batches computes a
    batch of nothing, because a sharded model communicates in every forward.
    """
    examples = task.examples[split]
    model.eval()
    lengths = examples.lengths if equal_lengths else examples.padded_lengths
    batches = plan_evaluation(lengths, batch_size=batch_size, equal_lengths=equal_lengths)
    num_rounds = -(-len(batches) // accelerator.num_processes)
    own = batches[accelerator.process_index :: accelerator.num_processes]
    own += [np.array([], dtype=np.int64)] * (num_rounds - len(own))
    predictions, loss_sums = [], []
    quiet = None if accelerator.is_main_process else True  # None: unless this is a terminal
    for ids in tqdm(own, desc=split, leave=False, disable=quiet):
        batch = examples.collate(ids)
        batch = {name: tensor.to(accelerator.device) for name, tensor in batch.items()}
        labels = batch.pop("labels")
        outputs = model(**batch)
        losses = task.losses(outputs, labels)
        loss_sums.append(losses.sum(dtype=precise_dtype(accelerator)))
        predictions.append(task.predict(outputs, split, ids))
    gathered_sums = accelerator.gather(torch.stack(loss_sums))
    gathered = gather_padded(accelerator, torch.cat(predictions))

    # The plan says which examples each process predicted, in which order: no positions travel.
    num_values = int(examples.prediction_offsets[-1])
    result = np.zeros(num_values, dtype=gathered.dtype)
    seen = np.zeros(num_values, dtype=np.int8)
    for process in range(accelerator.num_processes):
        shares = batches[process :: accelerator.num_processes]
        places = np.concatenate([np.array([], int), *(places_of(examples, ids) for ids in shares)])
        result[places] = gathered[process, : len(places)]
        np.add.at(seen, places, 1)
    assert (seen == 1).all(), "every value is predicted exactly once"
    num_targets = int(examples.num_targets.sum())
    # Summed in the order of the batches, not of the processes: the last digit is the same.
    in_order = gathered_sums.view(accelerator.num_processes, num_rounds).T.flatten()
    # Five decimals: below them a batch's padding shows in float32.
    loss = round(sum(in_order[: len(batches)].tolist()) / num_targets, 5) if num_targets else None
    return SplitPredictions(result, loss)


def gather_padded(accelerator: Accelerator, values: torch.Tensor) -> np.ndarray:
    """Gather vectors of different lengths. Every process must call this.

    Args:
        values: [num_values of this process], on the device; the same dtype on every process.

    Returns:
        [num_processes, longest] of the same dtype, padded with IGNORE_INDEX.
    """
    padded = accelerator.pad_across_processes(values, pad_index=IGNORE_INDEX)
    # As bytes: NCCL knows no 16-bit integers.
    gathered = accelerator.gather(padded.view(torch.uint8)).cpu().view(values.dtype)
    return gathered.numpy().reshape(accelerator.num_processes, -1)


def places_of(examples: Examples, ids: np.ndarray) -> np.ndarray:
    """Where the values of these examples lie in the split, int64 [num_values_of_batch]."""
    starts, ends = examples.prediction_offsets[ids], examples.prediction_offsets[ids + 1]
    return np.concatenate([np.arange(a, b) for a, b in zip(starts, ends, strict=True)])
