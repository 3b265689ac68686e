"""Which weights a model took from a checkpoint: only its head may be new.

A name belongs to the head, ours or another task's, if it lies outside of the base model. BERT's
pooler counts as one: it is trained with a head, and checkpoints without that head lack it.
"""

from typing import Any

import torch
from torch import nn
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer

SHOWN = 3  # names in a message


def find_head(model: nn.Module) -> tuple[str, nn.Linear | None]:
    """The layer that scores the labels, and its name: the last one of their number."""
    inside = f"{_base_prefix(model)}."
    found = ("", None)
    for name, module in model.named_modules():
        fits = isinstance(module, nn.Linear) and module.out_features == model.config.num_labels
        if fits and not name.startswith(inside):
            found = (name, module)
    return found


def new_weights_of_head(model: nn.Module, info: dict[str, Any]) -> set[str]:
    """Names outside of the base model that the checkpoint lacks or has in another size."""
    names = {*info["missing_keys"], *(name for name, *_ in info["mismatched_keys"])}
    return {name for name in names if not _is_in_base(model, name)}


def describe_faults(model: nn.Module, info: dict[str, Any], *, with_head: bool) -> str:
    """What did not load though it had to, in words; empty if there is nothing.

    Args:
        info: what `from_pretrained(output_loading_info=True)` gives.
        with_head: the checkpoint claims to have this very head.
    """

    def faults(names: Any, with_head: bool = with_head) -> list[str]:
        return sorted(name for name in names if with_head or _is_in_base(model, name))

    missing = faults(info["missing_keys"])
    left_over = faults(info["unexpected_keys"], with_head=False)  # another task's head may be there
    sizes = {name: (there, here) for name, there, here in info["mismatched_keys"]}
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


def _is_in_base(model: nn.Module, name: str) -> bool:
    """True for a weight of the base model; checkpoints name it with the base's prefix or without.

    In BERT, `bert.encoder.layer.12.output.dense.bias` and `encoder.layer...` are in it, whether or
    not it has a twelfth layer; `cls.predictions.bias`, `classifier.bias`, `bert.pooler...` are not.
    """
    prefix = _base_prefix(model)
    base = getattr(model, prefix) if prefix else model
    parts = {name.split(".")[0] for name in base.state_dict()} - {"pooler"}
    if not prefix:  # a model without a base model: all but its head
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
    """Name of a parameter that is, or has a moment that is, not finite in this process' part."""
    for name, parameter in model.named_parameters():
        moments = optimizer.state.get(parameter, {}) if optimizer else {}
        for tensor in (parameter, *filter(torch.is_tensor, moments.values())):
            local = tensor.to_local() if isinstance(tensor, DTensor) else tensor
            # A sum is finite only where all are, and a twentieth of the work; it may overflow.
            if not local.sum().isfinite() and not local.isfinite().all():
                return name
    return None
