"""Dropout with masks that depend on the example, and not on the device that computes it.

    model.activation_checkpointing_enable(  # This call is needed only if layers are recomputed.
        {"use_reentrant": False, "context_fn": recompute_alike}
    )
    with ExampleDropout(seed, step, example_ids):  # around the forward pass of a micro-batch
        outputs = model(**inputs)

A hash of (seed, step, number of the call, example, coordinates within the example) decides whether
an element is dropped. So masks, losses and gradients are the same for every cut of a global batch
and every padded length. The backward pass computes a mask again, so that no mask is kept. This
needs less memory than torch's own dropout and, on a CPU, less time.

The outputs of some models still depend on the cut: these models look across padding, or draw
random numbers that this file does not replace. dry_pass.py finds out whether a model does so.
"""

import contextlib
import functools
import hashlib
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from tagloop.batches.packing import Layout, MicroBatch
from tagloop.options.config import Config

# Odd constants of the golden ratio and of murmur3's finalizer, as int32.
GOLDEN, MURMUR_1, MURMUR_2 = 0x9E3779B1 - 2**32, 0x85EBCA6B - 2**32, 0xC2B2AE35 - 2**32
MAX_CALLS = 4096  # If a forward pass has more calls of dropout, the first masks are used again.


class ExampleDropout(TorchFunctionMode):
    """Replaces dropout, and attention with dropout, during the forward pass of one micro-batch.

    One dimension of a call's tensor holds the examples. `find_example_dims` finds this dimension
    for every call before training. The other dimensions are coordinates within an example. Each
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
        example_dims: for every call the dimension of the examples, or None for a tensor without
            examples. The dimension is guessed if a call is not in this list, or if its tensor does
            not fit: then it is the first of the two leading dimensions whose size is the number of
            examples.
        draw: the value of every torch.rand([]), for a dry pass; None: a hash.

    Attributes:
        shapes: the shapes of the tensors of all calls, in order.
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
        example_dims: Sequence[int | None] = (),
        draw: float | None = None,
    ):
        super().__init__()
        self.draw = draw
        self.num_calls = self.num_draws = 0
        self.seed, self.step, self.example_dims = seed, step, example_dims
        self.shapes: list[tuple[int, ...]] = []
        digest = hashlib.blake2b(f"{seed} {step}".encode(), digest_size=8).digest()
        update, mask = int.from_bytes(digest[:4]), int.from_bytes(digest[4:])
        keys = [_signed(int(example) * GOLDEN ^ mask) for example in example_ids]
        # The keys of examples are even numbers, and those of calls are odd numbers: see _drop.
        self.keys = _to_device(_mix(torch.tensor(keys or [0], dtype=torch.int32)) & -2, device)
        self.positions = None
        if layout:
            self.keys, self.positions = self.keys[layout.owners], layout.positions
        # The keys are a tensor, because Python numbers would be constants to a compiler: it would
        # compile the model again for every update.
        calls = torch.arange(MAX_CALLS, dtype=torch.int32) * GOLDEN + _signed(update)
        self.call_keys = _to_device(_mix(calls) | 1, device)
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
        example_dim = self._example_dim(rows)
        self.shapes.append(tuple(rows.shape))
        if example_dim is None:
            self.unplaced.add(tuple(rows.shape))
        if self.keys.device != input.device:
            self.keys = self.keys.to(input.device)
        if self.call_keys.device != input.device:
            self.call_keys = self.call_keys.to(input.device)
        call_key = self.call_keys[self.num_calls % MAX_CALLS]
        self.num_calls += 1
        drop = _compiled_drop if torch.compiler.is_compiling() else _DropFunction.apply
        output = drop(rows, self.keys, self.positions, call_key, example_dim, p).view(input.shape)
        return input.copy_(output) if inplace else output

    def _example_dim(self, rows: Tensor) -> int | None:
        if self.positions is not None:
            num_rows, columns = self.positions.shape
            shapes = {
                3: (num_rows, columns, rows.shape[-1]),
                4: (num_rows, rows.shape[1], columns, columns),
            }
            return 0 if rows.shape == shapes.get(rows.ndim) else None
        if self.num_calls < len(self.example_dims):
            dim = self.example_dims[self.num_calls]
            if dim is None or (dim < rows.ndim and rows.shape[dim] == len(self.keys)):
                return dim
        candidates = rows.shape[: min(2, rows.ndim - 1)]
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
        if enable_gqa:
            groups = query.shape[-3] // key.shape[-3]
            key, value = (each.repeat_interleave(groups, dim=-3) for each in (key, value))
        scores = (query * (query.shape[-1] ** -0.5 if scale is None else scale)) @ key.mT
        lowest = torch.finfo(scores.dtype).min / 2  # With an infinity a row could become NaN.
        if is_causal:
            attn_mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
        if attn_mask is not None and attn_mask.dtype == torch.bool:
            hidden = ~attn_mask
            attn_mask = torch.zeros_like(hidden, dtype=scores.dtype).masked_fill_(hidden, lowest)
        if attn_mask is not None:
            scores = scores + attn_mask.to(scores.dtype).clamp(min=lowest)
        precise = torch.promote_types(scores.dtype, torch.float32)
        probabilities = scores.softmax(-1, dtype=precise).to(value.dtype)
        return self._dropout(probabilities, dropout_p) @ value


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


def _drop(
    input: Tensor,
    keys: Tensor,
    positions: Tensor | None,
    call_key: Tensor,
    example_dim: int | None,
    p: float,
) -> Tensor:
    """Set elements to 0 where the hash says so; multiply all other elements by 1 / (1 - p).

    Every element gets the hash rows * entries, of two int32 tensors that broadcast to the input:

        case               rows                                         entries
        no examples        coordinates                                  last coordinate
        not packed         example + coordinates                        last coordinate
        packed, 3 dims     example + position                           last coordinate
        packed, 4 dims     example + head and position of the query     position of the key

    Args:
        input: [..., entries]; dimension example_dim holds the examples.
        keys: int32, even numbers: [num_examples], or in packed rows [rows, columns], the key of
            every sub-token's example.
        positions: int64 [rows, columns], number of every sub-token in its example; None if rows
            are not packed.
        call_key: int32 scalar, an odd number, so that the product with it is a permutation.
        example_dim: None if no dimension holds the examples.
        p: the probability that an element becomes 0.
    """
    shape = tuple(1 if dim == example_dim else size for dim, size in enumerate(input.shape))
    places, entries = _tables(shape, example_dim, input.device)
    if example_dim is None:
        rows = places ^ call_key
    elif positions is None:
        rows = (keys ^ call_key).view(_along(example_dim, input.ndim)) + places
    elif input.ndim == 3:
        rows = ((keys ^ call_key) + places[0, :, 0][positions])[..., None]
    else:
        heads = places[0, :, :, 0][:, positions].transpose(0, 1)
        rows = ((keys ^ call_key)[:, None] + heads)[..., None]
        entries = entries[positions][:, None, None]
    hashed = rows * entries  # int32 [*input.shape]; int32 arithmetic is modulo 2**32.
    # x (2x + 1) is a permutation whose high bits depend on all bits of x (RC6, Rivest 1998).
    hashed = hashed.addcmul_(hashed, hashed, value=2)
    kept = torch.empty(input.shape, dtype=input.dtype, device=input.device)
    # A comparison with a boolean result, and then a conversion, would take twice as long.
    torch.ge(hashed, int(p * 2**32) - 2**31, out=kept)
    return kept.mul_(input).mul_(1 / (1 - p))


class _DropFunction(torch.autograd.Function):
    """_drop as a function with a backward pass, which calls _drop on the gradient."""

    @staticmethod
    def forward(ctx, *inputs):
        _remember(ctx, inputs, None)
        return _drop(*inputs)

    @staticmethod
    def backward(ctx, grad: Tensor):
        return _DropFunction.apply(grad, *ctx.saved_tensors, *ctx.constants), *[None] * 5


def _remember(ctx, inputs, output):
    _, keys, positions, call_key, *ctx.constants = inputs
    ctx.save_for_backward(keys, positions, call_key)


def _compiled_backward(ctx, grad: Tensor):
    return _compiled_drop(grad, *ctx.saved_tensors, *ctx.constants), *[None] * 5


# A compiled model calls this operator, into which the compiler does not look, because int32
# arithmetic of inductor is not modulo 2**32. Other models call _DropFunction, which takes 0.1 ms
# less per call.
_compiled_drop = torch.library.custom_op("tagloop::drop", _drop, mutates_args=())
_compiled_drop.register_fake(
    lambda input, *_: torch.empty(input.shape, dtype=input.dtype, device=input.device)
)
_compiled_drop.register_autograd(_compiled_backward, setup_context=_remember)


@functools.lru_cache(maxsize=256)  # An entry has a few kilobytes.
def _tables(shape: torch.Size, example_dim: int | None, device: torch.device):
    """The part of the hash that depends only on coordinates within an example.

    Returns:
        int32 tensors that broadcast to `shape`: even numbers for all dimensions but the last,
        [..., 1], and odd numbers for the last dimension.
    """
    numbers = [
        _mix(torch.arange(size, dtype=torch.int32) * GOLDEN + _signed((dim + 2) * MURMUR_1))
        for dim, size in enumerate(shape)
    ]
    if example_dim is not None:
        numbers[example_dim] = torch.zeros(1, dtype=torch.int32)
    places = sum(n.view(_along(dim, len(shape))) for dim, n in enumerate(numbers[:-1]))
    return _to_device(places & -2, device), _to_device(numbers[-1] | 1, device)


def _to_device(tensor: Tensor, device: torch.device | None) -> Tensor:
    """Copy a tensor to a device; page-locked memory lets a GPU compute during the copy."""
    if device is not None and device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def _mix(keys):
    """The finalizer of murmur3: two rounds of xorshift and multiply.

    Args:
        keys: an int32 tensor.
    """
    for shift, factor in ((16, MURMUR_1), (13, MURMUR_2)):
        # The operator >> fills with the sign bit, so a mask sets these bits to 0.
        keys = (keys ^ (keys >> shift & (1 << (32 - shift)) - 1)) * factor
    return keys ^ (keys >> 16 & 0xFFFF)


def _along(dim: int, ndim: int) -> tuple[int, ...]:
    """The shape [1, ..., -1, ..., 1] that turns a vector into a tensor along dimension `dim`."""
    return tuple(-1 if at == dim else 1 for at in range(ndim))


def _signed(number: int) -> int:
    """The lowest 32 bits of a number, read as an int32."""
    return (number + 2**31) % 2**32 - 2**31


def dropout_of(
    config: Config, step: int, micro_batch: MicroBatch, example_dims: Sequence[int | None]
) -> contextlib.AbstractContextManager:
    """The context for the forward pass of a micro-batch, as --dropout says.

    Args:
        step: the number of updates before this one.
        micro_batch: on the device of the model.
        example_dims: for every call of dropout, as in `ExampleDropout`.
    """
    if config.dropout == "per_process":
        return contextlib.nullcontext()
    return ExampleDropout(
        config.seed,
        step,
        micro_batch.example_ids,
        micro_batch.layout,
        micro_batch.labels.device,
        example_dims,
    )


def find_example_dims(
    two: Sequence[tuple[int, ...]], three: Sequence[tuple[int, ...]]
) -> tuple[int | None, ...]:
    """Find the dimension of the examples for every call of dropout in a forward pass.

    Args:
        two, three: shapes of the tensors of all calls (`ExampleDropout.shapes`), for a batch of
            two examples and for a batch of three examples of the same length. A shape has at least
            two dimensions.

    Returns:
        For every call the dimension, 0 or 1, whose size is 2 in the one batch and 3 in the other;
        None if a tensor has no dimension of this kind.

    >>> find_example_dims([(2, 9, 16), (9, 2, 16), (2, 16)], [(3, 9, 16), (9, 3, 16), (2, 16)])
    (0, 1, None)
    """
    dims = []
    for small, large in zip(two, three, strict=False):
        grew = [dim for dim in (0, 1) if small[dim : dim + 1] == (2,) and large[dim] == 3]
        dims.append(grew[0] if grew else None)
    return tuple(dims)
