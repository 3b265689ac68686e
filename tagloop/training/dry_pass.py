"""A dry pass: a few examples through the model before training, to find out what it does.

All processes run it with the same weights and examples and without random numbers.
"""

import dataclasses
import itertools
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from tagloop.batches.examples import Examples
from tagloop.batches.packing import LONG, Packing, build_micro_batch
from tagloop.errors import InputError
from tagloop.training.dropout import DropoutCall, ExampleDropout, find_calls
from tagloop.wording import first_line

# Outputs differ if their difference is larger than this share of the largest output. The order of
# float32 sums changes outputs by less.
TOLERANCE = 1e-5
# The longer of two examples has at most this many sub-tokens more, so that a dry pass stays cheap.
MARGIN = 64


@dataclass(frozen=True)
class DryPass:
    """The result of a dry pass.

    Attributes:
        looks_across_padding: True if the outputs of an example depend on its padding, or on the
            other examples of its batch. Results are then independent of the cut only if a batch
            holds examples that do not pad each other.
        dropout_depends_on_cut: True if outputs with dropout still change with the cut. The model
            then calls a dropout that dropout.py does not replace, or a dropout whose tensor does
            not show which example it belongs to, or it draws random numbers in another way.
        packing: how examples may share a row; None if they may not, or if the caller of dry_pass
            did not want packing.
        does_not_pack: True if the caller wanted packing, but examples in one row would see each
            other.
        has_unused_parameters: True if a backward pass leaves parameters without gradient, as
            Longformer's global attention does, or may leave some, as LayerDrop does. DDP needs to
            know this.
        dropout_calls: what is known of every call of dropout.
    """

    looks_across_padding: bool
    dropout_depends_on_cut: bool
    packing: Packing | None
    does_not_pack: bool
    has_unused_parameters: bool
    dropout_calls: tuple[DropoutCall, ...] = ()

    @property
    def warnings(self) -> list[str]:
        """Sentences for the header that warn the user of properties of the architecture."""
        lines = []
        if self.looks_across_padding:
            lines.append(
                "the architecture looks at padding: a batch holds examples of one length, so that "
                "results do not depend on the cut; --pad_to_max_length does the same for larger "
                "batches"
            )
        if self.dropout_depends_on_cut:
            lines.append(
                "the architecture draws dropout masks that depend on how a batch is cut; another "
                "number of processes gives other masks, and so other losses"
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
    """Run two examples of different lengths through the model, in one batch and in two batches.

    Args:
        model: in float32, on the CPU. Afterwards it has no gradients and is in evaluation mode.
        splits: the function uses the first split in which lengths differ.
        dropout: True if outputs with dropout are compared, too; if False, the result says that
            dropout does not depend on the cut.
        backward: True if the function looks for unused parameters; if False, the result says that
            the model has none.
        pack_to_multiple_of: the number of columns of a packed row is a multiple of this number;
            None: the function does not look for a packing.

    Raises:
        InputError: the model fails on a plain batch of these examples.
    """
    splits = list(splits)
    examples = next((s for s in splits if s.lengths.min() < s.lengths.max()), splits[0])
    ids = _two_lengths(examples.lengths)
    across = _disagree(model.eval(), examples, ids)
    calls, skips_layers, draws = (), False, False
    if dropout:
        calls = _find_calls(model.train(), examples, ids[:1])
        skips_layers, draws = _find_draws(model, examples, ids)
        draws = draws or (not across and _disagree(model, examples, ids, calls=calls))
    elif backward:
        skips_layers, _ = _find_draws(model.train(), examples, ids)
    packs = pack_to_multiple_of and not across and splits[0].packable
    packing = None
    if packs:
        packing = _find_packing(
            model, splits[0], pack_to_multiple_of, dropout=dropout and not draws, calls=calls
        )
    model.eval()
    unused = backward and (skips_layers or _leaves_parameters_out(model, examples, ids[:1]))
    return DryPass(across, draws, packing, bool(packs) and packing is None, unused, calls)


@torch.no_grad()
def _find_calls(model: nn.Module, examples: Examples, ids: np.ndarray) -> tuple[DropoutCall, ...]:
    """What is known of every call of dropout, as `find_calls` finds it."""
    seen = []
    for number in (2, 3):
        batch = build_micro_batch(examples, np.repeat(ids, number)).to(torch.device("cpu"))
        with ExampleDropout(0, 0, batch.example_ids) as mode:
            model(**batch.inputs)
        seen.append(mode.seen)
    return find_calls(*seen)


@torch.no_grad()
def _find_draws(model: nn.Module, examples: Examples, ids: np.ndarray) -> tuple[bool, bool]:
    """Find out how the model draws random numbers.

    A changed state of a generator shows that the model drew numbers, even if no output changed.

    Returns:
        True if single random numbers (torch.rand([])) change the outputs, as with LayerDrop; and
        True if the model also draws numbers in another way.
    """
    before = _generator_states()
    lowest, highest = (_outputs(model, examples, ids, draw=draw) for draw in (0.0, 1 - 2**-24))
    draws = _generator_states() != before
    return not all(map(torch.equal, lowest, highest)), draws


def _generator_states() -> tuple:
    """The states of the global random generators of torch, NumPy and Python."""
    kind, keys, *rest = np.random.get_state()
    return torch.get_rng_state().tolist(), kind, keys.tolist(), rest, random.getstate()


def _find_packing(
    model: nn.Module,
    examples: Examples,
    multiple: int,
    *,
    dropout: bool,
    calls: Sequence[DropoutCall],
) -> Packing | None:
    """A packing in which every example has the outputs that it has in a row of its own.

    The three shortest examples share a row. The longest example is in the batch, too, because
    sliding attention sees only a part of a long example. With dropout, an example as long as the
    three shortest together is long enough.

    Returns:
        None if the model has no packing of this kind.
    """
    order = np.argsort(examples.lengths, kind="stable")
    short, longest = order[:3], order[-1:]
    num_shorter = np.searchsorted(examples.lengths[order], examples.lengths[short].sum())
    ids = np.union1d(short, longest)
    few = np.union1d(short, order[num_shorter : num_shorter + 1])
    most = int(examples.padded_lengths.max())
    after_padding = (getattr(model.config, "pad_token_id", None) or 0) + 1
    slides = "sliding_attention" in (getattr(model.config, "layer_types", None) or ())
    sliding_window = model.config.sliding_window if slides else None
    # MPNet's first position is 2, and does not depend on the id of its padding token.
    for causal, first_position in itertools.product((False, True), (0, after_padding, 2)):
        packing = Packing(first_position, multiple, most, causal, sliding_window)
        try:
            differ = _disagree(model.eval(), examples, ids, packing) or (
                dropout and _disagree(model.train(), examples, few, packing, calls)
            )
        except InputError:  # The model takes no mask of this kind, or has too few positions.
            continue
        if not differ:
            return _widen(packing, model, examples) if examples.wide_rows else packing
    return None


def _widen(packing: Packing, model: nn.Module, examples: Examples) -> Packing:
    """A packing with rows of up to LONG columns, if the model has the same outputs in such rows.

    The longest example and the shortest one share a row that is about as long as rows can become.
    A model may fail there, because it has fewer positions than the row has columns.
    """
    order = np.argsort(examples.lengths, kind="stable")
    columns = min(2 * packing.max_columns, LONG)
    if len(order) < 2 or columns < examples.lengths[order[[0, -1]]].sum():
        return packing
    wide = dataclasses.replace(packing, max_columns=columns)
    forced = dataclasses.replace(wide, shapes=((1, columns),))
    try:
        return packing if _disagree(model.eval(), examples, order[[0, -1]], forced) else wide
    except InputError:
        return packing


@torch.no_grad()
def _disagree(
    model: nn.Module,
    examples: Examples,
    ids: np.ndarray,
    packing: Packing | None = None,
    calls: Sequence[DropoutCall] = (),
) -> bool:
    """True if the outputs of examples change when each of them has a batch of its own."""
    together = _outputs_by_example(model, examples, ids, packing, calls)
    for number in range(len(ids)):
        (alone,) = _outputs_by_example(model, examples, ids[number : number + 1], calls=calls)
        for beside_others, by_itself in zip(together[number], alone, strict=True):
            difference = (beside_others - by_itself).abs().max()
            if bool(difference > TOLERANCE * by_itself.abs().max()):
                return True
    return False


def _two_lengths(lengths: np.ndarray) -> np.ndarray:
    """Ids of the shortest example and of a longer one: int64 [2], or [1] if none is longer."""
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
    calls: Sequence[DropoutCall] = (),
    draw: float | None = None,
) -> list[Tensor]:
    """The outputs of the model for a batch whose names end in "logits".

    Args:
        draw: the value of every single random number; None: a hash, as in training.

    Returns:
        A tensor float32 [num_examples, ...] for each of these outputs.

    Raises:
        InputError: the model fails on this batch.
    """
    try:
        micro_batch = build_micro_batch(examples, ids, packing).to(torch.device("cpu"))
        with ExampleDropout(0, 0, ids, micro_batch.layout, calls=calls, draw=draw):
            outputs = model(**micro_batch.inputs)
        named = [value for name, value in outputs.items() if name.endswith("logits")]
        return [micro_batch.unpack(value) for value in named]
    # Models raise all kinds of errors: bros needs boxes, and xmod needs a language.
    except Exception as error:
        raise InputError(
            f"{type(model).__name__} fails on a plain batch of this data; it may need inputs that "
            f"this task does not give: {first_line(error)}"
        ) from error


def _outputs_by_example(
    model: nn.Module,
    examples: Examples,
    ids: np.ndarray,
    packing: Packing | None = None,
    calls: Sequence[DropoutCall] = (),
) -> list[list[Tensor]]:
    """For every example its part of each of these outputs, without the rows of padding cells."""
    outputs = _outputs(model, examples, ids, packing, calls)
    # An output has one answer for a whole example, or a row for each of its sub-tokens.
    ends = [int(length) or None for length in examples.output_lengths[ids]]
    return [[output[number][:end] for output in outputs] for number, end in enumerate(ends)]


def _leaves_parameters_out(model: nn.Module, examples: Examples, ids: np.ndarray) -> bool:
    model.train()
    sum(output.sum() for output in _outputs(model, examples, ids)).backward()
    unused = any(p.requires_grad and p.grad is None for p in model.parameters())
    model.zero_grad(set_to_none=True)
    model.eval()
    return unused
