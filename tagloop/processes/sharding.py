"""Tells FSDP2 which modules to shard, and in which dtype to sum gradients"""

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor

from tagloop.errors import InputError


@contextmanager
def sharding_by_layer(accelerator: Accelerator, model: nn.Module) -> Iterator[None]:
    """Tell FSDP2 which modules to shard, and to sum gradients in float32.

    accelerator.prepare must be called inside of the block; without FSDP2 the block does nothing. By
    default accelerate sums gradients in bf16, and the sum would depend on the number of processes.
    The classes to shard are those of the launch file; if it names none, those that transformers
    names; if it names none either, those of the longest list of modules. A class that holds the
    input embedding is left out, because accelerate shards the embedding by itself, and torch
    refuses to shard a weight twice.

    Modules that share a parameter must be sharded together, for the same reason. accelerate finds
    an output layer whose weight is the input embedding, but not the three embeddings of T5, or a
    bias that the head of BERT shares with its output layer. In a model with tied parameters the
    embeddings are therefore hidden from accelerate, and are sharded with the model as a whole.

    Raises:
        InputError: the launch file names a class that the model does not have.
    """
    if accelerator.distributed_type != DistributedType.FSDP:
        yield
        return
    plugin, embedding = accelerator.state.fsdp_plugin, model.get_input_embeddings()
    modules = list(model.modules())
    classes = {type(module).__name__ for module in modules}
    holders = {type(m).__name__ for m in modules if any(part is embedding for part in m.modules())}
    longest = max((m for m in modules if isinstance(m, nn.ModuleList)), key=len, default=())
    named = plugin.transformer_cls_names_to_wrap
    if unknown := set(named or ()) - classes:
        raise InputError(
            f"fsdp_transformer_layer_cls_to_wrap: {type(model).__name__} has no {unknown.pop()}; "
            f"its longest list holds {type(longest[0]).__name__ if longest else 'nothing'}"
        )
    named = set(named or model._no_split_modules or ()) & classes - holders
    named = named or {type(layer).__name__ for layer in longest}
    plugin.transformer_cls_names_to_wrap = sorted(named)
    if policy := plugin.mixed_precision_policy:
        plugin.mixed_precision_policy = dataclasses.replace(policy, reduce_dtype=torch.float32)
    held = sum(len(list(module.parameters(recurse=False))) for module in modules)
    is_tied = held > len(list(model.parameters()))
    hidden = ("get_input_embeddings", "get_output_embeddings") if is_tied else ()
    for name in hidden:
        setattr(model, name, lambda: None)
    yield
    for name in hidden:
        delattr(model, name)


def reshard(model: nn.Module) -> None:
    """Let every process hold its own part of the weights only; without FSDP2 nothing happens.

    After a forward pass FSDP2 may keep whole weights, always those of the root. They are copies: a
    change of them would be lost, and a change of the parts would not show in them.
    """
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.reshard()


def put_together(tensor: Tensor) -> Tensor:
    """The whole of a sharded tensor, on the device; every process must call this in turn.

    A tensor that is not sharded is returned as it is.
    """
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def own_part(tensor: Tensor) -> Tensor:
    """The part of a sharded tensor that this process holds; a tensor that is not sharded, whole."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor
