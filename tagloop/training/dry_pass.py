"""A dry pass over two examples: what an architecture does that the loop has to know beforehand.

Every process comes to the same answer: same weights, same examples, nothing random.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from tagloop.errors import InputError
from tagloop.training.dropout import ExampleDropout
from tagloop.training.examples import Examples
from tagloop.training.pretrained import first_line

TOLERANCE = 1e-5  # of the largest output; the order of float32 sums stays below it
MARGIN = 64  # sub-tokens by which the longer example may exceed the shorter, to stay cheap


@dataclass(frozen=True)
class DryPass:
    """What a dry pass found.

    Attributes:
        looks_across_padding: an example's outputs depend on how far it is padded or on what is in
            the batch beside it, so that only batches of one length do not depend on the cut.
        dropout_depends_on_cut: the same in training mode, with masks that belong to the example: it
            draws in a way that dropout.py does not answer, or where no example can be told.
        has_unused_parameters: a backward pass leaves parameters without gradient, which DDP has to
            be told. Longformer's global attention is such.
    """

    looks_across_padding: bool
    dropout_depends_on_cut: bool
    has_unused_parameters: bool

    @property
    def warnings(self) -> list[str]:
        """For the header."""
        lines = []
        if self.looks_across_padding:
            lines.append(
                "the architecture looks at padding: a batch holds sentences of one length, so that "
                "results do not depend on the cut; --pad_to_max_length does the same for larger "
                "batches"
            )
        if self.dropout_depends_on_cut:
            lines.append(
                "the architecture draws dropout masks that depend on how a batch is cut; losses on "
                "another number of processes are another draw"
            )
        return lines


def dry_pass(
    model: nn.Module, splits: Iterable[Examples], *, dropout: bool, backward: bool
) -> DryPass:
    """Run two examples of different lengths through the model, together and apart.

    Args:
        model: in float32, on the CPU; left without gradients, in evaluation mode.
        splits: the first in which lengths differ is taken.
        dropout: compare with dropout, too; else it does not depend on the cut.
        backward: look for unused parameters, too; else there are none.

    Raises:
        InputError: the model does not take such a batch.
    """
    splits = list(splits)
    examples = next((s for s in splits if s.lengths.min() < s.lengths.max()), splits[0])
    ids = _two_lengths(examples.lengths)
    across = _disagree(model.eval(), examples, ids)
    draws = dropout and not across and _disagree(model.train(), examples, ids)
    model.eval()
    return DryPass(across, draws, backward and _leaves_parameters_out(model, examples, ids[:1]))


@torch.no_grad()
def _disagree(model: nn.Module, examples: Examples, ids: np.ndarray) -> bool:
    """True if examples in one batch have other logits than each in a batch of its own."""
    together, _ = _outputs(model, examples, ids)
    return any(
        _differ(together[row], *_outputs(model, examples, ids[row : row + 1]))
        for row in range(len(ids))
    )


def _two_lengths(lengths: np.ndarray) -> np.ndarray:
    """The shortest example and a longer one, if there is one; int64 [1 or 2]."""
    order = np.argsort(lengths, kind="stable")
    shortest = lengths[order[0]]
    longer = order[lengths[order] > shortest]
    close = longer[lengths[longer] <= shortest + MARGIN]
    return np.concatenate([order[:1], close[-1:] if len(close) else longer[:1]])


def _outputs(model: nn.Module, examples: Examples, ids: np.ndarray) -> tuple[Tensor, Tensor]:
    """Logits [examples, ...] and attention_mask [examples, columns] of one batch."""
    batch = examples.collate(ids)
    batch.pop("labels")
    try:
        with ExampleDropout(0, 0, ids):
            return model(**batch).logits, batch["attention_mask"]
    except Exception as error:  # bros wants boxes, xmod a language: each says so in its way
        raise InputError(
            f"{type(model).__name__} does not take sentences as they are: {first_line(error)}"
        ) from error


def _differ(row: Tensor, alone: Tensor, mask: Tensor) -> bool:
    """True if an example's logits in a batch are not those that it has alone, [1, ...]."""
    alone = alone[0]
    if alone.ndim > 1:  # one row of logits per sub-token
        real = mask[0].bool()
        row, alone = row[: len(real)][real], alone[real]
    return bool((row - alone).abs().max() > TOLERANCE * alone.abs().max())


def _leaves_parameters_out(model: nn.Module, examples: Examples, ids: np.ndarray) -> bool:
    model.train()
    logits, _ = _outputs(model, examples, ids)
    logits.sum().backward()
    unused = any(p.requires_grad and p.grad is None for p in model.parameters())
    model.zero_grad(set_to_none=True)
    model.eval()
    return unused
