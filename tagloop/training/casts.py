"""Casts the weights of the linear layers once in an update, to the same bits as autocast.

    casts = WeightCasts(accelerator, model)  # once, after accelerator.prepare
    with casts:
        ...  # forward and backward of all micro-batches of one update

Under bf16 or fp16 autocast casts each weight in each micro-batch, and each gradient back to
float32: a GPU launches two kernels for each weight and each bias. Inside this context the linear
layers hold weights that are already cast, so autocast leaves them alone. One launch casts all
weights of the model in an update, and one launch casts the gradients of a layer of the encoder.
"""

from collections import Counter
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from tagloop.processes.devices import LOW_PRECISION, is_compiled

ALONE_OR_DDP = (DistributedType.NO, DistributedType.MULTI_CPU, DistributedType.MULTI_GPU)
PARAMETERS = ("weight", "bias")  # of a linear layer


class WeightCasts:
    """A context for the micro-batches of one update; it can be entered again for the next update.

    The linear layers of one layer of the encoder are a group. The backward pass casts the gradients
    of a group when it leaves the group, so DDP sends gradients during the backward pass.

    In the first update autocast works alone, and the context observes which linear layers the
    model calls. A model that reads the weight of a layer without calling the layer gets the weight
    in float32 in every update. So does a model whose output layer shares its weight with two
    embeddings (T5): a sum of three gradients depends on their order, which a cast would change.

    Autocast works alone in every update of a model that is sharded or compiled. It does so, too,
    if DDP looks for unused parameters, because DDP takes a whole group for used if one of its
    weights is used.

    Args:
        accelerator: without mixed precision the context does nothing.
        model: as the accelerator prepared it. Its layers may be frozen at any time outside of the
            context.
    """

    def __init__(self, accelerator: Accelerator, model: nn.Module):
        self.device_type = accelerator.device.type
        self.dtype = LOW_PRECISION.get(accelerator.mixed_precision)
        works = (
            self.dtype is not None
            and accelerator.distributed_type in ALONE_OR_DDP
            and not is_compiled(accelerator)
            and not getattr(model, "find_unused_parameters", False)
        )
        self.groups = _group_linear_layers(model) if works else []
        holders = Counter(p for m in model.modules() for p in m.parameters(recurse=False))
        self.left_alone = {parameter for parameter, count in holders.items() if count > 2}
        self.is_observed = not works
        self.called: dict[nn.Module, bool] = {}  # False: a call of the layer was not autocast.
        self.hooks: list[torch.utils.hooks.RemovableHandle] = []
        self.swapped: list[tuple[nn.Module, str, nn.Parameter]] = []

    def __enter__(self) -> None:
        if self.is_observed:
            self._swap()
            return
        layers = (layer for group in self.groups for layer in group)
        self.hooks = [layer.register_forward_pre_hook(self._observe) for layer in layers]

    def __exit__(self, *raised: object) -> None:
        for layer, name, parameter in self.swapped:
            layer._parameters[name] = parameter
        self.swapped = []
        for hook in self.hooks:
            hook.remove()
        if self.hooks:
            groups = ([layer for layer in g if self.called.get(layer)] for g in self.groups)
            self.groups = [group for group in groups if group]
            self.is_observed, self.hooks = True, []

    def _observe(self, layer: nn.Module, inputs: tuple) -> None:
        is_cast = torch.is_autocast_enabled(self.device_type)
        self.called[layer] = is_cast and self.called.get(layer, True)

    def _swap(self) -> None:
        """Put the cast weights into the layers. Layers that share a weight share its cast, too."""
        holders: dict[nn.Parameter, list[tuple[nn.Module, str]]] = {}
        groups = []
        for layers in self.groups:
            group = []
            for layer, name in ((layer, name) for layer in layers for name in PARAMETERS):
                parameter = layer._parameters.get(name)
                if parameter is None or parameter.dtype != torch.float32:
                    continue
                if parameter in self.left_alone:
                    continue
                if parameter not in holders:
                    group.append(parameter)
                holders.setdefault(parameter, []).append((layer, name))
            groups.append(group)
        parameters = list(holders)
        lows = [torch.empty_like(parameter, dtype=self.dtype) for parameter in parameters]
        if parameters:
            with torch.no_grad():
                torch._foreach_copy_(lows, parameters)
        cast_of = dict(zip(parameters, lows, strict=True))
        for group in groups:
            trained = [parameter for parameter in group if parameter.requires_grad]
            outputs = _CastGroup.apply([cast_of[each] for each in trained], *trained)
            cast_of |= zip(trained, outputs, strict=True)
        for parameter, places in holders.items():
            for layer, name in places:
                self.swapped.append((layer, name, parameter))
                layer._parameters[name] = cast_of[parameter]


def _group_linear_layers(model: nn.Module) -> list[list[nn.Module]]:
    """The linear layers of a model, those of one layer of the encoder together.

    The name of a layer of the encoder ends with the first number: `bert.encoder.layer.3`. A linear
    layer outside of the encoder is a group of its own.
    """
    groups: dict[str, list[nn.Module]] = {}
    for name, module in model.named_modules():
        if type(module) in (nn.Linear, Conv1D):  # A subclass may use its weight otherwise.
            parts = name.split(".")
            numbers = [at for at, part in enumerate(parts) if part.isdigit()]
            prefix = ".".join(parts[: numbers[0] + 1]) if numbers else name
            groups.setdefault(prefix, []).append(module)
    return list(groups.values())


class _CastGroup(torch.autograd.Function):
    """Parameters of a group -> their casts, which exist already; casts gradients to float32.

    The function saves nothing, so the backward passes of several micro-batches can go through it.
    """

    @staticmethod
    def forward(ctx: Any, lows: list[Tensor], *parameters: Tensor) -> tuple[Tensor, ...]:
        ctx.set_materialize_grads(False)
        return tuple(lows)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        given = [grad for grad in grads if grad is not None]
        precise = [torch.empty_like(grad, dtype=torch.float32) for grad in given]
        if given:
            torch._foreach_copy_(precise, given)
        in_order = iter(precise)
        return None, *(None if grad is None else next(in_order) for grad in grads)
