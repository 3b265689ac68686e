"""A dry pass over a few examples: what an architecture does that the loop has to know beforehand.

Every process comes to the same answer: same weights, same examples, nothing random.
"""

import itertools
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from tagloop.batches.examples import Examples
from tagloop.batches.packing import Packing, build_micro_batch
from tagloop.errors import InputError
from tagloop.training.dropout import ExampleDropout, find_example_dims
from tagloop.wording import first_line

TOLERANCE = 1e-5  # of the largest output; the order of float32 sums stays below it
MARGIN = 64  # sub-tokens by which the longer example may exceed the shorter, to stay cheap


@dataclass(frozen=True)
class DryPass:
    """What a dry pass found.

    Attributes:
        looks_across_padding: the outputs of an example depend on how far it is padded, or on the
            examples beside it in the batch. Only batches of examples that do not pad each other
            are then independent of the cut.
        dropout_depends_on_cut: with dropout on, outputs still change with the cut: the model calls
            a dropout that dropout.py does not replace, or one whose tensor does not show which
            example it belongs to; or it draws random numbers in another way.
        packing: how examples may share a row; None: they may not, or nobody asked.
        does_not_pack: packing was looked for, but examples in one row would see each other.
        has_unused_parameters: a backward pass leaves parameters without gradient, as Longformer's
            global attention does, or may do so, as LayerDrop does; DDP has to be told.
        example_dims: for every call of dropout the dimension in which the examples lie.
    """

    looks_across_padding: bool
    dropout_depends_on_cut: bool
    packing: Packing | None
    does_not_pack: bool
    has_unused_parameters: bool
    example_dims: tuple[int | None, ...] = ()

    @property
    def warnings(self) -> list[str]:
        """For the header."""
        lines = []
        if self.looks_across_padding:
            lines.append(
                "the architecture looks at padding: a batch holds examples of one length, so that "
                "results do not depend on the cut; --pad_to_max_length does the same for larger "
                "batches"
            )
        if self.dropout_depends_on_cut:
            lines.append(
                "the architecture draws dropout masks that depend on how a batch is cut; losses on "
                "another number of processes are another draw"
            )
        if self.does_not_pack:
            lines.append(
                "the architecture does not keep the examples of a row apart, so rows are padded; "
                "--group_by_length pads less, but may cost accuracy"
            )
        return lines


def dry_pass(
    model: nn.Module,
    splits: Iterable[Examples],
    *,
    dropout: bool,
    backward: bool,
    pack_to_multiple_of: int | None = None,
) -> DryPass:
    """Run two examples of different lengths through the model, together and apart.

    Args:
        model: in float32, on the CPU; left without gradients, in evaluation mode.
        splits: the first in which lengths differ is taken.
        dropout: compare with dropout, too; else it does not depend on the cut.
        backward: look for unused parameters, too; else there are none.
        pack_to_multiple_of: columns of packed rows, if packing is looked for; else there is none.

    Raises:
        InputError: the model does not take such a batch.
    """
    splits = list(splits)
    examples = next((s for s in splits if s.lengths.min() < s.lengths.max()), splits[0])
    ids = _two_lengths(examples.lengths)
    across = _disagree(model.eval(), examples, ids)
    dims, skips_layers, draws = (), False, False
    if dropout:
        dims = _find_example_dims(model.train(), examples, ids[:1])
        skips_layers, draws = _find_draws(model, examples, ids)
        draws = draws or (not across and _disagree(model, examples, ids, dims=dims))
    packs = pack_to_multiple_of and not across and splits[0].packable
    packing = None
    if packs:
        packing = _find_packing(
            model, splits[0], pack_to_multiple_of, dropout=dropout and not draws, dims=dims
        )
    model.eval()
    unused = backward and (skips_layers or _leaves_parameters_out(model, examples, ids[:1]))
    return DryPass(across, draws, packing, bool(packs) and packing is None, unused, dims)


@torch.no_grad()
def _find_example_dims(
    model: nn.Module, examples: Examples, ids: np.ndarray
) -> tuple[int | None, ...]:
    """For every call of dropout the dimension of the examples: the one that grows with them."""
    shapes = []
    for number in (2, 3):
        batch = build_micro_batch(examples, np.repeat(ids, number)).to(torch.device("cpu"))
        with ExampleDropout(0, 0, batch.example_ids) as mode:
            model(**batch.inputs)
        shapes.append(mode.shapes)
    return find_example_dims(*shapes)


@torch.no_grad()
def _find_draws(model: nn.Module, examples: Examples, ids: np.ndarray) -> tuple[bool, bool]:
    """Whether single random numbers change the outputs, and whether there are other draws.

    A generator whose state has changed tells of a draw, however small its rate may be.
    """
    before = _generator_states()
    lowest, highest = (_outputs(model, examples, ids, draw=draw) for draw in (0.0, 1 - 2**-24))
    draws = _generator_states() != before
    return not all(map(torch.equal, lowest, highest)), draws


