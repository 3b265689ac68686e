"""Checks which weights a model took from a checkpoint: only its head may be new.

A weight outside of the base model belongs to the head of this task or of another task. BERT's
pooler counts as part of a head, because it is trained together with a head; a checkpoint without
this head does not have the pooler.
"""

from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from tagloop.errors import InputError
from tagloop.processes.sharding import own_part, reshard

SHOWN = 3  # the number of names in a message


def find_head(model: nn.Module) -> tuple[str, nn.Linear | None]:
    """Find the layer that scores the labels: the last linear layer with an output for each label.

    Returns:
        The name of the layer, and the layer; "" and None if the model has none.
    """
    inside = f"{_base_prefix(model)}."
    head = ("", None)
    for name, module in model.named_modules():
        fits = isinstance(module, nn.Linear) and module.out_features == model.config.num_labels
        if fits and not name.startswith(inside):
            head = (name, module)
    return head


def new_weights_of_head(model: nn.Module, info: dict[str, Any]) -> set[str]:
    """Names of weights outside of the base model that are missing in the checkpoint, or resized.

    Args:
        info: the result of `from_pretrained(output_loading_info=True)`.
    """
    names = {*info["missing_keys"], *(name for name, *_ in info["mismatched_keys"])}
    return {name for name in names if not is_in_base(model, name)}


def refuse_adapters(name: str, info: dict[str, Any]) -> None:
    """Refuse a checkpoint in which adapters stand beside the weights (--lora_rank).

    Args:
        name: of the model, for the message.
        info: the result of `from_pretrained(output_loading_info=True)`.

    Raises:
        InputError: the model is such a checkpoint.
    """
    if any(".base_layer." in key for key in info["unexpected_keys"]):
        raise InputError(
            f"{name}: is a checkpoint of a run with --lora_rank, and no whole model; resume that "
            "run, and name its folder when it has ended"
        )


def describe_faults(model: nn.Module, info: dict[str, Any], *, with_head: bool) -> str:
    """Say which weights did not load although they had to.

    Args:
        info: the result of `from_pretrained(output_loading_info=True)`.
        with_head: True if the weights of the head had to load, too.

    Returns:
        The faults in words; empty if the weights have none.
    """

    def faults(names: Any, with_head: bool = with_head) -> list[str]:
        return sorted(name for name in names if with_head or is_in_base(model, name))

    missing = faults(info["missing_keys"])
    # The checkpoint may have the head of another task.
    left_over = faults(info["unexpected_keys"], with_head=False)
    sizes = {name: (saved, own) for name, saved, own in info["mismatched_keys"]}
    resized = [
        f"{name} ({_shape(sizes[name][0])}, in the model {_shape(sizes[name][1])})"
        for name in faults(sizes)
    ]
    parts = []
    if missing:
        parts.append(f"{_some(missing)} missing in the checkpoint")
        names = [name for name in info["unexpected_keys"] if name.endswith(f".{missing[0]}")]
        if names:
            prefix = names[0].removesuffix(missing[0])
            parts.append(f'its names begin with "{prefix}", which has to be taken off')
    if left_over:
        parts.append(f"{_some(left_over)} without a place in the model")
    if resized:
        parts.append(f"{_some(resized)} of another size")
    return "; ".join(parts)


def is_in_base(model: nn.Module, name: str) -> bool:
    """True for the name of a weight of the base model, with or without the base model's prefix.

    In BERT `bert.encoder.layer.12.output.dense.bias` and `encoder.layer...` are names of the base
    model, even if it has no layer 12; `cls.predictions.bias`, `classifier.bias` and
    `bert.pooler...` are not.
    """
    prefix = _base_prefix(model)
    base = getattr(model, prefix) if prefix else model
    parts = {name.split(".")[0] for name in base.state_dict()} - {"pooler"}
    if not prefix:  # Without a base model, all weights but those of the head count as its weights.
        parts.discard(find_head(model)[0].split(".")[0])
    return name.removeprefix(f"{prefix}.").split(".")[0] in parts


def _base_prefix(model: nn.Module) -> str:
    prefix = getattr(model, "base_model_prefix", "")
    return prefix if prefix and hasattr(model, prefix) else ""


def _some(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{len(names)} weight{'s' * (len(names) > 1)} ({', '.join(names[:SHOWN])}{more})"


def _shape(shape: Any) -> str:
    return "x".join(map(str, shape))


def find_non_finite(model: nn.Module, optimizer: Optimizer | None = None) -> str | None:
    """The name of a parameter with a weight or a moment that is not finite; None without one.

    A process checks only its own part of a sharded parameter.
    """
    reshard(model)  # The optimizer knows the parts, and not whole weights that are left.
    for name, parameter in model.named_parameters():
        moments = optimizer.state.get(parameter, {}) if optimizer else {}
        for tensor in (parameter, *filter(torch.is_tensor, moments.values())):
            local = own_part(tensor)
            # A finite sum proves that all values are finite, with a twentieth of the work. A sum
            # may overflow, so a sum that is not finite proves nothing.
            if not local.sum().isfinite() and not local.isfinite().all():
                return name
    return None
