"""The cross-entropy of every token of a large vocabulary, with the logits in memory only once.

    losses = token_losses(outputs.logits, labels)  # the shape of the labels

torch's cross-entropy keeps the logarithm of the softmax beside the logits, and its backward pass
makes two more tensors of the same size. With a vocabulary of 50,000 each of them is larger than all
other activations of a small model. Here the forward pass keeps one number for each target, and the
backward pass writes the gradient over the logits, part by part.
"""

from typing import Any

import torch
from torch import Tensor

from tagloop.batches.examples import IGNORE_INDEX

CELLS_AT_ONCE = 1 << 22  # Logits of a part; in float32 they need 16 MiB.


def token_losses(logits: Tensor, labels: Tensor) -> Tensor:
    """The negative logarithm of the probability of every label.

    After the backward pass the logits are overwritten. A model whose last operation needs its own
    result in the backward pass gets torch's error about a changed tensor, and no wrong gradient.

    Args:
        logits: [..., vocabulary], of any float dtype; each is computed in float32 at least.
        labels: int64 [...]; IGNORE_INDEX where there is no target.

    Returns:
        [...], in float32 or float64; 0 where there is no target.
    """
    return _TokenLosses.apply(logits, labels)


class _TokenLosses(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, labels: Tensor) -> Tensor:
        logits = logits.contiguous()
        flat, targets = logits.view(-1, logits.shape[-1]), labels.flatten()
        rows = (targets != IGNORE_INDEX).nonzero().flatten()
        precise = torch.promote_types(logits.dtype, torch.float32)
        losses = torch.zeros(len(targets), dtype=precise, device=logits.device)
        sums = torch.empty(len(rows), dtype=precise, device=logits.device)
        for part, own in _parts(rows, flat.shape[1]):
            scores = flat[own].to(precise)
            sums[part] = scores.logsumexp(1)
            losses[own] = sums[part] - scores.gather(1, targets[own, None]).squeeze(1)
        ctx.save_for_backward(logits, rows, targets[rows], sums)
        return losses.view(labels.shape)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        logits, rows, targets, sums = ctx.saved_tensors
        flat, weights = logits.view(-1, logits.shape[-1]), gradient.flatten()[rows]
        for part, own in _parts(rows, flat.shape[1]):
            scores = (flat[own].to(sums.dtype) - sums[part, None]).exp_()
            scores[torch.arange(len(own), device=own.device), targets[part]] -= 1
            flat[own] = scores.mul_(weights[part, None]).to(flat.dtype)
        without = torch.ones(len(flat), dtype=torch.bool, device=flat.device)
        without[rows] = False
        flat.masked_fill_(without[:, None], 0)
        return logits, None


def _parts(rows: Tensor, vocabulary: int) -> list[tuple[slice, Tensor]]:
    """The rows in parts of about CELLS_AT_ONCE logits: where each part lies, and its rows."""
    size = max(1, CELLS_AT_ONCE // vocabulary)
    starts = range(0, len(rows), size)
    return [(slice(start, start + size), rows[start : start + size]) for start in starts]
