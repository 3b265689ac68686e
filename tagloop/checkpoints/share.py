"""The weights and moments of a run, of which no process of a sharded model holds all.

Under FSDP2 every process holds a slice of each tensor. The tensors are put together one at a time:
for a checkpoint by all processes, each of which keeps its share of the tensors; for the final model
by the main process, which writes a tensor before it asks for the next one.
"""

from collections.abc import Callable, Iterable
from functools import partial

import torch
from accelerate.utils import broadcast_object_list
from torch import Tensor
from torch.distributed.checkpoint.state_dict import get_model_state_dict
from torch.distributed.tensor import DTensor

from tagloop.models.tensor_file import TensorInParts
from tagloop.processes.sharding import put_together
from tagloop.run import Run
from tagloop.training.average import COMPILED


def plain_names(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors, under the names that they have in a model that is not compiled."""
    return {name.replace(COMPILED, ""): tensor for name, tensor in tensors.items()}


def own_weights(run: Run) -> dict[str, Tensor]:
    """The state dict of the model: under FSDP2 with sharded tensors, else with whole ones."""
    if run.accelerator.is_fsdp2:
        return plain_names(get_model_state_dict(run.model))
    return plain_names(run.accelerator.get_state_dict(run.model))


def in_parts(
    weights: dict[str, Tensor], gather: Callable[[str], Iterable[Tensor]]
) -> dict[str, Tensor | TensorInParts]:
    """A state dict whose sharded tensors are put together when they are written.

    Args:
        gather: the whole tensor of a name, in parts.
    """
    return {
        name: TensorInParts(tuple(tensor.shape), tensor.dtype, partial(gather, name))
        if isinstance(tensor, DTensor)
        else tensor
        for name, tensor in weights.items()
    }


def deal(sizes: dict[str, int], num_processes: int, *, first: str | None) -> dict[str, int]:
    """Choose the process that keeps a tensor, so that all keep about as many bytes.

    Args:
        sizes: bytes by the name of the tensor, equal on all processes.
        first: the name of a tensor that the main process keeps.

    Returns:
        The index of the process, by the name of the tensor.
    """
    loads, owner_of = [0] * num_processes, {}
    for name in sorted(sizes, key=lambda name: (name != first, -sizes[name], name)):
        owner_of[name] = loads.index(min(loads))
        loads[owner_of[name]] += sizes[name]
    return owner_of


def copy_share(
    tensors: dict[str, Tensor], is_own: Callable[[str], bool], *, copy: bool
) -> dict[str, Tensor]:
    """Put tensors together one at a time, and keep those of this process on the CPU.

    Every process must call this with the same names in the same order.

    Args:
        is_own: True for the name of a tensor that this process keeps.
        copy: False may return tensors that share memory with the model.
    """
    share = {}
    for name, tensor in tensors.items():
        whole = put_together(tensor)
        if is_own(name):
            share[name] = whole.detach().to("cpu", copy=copy)
    return share


class WholeWeights:
    """The whole weights of a run, put together while the main process writes them.

    weights = WholeWeights(run)
    weights.serve()                        # the other processes wait here and help
    with weights as tensors: ...           # on the main process alone
    """

    def __init__(self, run: Run):
        self.run, self.weights = run, own_weights(run)
        self.is_sharded = any(isinstance(tensor, DTensor) for tensor in self.weights.values())

    def serve(self) -> None:
        """Help to put tensors together until the main process has left its block."""
        if not self.is_sharded or self.run.accelerator.is_main_process:
            return
        while (wanted := broadcast_object_list([None])[0]) is not None:
            put_together(self.weights[wanted])

    def __enter__(self) -> dict[str, Tensor | TensorInParts]:
        """The state dict with all rows of the vocabulary; a tensor in parts asks for help."""
        return self.run.vocabulary.whole(in_parts(self.weights, self._ask))

    def _ask(self, name: str) -> list[torch.Tensor]:
        broadcast_object_list([name])
        return [put_together(self.weights[name])]

    def __exit__(self, *_: object) -> None:
        if self.is_sharded:
            broadcast_object_list([None])
