"""The average of the weights over the updates (--ema_decay), which is evaluated and saved.

    average = WeightAverage(model, optimizer, vocabulary, decay=0.999)
    average.after_update(step)             # after each update that was not skipped
    with average.in_use():                 # the model has the averaged weights here
        ...
    average.keep()                         # and from here on for good

Averages of iterates: Polyak & Juditsky 1992, https://doi.org/10.1137/0330046. Here the average is
exponential, and the first updates weigh less, or the random head of the beginning would stay in
the average of a short run: an update t = 0, 1, ... decays it by min(decay, (1 + t) / (10 + t)), as
TensorFlow's ExponentialMovingAverage does with num_updates.

A waiting row of the vocabulary is its first value times a factor, so its average is its first value
times the average of that factor.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from tagloop.processes.sharding import own_part, reshard
from tagloop.training.vocabulary import Vocabulary

COMPILED = "_orig_mod."  # torch.compile adds this to names of parameters.


class WeightAverage:
    """The averages of all trained parameters: beside them on the device, in their dtype.

    Under FSDP2 each process averages its own part. Frozen parameters and buffers are not averaged.

    Args:
        model: as the accelerator unwraps it.

    Attributes:
        shrink: the factor of the waiting rows of the vocabulary, averaged.
        is_kept: True once the model has the averages for good.
    """

    def __init__(
        self, model: nn.Module, optimizer: Optimizer, vocabulary: Vocabulary, *, decay: float
    ):
        self.model, self.vocabulary, self.decay = model, vocabulary, decay
        self.parameters = [p for group in optimizer.param_groups for p in group["params"]]
        self.averages: list[Tensor] = []
        self.is_kept = False
        self.restart()

    def restart(self) -> None:
        """Begin anew: the averages are the present weights."""
        self.averages = [parameter.detach().clone() for parameter in self.parameters]
        self.shrink = self.vocabulary.shrink

    @torch.no_grad()
    def after_update(self, step: int) -> None:
        """Move the averages towards the weights, in one launch for each dtype.

        Args:
            step: the number of updates before this one.
        """
        decay = min(self.decay, (1 + step) / (10 + step))
        averages, weights = map(own_part, self.averages), map(own_part, self.parameters)
        torch._foreach_lerp_([*averages], [*weights], 1 - decay)
        self.shrink += (1 - decay) * (self.vocabulary.shrink - self.shrink)

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """A context in which the model has the averaged weights."""
        if self.is_kept:
            yield
            return
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    def keep(self) -> None:
        """Give the model and the waiting rows the averages for good, to be saved as the model."""
        self._exchange()
        self.vocabulary.shrink = self.shrink
        self.is_kept = True

    def averaged(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """A state dict of the model with the averages in it.

        Args:
            weights: the state dict; its names are those of an uncompiled model.
        """
        average_of = dict(zip(self.parameters, self.averages, strict=True))
        named = self.model.named_parameters(remove_duplicate=False)
        found = {n.replace(COMPILED, ""): average_of[p] for n, p in named if p in average_of}
        return weights | {name: found[name] for name in weights.keys() & found.keys()}

    @torch.no_grad()
    def _exchange(self) -> None:
        """Exchange the values of weights and averages, to the bit and in place."""
        reshard(self.model)
        for average, parameter in zip(self.averages, self.parameters, strict=True):
            average, parameter = own_part(average), own_part(parameter)
            before = parameter.clone()
            parameter.copy_(average)
            average.copy_(before)
