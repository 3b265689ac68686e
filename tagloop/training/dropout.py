"""Dropout with masks that depend on the example, and not on the device that computes it.

    model.activation_checkpointing_enable(  # This call is needed only if layers are recomputed.
        {"use_reentrant": False, "context_fn": recompute_alike}
    )
    with ExampleDropout(seed, step, example_ids):  # around the forward pass of a micro-batch
        outputs = model(**inputs)

A hash of (seed, step, number of the call, example, coordinates within the example) decides whether
an element is dropped (masks/hashing.py). So masks, losses and gradients are the same for every cut
of a global batch and every padded length. On a GPU with Triton a call is one launch forward and one
backward (masks/kernels/). The backward pass computes a mask again, so that no mask is kept.

The outputs of some models still depend on the cut: these models look across padding, or draw
random numbers that this file does not replace. dry_pass.py finds out whether a model does so.
"""

import contextlib
import functools
import hashlib
from collections.abc import Sequence
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from tagloop.batches.packing import Layout, MicroBatch
from tagloop.options.config import Config
from tagloop.training.masks.hashing import MAX_CALLS, build_keys
from tagloop.training.masks.kept import KeptMasks, MaskFunction
from tagloop.training.masks.kernels.use import DTYPES, uses_kernels
from tagloop.training.masks.operators import DropFunction, attend, drop_operator, fits_kernel


class DropoutCall(NamedTuple):
    """What is known beforehand of one call of dropout in a forward pass.

    Attributes:
        example_dim: the dimension of the tensor that holds the examples; None: the tensor has no
            examples.
        group: the numbers of all calls whose tensors have the same shape and whose rate is the
            same; the number of this call is among them.
    """

    example_dim: int | None
    group: tuple[int, ...]


