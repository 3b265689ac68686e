"""Predictions of all processes -> padded, gathered once, put back in order.

    found = predict_split(accelerator, model, task, "validation", batch_size=8)  # every process
    found.predictions["label"]                 # the same on every process, whatever their number

This file knows no task. An example has some predictions, and `prediction_offsets` says how many.
"""

from dataclasses import dataclass

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from tagloop.batches.forward import places_of
from tagloop.batches.plan import plan_evaluation
from tagloop.tasks.task import Task
from tagloop.training.evaluation import predict_share


@dataclass(frozen=True)
class SplitPredictions:
    """What a model says about one split, the same on every process.

    Attributes:
        predictions: by name, [num_predictions, ...], in the order of the split, in the dtypes
            that the task predicts.
        loss: mean over the targets (nats for cross-entropy); None if there are none.
    """

    predictions: dict[str, np.ndarray]
    loss: float | None


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

    The batches are cut without regard to the number of processes and dealt in turn, so each batch
    is computed in the same way wherever it lands. A process that runs out of batches computes
    empty ones, because a sharded model communicates in every forward.

    Args:
        batch_size: as `plan_evaluation` takes it.
        equal_lengths: a batch holds only examples that do not pad each other.
    """
    examples, num_processes = task.examples[split], accelerator.num_processes
    lengths = examples.shapes if equal_lengths else examples.padded_lengths
    batches = plan_evaluation(lengths, batch_size=batch_size, equal_lengths=equal_lengths)
    num_rounds = -(-len(batches) // num_processes)
    own = batches[accelerator.process_index :: num_processes]
    own += [np.array([], dtype=np.int64)] * (num_rounds - len(own))
    share = predict_share(accelerator, model, task, split, own)
    gathered_sums = accelerator.gather(share.loss_sums)
    gathered = gather_padded(accelerator, share.predictions)

    # The plan says which examples each process predicted, in which order: no positions travel.
    num_predictions = int(examples.prediction_offsets[-1])
    shares = [batches[process::num_processes] for process in range(num_processes)]
    places = [places_of(examples, np.concatenate([np.array([], int), *ids])) for ids in shares]
    times = np.bincount(np.concatenate(places), minlength=num_predictions)
    assert (times == 1).all(), "every value is predicted exactly once"
    in_order = {}
    for name, values in gathered.items():
        in_order[name] = np.zeros((num_predictions, *values.shape[2:]), dtype=values.dtype)
        for process, own_places in enumerate(places):
            in_order[name][own_places] = values[process, : len(own_places)]
    # Summed in the order of the batches, not of the processes: the last digit is the same.
    loss_sums = gathered_sums.view(num_processes, num_rounds).T.flatten()[: len(batches)].tolist()
    weight = float(examples.target_weights.sum())
    # Five decimals: below them a batch's padding shows in float32.
    return SplitPredictions(in_order, round(sum(loss_sums) / weight, 5) if weight else None)


def gather_padded(accelerator: Accelerator, values: dict[str, Tensor]) -> dict[str, np.ndarray]:
    """Gather tensors of different lengths in one collective. Every process must call this.

    Args:
        values: by name, [num_predictions of this process, ...], on the device. Names, dtypes and
            all sizes but the first are the same on every process.

    Returns:
        By name, [num_processes, longest, ...] of the same dtype, padded at the end.
    """
    # As bytes: so all names travel together, and NCCL knows no 16-bit integers.
    rows = {
        name: tensor.contiguous().flatten(1) if tensor.ndim > 1 else tensor[:, None]
        for name, tensor in values.items()
    }
    bytes_of = {name: row.contiguous().view(torch.uint8) for name, row in rows.items()}
    joined = torch.cat(list(bytes_of.values()), dim=1)
    padded = accelerator.pad_across_processes(joined, pad_index=0)
    gathered = accelerator.gather(padded).cpu().numpy()
    found, at = {}, 0
    for name, tensor in values.items():
        width = bytes_of[name].shape[1]
        own = np.ascontiguousarray(gathered[:, at : at + width])
        dtype = torch.empty(0, dtype=tensor.dtype).numpy().dtype
        found[name] = own.view(dtype).reshape(accelerator.num_processes, -1, *tensor.shape[1:])
        at += width
    return found