def _generator_states() -> tuple:
    """States of the global random generators of torch, NumPy and Python."""
    kind, keys, *rest = np.random.get_state()
    return torch.get_rng_state().tolist(), kind, keys.tolist(), rest, random.getstate()


def _find_packing(
    model: nn.Module,
    examples: Examples,
    multiple: int,
    *,
    dropout: bool,
    dims: Sequence[int | None],
) -> Packing | None:
    """How rows may be packed so that every example has the outputs that it has alone, if at all.

    The three shortest share a row. The longest is there, too, as attention that slides sees only a
    part of such; with dropout one that is just long enough will do.
    """
    order = np.argsort(examples.lengths, kind="stable")
    short, longest = order[:3], order[-1:]
    at = np.searchsorted(examples.lengths[order], examples.lengths[short].sum())
    ids = np.union1d(short, longest)
    few = np.union1d(short, order[at : at + 1])
    most = int(examples.padded_lengths.max())
    behind_padding = (getattr(model.config, "pad_token_id", None) or 0) + 1
    slides = "sliding_attention" in (getattr(model.config, "layer_types", None) or ())
    sliding_window = model.config.sliding_window if slides else None
    # MPNet's first position is 2, whatever pads.
    for causal, first_position in itertools.product((False, True), (0, behind_padding, 2)):
        packing = Packing(first_position, multiple, most, causal, sliding_window)
        try:
            differ = _disagree(model.eval(), examples, ids, packing) or (
                dropout and _disagree(model.train(), examples, few, packing, dims)
            )
        except InputError:  # It takes no mask of this kind, or has no position that large.
            continue
        if not differ:
            return packing
    return None


@torch.no_grad()
def _disagree(
    model: nn.Module,
    examples: Examples,
    ids: np.ndarray,
    packing: Packing | None = None,
    dims: Sequence[int | None] = (),
) -> bool:
    """True if examples in one batch have other outputs than each in a batch of its own."""
    together = _outputs_by_example(model, examples, ids, packing, dims)
    for number in range(len(ids)):
        (alone,) = _outputs_by_example(model, examples, ids[number : number + 1], dims=dims)
        for beside_others, by_itself in zip(together[number], alone, strict=True):
            difference = (beside_others - by_itself).abs().max()
            if bool(difference > TOLERANCE * by_itself.abs().max()):
                return True
    return False


def _two_lengths(lengths: np.ndarray) -> np.ndarray:
    """The shortest example and a longer one, if there is one; int64 [1 or 2]."""
    order = np.argsort(lengths, kind="stable")
    shortest = lengths[order[0]]
    longer = order[lengths[order] > shortest]
    close = longer[lengths[longer] <= shortest + MARGIN]
    return np.concatenate([order[:1], close[-1:] if len(close) else longer[:1]])


def _outputs(
    model: nn.Module,
    examples: Examples,
    ids: np.ndarray,
    packing: Packing | None = None,
    dims: Sequence[int | None] = (),
    draw: float | None = None,
) -> list[Tensor]:
    """Everything that the model says of a batch: its outputs whose names end in "logits".

    Args:
        draw: what every single random number is; None: as in training.

    Returns:
        float32 [num_examples, ...] each.
    """
    try:
        micro_batch = build_micro_batch(examples, ids, packing).to(torch.device("cpu"))
        with ExampleDropout(0, 0, ids, micro_batch.layout, example_dims=dims, draw=draw):
            outputs = model(**micro_batch.inputs)
        named = [value for name, value in outputs.items() if name.endswith("logits")]
        return [micro_batch.unpack(value) for value in named]
    except Exception as error:  # bros wants boxes, xmod a language: each says so in its way
        raise InputError(
            f"{type(model).__name__} fails on a plain batch of this data; it may need inputs that "
            f"this task does not give: {first_line(error)}"
        ) from error


def _outputs_by_example(
    model: nn.Module,
    examples: Examples,
    ids: np.ndarray,
    packing: Packing | None = None,
    dims: Sequence[int | None] = (),
) -> list[list[Tensor]]:
    """The same for every example, without what belongs to padding."""
    outputs = _outputs(model, examples, ids, packing, dims)
    # One answer for a whole example, or a row for each of its positions.
    ends = [int(length) or None for length in examples.output_lengths[ids]]
    return [[output[number][:end] for output in outputs] for number, end in enumerate(ends)]


def _leaves_parameters_out(model: nn.Module, examples: Examples, ids: np.ndarray) -> bool:
    model.train()
    sum(output.sum() for output in _outputs(model, examples, ids)).backward()
    unused = any(p.requires_grad and p.grad is None for p in model.parameters())
    model.zero_grad(set_to_none=True)
    model.eval()
    return unused
