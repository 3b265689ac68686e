"""Tells FSDP2 which modules to shard, and in which dtype to sum gradients; groups the processes."""

import dataclasses
from datetime import timedelta

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType
from torch import distributed, nn

from tagloop.errors import InputError

PATIENCE = timedelta(days=1)  # A thread waits for the slowest disk of all, and not for ever.


def shard_by_layer(accelerator: Accelerator, model: nn.Module) -> None:
    """Tell FSDP2 which modules to shard, and to sum gradients in float32.

    This must be called before accelerator.prepare; without FSDP2 it does nothing. By default
    accelerate sums gradients in bf16, and the sum would depend on the number of processes. The
    classes to shard are those of the launch file; if it names none, those that transformers names;
    if it names none either, those of the longest list of modules. A class that holds the input
    embedding is left out, because accelerate shards the embedding by itself, and torch refuses to
    shard a weight twice. Modules of one class that share the weight of the input embedding, as T5
    has three, become one module for the same reason.

    Raises:
        InputError: the launch file names a class that the model does not have.
    """
    if accelerator.distributed_type != DistributedType.FSDP:
        return
    plugin, embedding = accelerator.state.fsdp_plugin, model.get_input_embeddings()
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if type(child) is type(embedding) and child.weight is embedding.weight:
                setattr(module, name, embedding)
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


def build_thread_group(accelerator: Accelerator) -> distributed.ProcessGroup | None:
    """A group in which background threads of all processes exchange messages beside training.

    Every process must call this.

    Returns:
        None without FSDP2, or with one process: then no process writes a share of a checkpoint.
    """
    if not accelerator.is_fsdp2 or accelerator.num_processes == 1:
        return None
    return distributed.new_group(backend="gloo", timeout=PATIENCE)