class ExampleDropout(TorchFunctionMode):
    """Replaces dropout, and attention with dropout, during the forward pass of one micro-batch.

    One dimension of a call's tensor holds the examples. `find_calls` finds this dimension for every
    call before training. The other dimensions are coordinates within an example. Each
    coordinate is hashed by itself, so that a mask does not depend on the sizes of the tensor. A
    tensor without examples (DeBERTa's embeddings of distances) gets one mask per update, the same
    in every process; the set `unplaced` holds the shapes of these tensors. In packed rows a tensor
    has the shape [rows, columns, ...] or [rows, heads, columns, columns], and a sub-token has the
    mask that it would have in a row of its own.

    A single random number, torch.rand([]), is a hash of (seed, step, number of the draw). So
    LayerDrop skips the same layers for every cut.

    This class does not replace alpha and feature dropout, dropout inside nn.MultiheadAttention and
    torch's LSTMs, flash and flex attention, and functions that call torch.bernoulli.

    Args:
        seed: of the run.
        step: the number of updates before this one.
        example_ids: ints [num_examples]; empty for a micro-batch without work, which is one row.
        layout: where the examples lie in packed rows; None: a row for each example.
        device: the device of the model.
        calls: what is known of every call. The dimension of the examples is guessed if a call is
            not in this list, or if its tensor does not fit: then it is the first of the two leading
            dimensions whose size is the number of examples. Where no kernel computes, the masks of
            a group are made together and kept until the backward pass (masks/kept.py).
        draw: the value of every torch.rand([]), for a dry pass; None: a hash.

    Attributes:
        seen: the shape of the tensor and the rate of every call, in order.
        unplaced: the shapes of tensors in which no dimension holds the examples.
    """

    entered: ClassVar[list["ExampleDropout"]] = []

    def __init__(
        self,
        seed: int,
        step: int,
        example_ids: Sequence[int],
        layout: Layout | None = None,
        device: torch.device | None = None,
        calls: Sequence[DropoutCall] = (),
        draw: float | None = None,
    ):
        super().__init__()
        self.draw = draw
        self.num_calls = self.num_draws = 0
        self.seed, self.step, self.calls = seed, step, calls
        self.seen: list[tuple[tuple[int, ...], float]] = []
        self.keys, self.call_keys = build_keys(seed, step, example_ids, device)
        self.positions = None
        if layout:
            self.keys, self.positions = self.keys[layout.owners], layout.positions
        # The dtypes of attention that kernels compute; found here, where no compiler looks.
        self.kernel_dtypes = [dtype for dtype in DTYPES if uses_kernels(self.keys.device, dtype)]
        self.kept = KeptMasks()
        self.added: list[tuple[tuple, Tensor]] = []
        self.unplaced: set[tuple[int, ...]] = set()
        self.answers = {
            F.dropout: self._dropout,
            torch.dropout: self._dropout,
            torch.dropout_: functools.partial(self._dropout, inplace=True),
            F.scaled_dot_product_attention: self._attention,
            torch.rand: self._draw,
        }

    def __enter__(self):
        self.entered.append(self)
        return super().__enter__()

    def __exit__(self, *raised):
        self.entered.pop()
        return super().__exit__(*raised)

    def __torch_function__(self, function, types, args=(), kwargs=None):
        # torch switches this mode off during the call, so a replacement may call torch's dropout.
        return self.answers.get(function, function)(*args, **(kwargs or {}))

    def _dropout(self, input: Tensor, p: float = 0.5, training: bool = True, inplace=False):
        if not training or not 0 < p < 1 or not input.numel():
            return F.dropout(input, p, training, inplace)  # This call draws no random numbers.
        rows = input if input.ndim > 1 else input.reshape(-1, 1)
        compiling = torch.compiler.is_compiling()
        number, example_dim = self._begin_call(rows.shape, p, input.device)
        group = self.calls[number].group if number < len(self.calls) and not compiling else ()
        masks = None
        if group:
            place = self.keys, self.positions, self.call_keys, example_dim, p
            masks = self.kept.find(rows, group, *place)
        if masks is not None:
            output = MaskFunction.apply(rows, masks, group.index(number))
        else:
            drop = drop_operator if compiling else DropFunction.apply
            call_key = self.call_keys[number % MAX_CALLS]
            output = drop(rows, self.keys, self.positions, call_key, example_dim, p)
        output = output.view(input.shape)
        return input.copy_(output) if inplace else output

    def _begin_call(
        self, shape: torch.Size, p: float, device: torch.device
    ) -> tuple[int, int | None]:
        """The number of a call, and the dimension of the examples in its tensor, [*shape]."""
        example_dim = self._example_dim(shape)
        self.seen.append((tuple(shape), p))
        if example_dim is None:
            self.unplaced.add(tuple(shape))
        if self.keys.device != device:
            self.keys = self.keys.to(device)
        if self.call_keys.device != device:
            self.call_keys = self.call_keys.to(device)
        self.num_calls += 1
        return self.num_calls - 1, example_dim

    def _example_dim(self, shape: torch.Size) -> int | None:
        if self.positions is not None:
            num_rows, columns = self.positions.shape
            shapes = {
                3: (num_rows, columns, shape[-1]),
                4: (num_rows, shape[1], columns, columns),
            }
            return 0 if shape == shapes.get(len(shape)) else None
        if self.num_calls < len(self.calls):
            dim = self.calls[self.num_calls].example_dim
            if dim is None or (dim < len(shape) and shape[dim] == len(self.keys)):
                return dim
        candidates = shape[: min(2, len(shape) - 1)]
        return candidates.index(len(self.keys)) if len(self.keys) in candidates else None

    def _draw(self, *size, **options) -> Tensor:
        """Replace torch.rand of one number by a hash.

        Several numbers, and numbers in a compiled model, come from torch's own generator.
        """
        number = torch.empty(*size, **options)
        if number.numel() != 1 or torch.compiler.is_compiling():
            return torch.rand(*size, **options)
        text = f"{self.seed} {self.step} draw {self.num_draws}".encode()
        drawn = int.from_bytes(hashlib.blake2b(text, digest_size=3).digest()) / 2**24
        self.num_draws += 1
        return number.fill_(drawn if self.draw is None else self.draw)

    def _attention(
        self, query, key, value, attn_mask=None, dropout_p=0.0, is_causal=False,
        scale=None, enable_gqa=False,
    ):  # fmt: skip
        """softmax(query key^T scale + mask) value, as torch documents it, [batch, heads, ...].

        If the mask hides all keys from a query, the query sees all of them; the result of torch's
        own function would be zeros.
        """
        if dropout_p == 0:
            return F.scaled_dot_product_attention(
                query, key, value, attn_mask, 0.0, is_causal, scale=scale, enable_gqa=enable_gqa
            )
        scale = query.shape[-1] ** -0.5 if scale is None else scale
        shape = (*query.shape[:-1], key.shape[-2])
        if (
            query.dtype in self.kernel_dtypes
            and query.device == self.keys.device
            and 0 < dropout_p < 1
            and fits_kernel(query, key, value, attn_mask)
            and self._example_dim(shape) == 0
        ):
            number, _ = self._begin_call(shape, dropout_p, query.device)
            return attend(
                query, key, value, attn_mask, self.keys, self.positions,
                self.call_keys[number % MAX_CALLS], is_causal, scale, dropout_p,
            )  # fmt: skip
        if enable_gqa:
            groups = query.shape[-3] // key.shape[-3]
            key, value = (each.repeat_interleave(groups, dim=-3) for each in (key, value))
        scores = (query * scale) @ key.mT
        if is_causal or attn_mask is not None:
            scores = scores + self._to_add(attn_mask, scores)
        precise = torch.promote_types(scores.dtype, torch.float32)
        probabilities = scores.softmax(-1, dtype=precise).to(value.dtype)
        return self._dropout(probabilities, dropout_p) @ value

    def _to_add(self, attn_mask: Tensor | None, scores: Tensor) -> Tensor:
        """The mask to add to scores; made once for the layers that have the same mask.

        Args:
            attn_mask: as torch's attention takes it; None: a causal mask.
        """
        kind = attn_mask, scores.shape[-2:], scores.dtype
        for known, added in self.added:
            if known[0] is attn_mask and known[1:] == kind[1:]:
                return added
        lowest = torch.finfo(scores.dtype).min / 2  # With an infinity a row could become NaN.
        visible = attn_mask
        if attn_mask is None:
            visible = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
        if visible.dtype == torch.bool:
            added = torch.zeros_like(visible, dtype=scores.dtype).masked_fill_(~visible, lowest)
        else:
            added = visible.to(scores.dtype).clamp(min=lowest)
        # A model has at most two masks: for full and for sliding attention. The gradient of a mask
        # that is learned would be summed in another order.
        if not added.requires_grad and not torch.compiler.is_compiling():
            self.added = [*self.added[-1:], (kind, added)]
        return added


