"""Dropout masks of all calls of one shape, hashed together and kept until the backward pass.

A call of dropout is then one multiplication forward and one backward, instead of the ten operations
of the hash each time. Outputs and gradients have the same bits as those of `hashing.drop`.
"""

import torch
from torch import Tensor

from tagloop.training.masks.hashing import MAX_CALLS, hash_elements, threshold
from tagloop.training.masks.kernels.use import uses_kernels

# The masks of one micro-batch have at most so many bytes; other calls hash their masks again.
MOST_BYTES = 32 * 2**20


class KeptMasks:
    """The masks of one micro-batch, made when the first call of a group asks for them."""

    def __init__(self):
        self.bytes_left = MOST_BYTES
        self.made: dict[tuple[int, ...], tuple] = {}

    def find(
        self,
        input: Tensor,
        group: tuple[int, ...],
        keys: Tensor,
        positions: Tensor | None,
        call_keys: Tensor,
        example_dim: int | None,
        p: float,
    ) -> Tensor | None:
        """The masks of all calls of a group: 0 where an element is dropped, else 1 / (1 - p).

        Args:
            input: the tensor of one call of the group.
            group: the numbers of its calls.
            keys, positions, example_dim: as in `hashing.hash_elements`.
            call_keys: int32 [MAX_CALLS].
            p: the probability that an element becomes 0.

        Returns:
            [calls of the group, *input.shape]: float64 if the input is float64, else float32. None
            if the masks are too large to keep, if the group was made for another kind of tensor, or
            if a kernel computes the dropout.
        """
        dtype = torch.float64 if input.dtype == torch.float64 else torch.float32
        kind = input.shape, input.device, dtype, example_dim, p
        if group not in self.made:
            size = len(group) * input.numel() * dtype.itemsize
            if size > self.bytes_left or uses_kernels(input.device, input.dtype):
                return None
            self.bytes_left -= size
            numbers = [number % MAX_CALLS for number in group]
            hashed = hash_elements(input.shape, keys, positions, call_keys[numbers], example_dim)
            masks = torch.empty(hashed.shape, dtype=dtype, device=input.device)
            torch.ge(hashed, threshold(p), out=masks).mul_(1 / (1 - p))
            self.made[group] = kind, masks
        kind_made, masks = self.made[group]
        return masks if kind == kind_made else None


class MaskFunction(torch.autograd.Function):
    """The product of a tensor and one of the masks of its group, in the dtype of the tensor."""

    @staticmethod
    def forward(ctx, input: Tensor, masks: Tensor, number: int):
        ctx.number = number
        # All masks are saved, and not one, so that torch notices a layer that is recomputed
        # without this dropout: torch's own dropout saves a tensor of the shape of one mask.
        ctx.save_for_backward(masks)
        output = torch.empty(input.shape, dtype=input.dtype, device=input.device)
        # The product is rounded once, as the mask is float32 even if the tensor is not.
        return torch.mul(input, masks[number], out=output)

    @staticmethod
    def backward(ctx, grad: Tensor):
        return MaskFunction.apply(grad, *ctx.saved_tensors, ctx.number), None, None
