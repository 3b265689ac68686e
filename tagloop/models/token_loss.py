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


def token_losses(logits: Tensor, labels: Tensor, *, every: bool = False) -> Tensor:
    """The negative logarithm of the probability of every label.

    After the backward pass the logits are overwritten. A model whose last operation needs its own
    result in the backward pass gets torch's error about a changed tensor, and no wrong gradient.

    Args:
        logits: [..., vocabulary], of any float dtype; each is computed in float32 at least.
        labels: int64 [...]; IGNORE_INDEX where there is no target.
        every: True if every label is a target. The targets then need not be looked for, and no
            logits are copied.

    Returns:
        [...], in float32 or float64; 0 where there is no target.
    """
    return _TokenLosses.apply(logits, labels, every)


class _TokenLosses(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, labels: Tensor, every: bool) -> Tensor:
        logits = logits.contiguous()
        flat, targets = logits.view(-1, logits.shape[-1]), labels.flatten()
        rows = None if every else (targets != IGNORE_INDEX).nonzero().flatten()
        if rows is not None:
            targets = targets[rows]
        precise = torch.promote_types(logits.dtype, torch.float32)
        found = torch.empty(len(targets), dtype=precise, device=logits.device)
        sums = torch.empty_like(found)
        for part, own in _parts(rows, *flat.shape):
            scores = flat[own].to(precise)
            sums[part] = scores.logsumexp(1)
            found[part] = sums[part] - scores.gather(1, targets[part, None]).squeeze(1)
        ctx.save_for_backward(logits, targets, sums, *([] if rows is None else [rows]))
        losses = found
        if rows is not None:
            losses = found.new_zeros(labels.numel()).index_copy_(0, rows, found)
        return losses.view(labels.shape)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        logits, targets, sums, *rest = ctx.saved_tensors
        flat, weights = logits.view(-1, logits.shape[-1]), gradient.flatten()
        rows = rest[0] if rest else None
        if rows is not None:
            weights = weights[rows]
        is_copied = rows is not None or flat.dtype != sums.dtype
        for part, own in _parts(rows, *flat.shape):
            scores = flat[own].to(sums.dtype)
            scores.sub_(sums[part, None]).exp_()
            scores[torch.arange(len(scores), device=scores.device), targets[part]] -= 1
            scores.mul_(weights[part, None])
            if is_copied:
                flat[own] = scores.to(flat.dtype)
        if rows is not None:
            without = torch.ones(len(flat), dtype=torch.bool, device=flat.device)
            without[rows] = False
            flat.masked_fill_(without[:, None], 0)
        return logits, None, None


def _parts(rows: Tensor | None, num_rows: int, vocabulary: int) -> list[tuple[slice, Any]]:
    """The targets in parts of about CELLS_AT_ONCE logits: where each part lies, and its rows.

    Args:
        rows: int64, the rows of logits that have a target; None: all of them.
    """
    size = max(1, CELLS_AT_ONCE // vocabulary)
    total = num_rows if rows is None else len(rows)
    parts = [slice(start, start + size) for start in range(0, total, size)]
    return [(part, part if rows is None else rows[part]) for part in parts]