def recompute_alike() -> tuple[contextlib.AbstractContextManager, ...]:
    """The context_fn of torch.utils.checkpoint, so that a recomputed layer gets the same masks.

    Returns:
        A context for the forward pass, and a context in which a layer is computed again.
    """
    if not ExampleDropout.entered:  # An evaluation has no dropout.
        return contextlib.nullcontext(), contextlib.nullcontext()
    dropout = ExampleDropout.entered[-1]
    before = dropout.num_calls, dropout.num_draws

    @contextlib.contextmanager
    def recompute():
        now = dropout.num_calls, dropout.num_draws
        dropout.num_calls, dropout.num_draws = before
        try:
            with dropout:
                yield
        finally:
            dropout.num_calls, dropout.num_draws = now

    return contextlib.nullcontext(), recompute()


def dropout_of(
    config: Config, step: int, micro_batch: MicroBatch, calls: Sequence[DropoutCall]
) -> contextlib.AbstractContextManager:
    """The context for the forward pass of a micro-batch, as --dropout says.

    Args:
        step: the number of updates before this one.
        micro_batch: on the device of the model.
        calls: what is known of every call of dropout, as in `ExampleDropout`.
    """
    if config.dropout == "per_process":
        return contextlib.nullcontext()
    return ExampleDropout(
        config.seed,
        step,
        micro_batch.example_ids,
        micro_batch.layout,
        micro_batch.labels.device,
        calls,
    )


def find_calls(
    two: Sequence[tuple[tuple[int, ...], float]], three: Sequence[tuple[tuple[int, ...], float]]
) -> tuple[DropoutCall, ...]:
    """Find the dimension of the examples, and the group, of every call in a forward pass.

    Args:
        two, three: shapes of the tensors and rates of all calls (`ExampleDropout.seen`), for a
            batch of two examples and for a batch of three examples of the same length. A shape has
            at least two dimensions.

    Returns:
        For every call the dimension, 0 or 1, whose size is 2 in the one batch and 3 in the other,
        or None if its tensor has no dimension of this kind; and the numbers of the calls that are
        like it in both batches.

    >>> find_calls([((2, 9), 0.1), ((9, 2), 0.1)], [((3, 9), 0.1), ((9, 3), 0.1)])
    (DropoutCall(example_dim=0, group=(0,)), DropoutCall(example_dim=1, group=(1,)))
    """
    pairs = list(zip(two, three, strict=False))
    groups: dict[tuple, list[int]] = {}
    for number, pair in enumerate(pairs):
        groups.setdefault(pair, []).append(number)
    calls = []
    for pair in pairs:
        (small, _), (large, _) = pair
        grew = [dim for dim in (0, 1) if small[dim : dim + 1] == (2,) and large[dim] == 3]
        calls.append(DropoutCall(grew[0] if grew else None, tuple(groups[pair])))
    return tuple(calls)
