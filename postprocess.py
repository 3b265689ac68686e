"""Predicts a split with all processes: predictions are padded, gathered once and put in order.

    outcome = predict_split(accelerator, model, task, "validation", batch_size=8)
    outcome.predictions["label"]  # the same on every process, for any number of processes

Every process must call predict_split. This file knows no task: `Examples.prediction_offsets` says
how many predictions an example has.
"""

from dataclasses import dataclass

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from tagloop.batches.forward import evaluation_batches, places_of
from tagloop.tasks.task import Task
from tagloop.training.evaluation import predict_share


@dataclass(frozen=True)
class SplitPredictions:
    """The predictions and the loss of one split, the same on every process.

    Attributes:
        predictions: by name, [num_predictions of the split, ...] each, in the order of the split,
            in the dtypes that the task predicts, as `Task.complete` leaves them.
        loss: mean over the targets, in nats if it is a cross-entropy; None if the split has no
            targets.
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

    The number of processes does not change the batches; the processes take them in turn. So the
    result of a batch does not depend on the process that computes it. A process that has fewer
    batches than others computes empty batches, because a sharded model communicates in every
    forward pass.

    Args:
        batch_size: examples in a batch of the longest examples, as `plan_evaluation` takes it.
        equal_lengths: True if a batch may hold only examples that do not pad each other.
    """
    examples, num_processes = task.examples[split], accelerator.num_processes
    batches = evaluation_batches(examples, batch_size=batch_size, equal_lengths=equal_lengths)
    num_rounds = -(-len(batches) // num_processes)
    own = batches[accelerator.process_index :: num_processes]
    own += [np.array([], dtype=np.int64)] * (num_rounds - len(own))
    share = predict_share(accelerator, model, task, split, own)
    gathered_sums = accelerator.gather(share.loss_sums)
    gathered = gather_padded(accelerator, share.predictions)

    # The plan says which examples each process predicted, and in which order, so the processes
    # need not send positions.
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
    # The losses are summed in the order of the batches, which is the same for any number of
    # processes. So even the last digit of the sum is the same.
    loss_sums = gathered_sums.view(num_processes, num_rounds).T.flatten()[: len(batches)].tolist()
    weight = float(examples.target_weights.sum())
    # The loss has five decimals, because padding changes further decimals in float32.
    complete = task.complete(split, in_order)
    return SplitPredictions(complete, round(sum(loss_sums) / weight, 5) if weight else None)


def gather_padded(accelerator: Accelerator, values: dict[str, Tensor]) -> dict[str, np.ndarray]:
    """Gather tensors of different lengths in one collective. Every process must call this.

    Args:
        values: by name, [num_predictions of this process, ...], on the device. Names, dtypes and
            all sizes but the first are the same on every process.

    Returns:
        By name, [num_processes, num_predictions of the process that has most, ...] in the dtype
        of the tensor, padded with zeros at the end.
    """
    # Tensors are gathered as bytes: all of them then need one collective only, and NCCL cannot
    # gather 16-bit integers.
    rows = {
        name: tensor.contiguous().flatten(1) if tensor.ndim > 1 else tensor[:, None]
        for name, tensor in values.items()
    }
    bytes_of = {name: row.contiguous().view(torch.uint8) for name, row in rows.items()}
    joined = torch.cat(list(bytes_of.values()), dim=1)
    padded = accelerator.pad_across_processes(joined, pad_index=0)
    gathered = accelerator.gather(padded).cpu().numpy()
    by_name, start = {}, 0
    for name, tensor in values.items():
        width = bytes_of[name].shape[1]
        own = np.ascontiguousarray(gathered[:, start : start + width])
        dtype = torch.empty(0, dtype=tensor.dtype).numpy().dtype
        by_name[name] = own.view(dtype).reshape(accelerator.num_processes, -1, *tensor.shape[1:])
        start += width
    return by_name
