"""Dropout that belongs to the example, not to the device.

    model.activation_checkpointing_enable(  # only if layers are to be recomputed
        {"use_reentrant": False, "context_fn": recompute_alike}
    )
    with ExampleDropout(seed, step, example_ids):  # around the forward of a micro-batch
        outputs = model(**inputs)

Whether an element is dropped is a hash of (seed, step, number of the call, example, coordinates
within the example), so masks, losses and gradients are the same for every cut of a global batch
and every padded length. Masks are hashed again in the backward pass instead of being kept: cheaper
than torch's own dropout, in memory and (on a CPU) in time.

Whether a model really keeps to that, dry_pass.py finds out: it may look across padding, or draw
random numbers of other kinds, which nothing here touches.
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
MAX_CALLS = 4096  # of a forward; more would meet the first masks again


class ExampleDropout(TorchFunctionMode):
    """Answers dropout, and attention with dropout, during the forward of one micro-batch.

    In which dimension of a call's tensor the examples lie is learned beforehand, by
    `find_example_dims`, and told by the number of the call. All other dimensions are coordinates,
    each hashed by itself, so that no index contains a length. A tensor without examples (DeBERTa's
    embeddings of distances) gets one mask per update, the same in every process; the set
    `unplaced` holds its shape. In packed rows a sub-token is told by [rows, columns, ...] and
    [rows, heads, columns, columns], and has the mask that it would have in a row of its own.

    A single random number, torch.rand([]), is a hash of (seed, step, number of the draw): layers
    that LayerDrop skips are the same ones for every cut.

    Not answered, so torch's own: alpha and feature dropout, dropout inside nn.MultiheadAttention
    and torch's LSTMs, flash and flex attention, anything that calls torch.bernoulli.

    Args:
        seed, step: of the run, and of the update.
        example_ids: int [num_examples]; none for a micro-batch without work, which is one row.
        layout: where the examples lie in packed rows; None: a row for each example.
        device: of the model.
        example_dims: of every call, the dimension of the examples, or None for a tensor without
            examples. Without this argument, or where a model makes other calls than it made when
            they were learned: the first dimension with as many entries as there are examples,
            else the second.
        draw: answers every torch.rand([]), for a dry pass; None: the hash.
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
        self.shapes: list[tuple[int, ...]] = []  # of the calls, in order
        digest = hashlib.blake2b(f"{seed} {step}".encode(), digest_size=8).digest()
        update, mask = int.from_bytes(digest[:4]), int.from_bytes(digest[4:])
        keys = [_signed(int(example) * GOLDEN ^ mask) for example in example_ids]
        self.keys = _sent(_mix(torch.tensor(keys or [0], dtype=torch.int32)) & -2, device)  # even
        self.positions = None
        if layout:
            self.keys, self.positions = self.keys[layout.owners], layout.positions
        # A tensor: numbers are constants to a compiled model, which would be compiled every update.
        calls = torch.arange(MAX_CALLS, dtype=torch.int32) * GOLDEN + _signed(update)
        self.call_keys = _sent(_mix(calls) | 1, device)
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
        # torch switches the mode off in here, so nothing below comes back to it.
        return self.answers.get(function, function)(*args, **(kwargs or {}))

    def _dropout(self, input: Tensor, p: float = 0.5, training: bool = True, inplace=False):
        if not training or not 0 < p < 1 or not input.numel():
            return F.dropout(input, p, training, inplace)  # draws nothing
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
        drop = _compiled_drop if torch.compiler.is_compiling() else _Dropped.apply
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
        """torch.rand: one number is hashed; more of them, or a compiled one, are torch's own."""
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

        A query that may look at nothing looks at everything here, where torch's gives zeros.
        """
        if dropout_p == 0:
            return F.scaled_dot_product_attention(
                query, key, value, attn_mask, 0.0, is_causal, scale=scale, enable_gqa=enable_gqa
            )
        if enable_gqa:
            groups = query.shape[-3] // key.shape[-3]
            key, value = (each.repeat_interleave(groups, dim=-3) for each in (key, value))
        scores = (query * (query.shape[-1] ** -0.5 if scale is None else scale)) @ key.mT
        lowest = torch.finfo(scores.dtype).min / 2  # with an infinity, a row may become NaN
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
    """context_fn of torch.utils.checkpoint: a recomputed layer meets the masks of its forward."""
    if not ExampleDropout.entered:  # evaluation
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
    """Zeros where the hash says so, the rest times 1 / (1 - p).

    Args:
        input: [..., entries] with examples in dimension example_dim, if anywhere.
        keys: int32, even: [num_examples], or [rows, columns] of every sub-token's example.
        positions: int64 [rows, columns], of every sub-token in its example, if rows are packed.
        call_key: int32 scalar, odd: a product with an odd number is a permutation.
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
    hashed = rows * entries  # int32 [*input.shape]; int32 arithmetic wraps
    # x (2x + 1): a permutation whose high bits depend on all bits of x (RC6, Rivest 1998).
    hashed = hashed.addcmul_(hashed, hashed, value=2)
    kept = torch.empty(input.shape, dtype=input.dtype, device=input.device)
    torch.ge(hashed, int(p * 2**32) - 2**31, out=kept)  # by way of bool: twice as slow
    return kept.mul_(input).mul_(1 / (1 - p))


class _Dropped(torch.autograd.Function):
    """_drop with its backward, which is the same on the gradient."""

    @staticmethod
    def forward(ctx, *inputs):
        _remember(ctx, inputs, None)
        return _drop(*inputs)

    @staticmethod
    def backward(ctx, grad: Tensor):
        return _Dropped.apply(grad, *ctx.saved_tensors, *ctx.constants), *[None] * 5


def _remember(ctx, inputs, output):
    _, keys, positions, call_key, *ctx.constants = inputs
    ctx.save_for_backward(keys, positions, call_key)


def _compiled_backward(ctx, grad: Tensor):
    return _compiled_drop(grad, *ctx.saved_tensors, *ctx.constants), *[None] * 5


# For a compiler an operator that it does not see into: inductor's int32 arithmetic does not wrap.
# As an autograd function where nothing is compiled, for that costs 0.1 ms less a call.
_compiled_drop = torch.library.custom_op("tagloop::drop", _drop, mutates_args=())
_compiled_drop.register_fake(
    lambda input, *_: torch.empty(input.shape, dtype=input.dtype, device=input.device)
)
_compiled_drop.register_autograd(_compiled_backward, setup_context=_remember)


@functools.lru_cache(maxsize=256)  # a few kilobytes each
def _tables(shape: torch.Size, example_dim: int | None, device: torch.device):
    """What keys of rows and entries owe to the coordinates: mixed numbers for each dimension."""
    numbers = [
        _mix(torch.arange(size, dtype=torch.int32) * GOLDEN + _signed((dim + 2) * MURMUR_1))
        for dim, size in enumerate(shape)
    ]
    if example_dim is not None:
        numbers[example_dim] = torch.zeros(1, dtype=torch.int32)
    places = sum(n.view(_along(dim, len(shape))) for dim, n in enumerate(numbers[:-1]))
    return _sent(places & -2, device), _sent(numbers[-1] | 1, device)


def _sent(tensor: Tensor, device: torch.device | None) -> Tensor:
    """On a device; what comes to a GPU from page-locked memory does not wait for it."""
    if device is not None and device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def _mix(keys):
    """murmur3's finalizer: two rounds of xorshift and multiply. int32 tensor, or int mod 2**32."""
    for shift, factor in ((16, MURMUR_1), (13, MURMUR_2)):
        # >> repeats the sign, hence the mask.
        keys = (keys ^ (keys >> shift & (1 << (32 - shift)) - 1)) * factor
    return keys ^ (keys >> 16 & 0xFFFF)


def _along(dim: int, ndim: int) -> tuple[int, ...]:
    """The shape that lays a vector along one of ndim dimensions."""
    return tuple(-1 if at == dim else 1 for at in range(ndim))


def _signed(number: int) -> int:
    """The int32 of a number's lowest 32 bits."""
    return (number + 2**31) % 2**32 - 2**31


def dropout_of(
    config: Config, step: int, micro_batch: MicroBatch, example_dims: Sequence[int | None]
) -> contextlib.AbstractContextManager:
    """The context for the forward of a micro-batch in update `step`, as --dropout says.

    Args:
        example_dims: of every call, as `ExampleDropout` takes them.
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
    """In which dimension the examples lie, for every call of a forward.

    Args:
        two, three: shapes of the calls (`ExampleDropout.shapes`) of a batch of two examples, and
            of three that are padded alike.

    Returns:
        For every call 0 or 1, the dimension that grew from two to three, or None if none did. A
        call has a tensor of at least two dimensions.

    >>> find_example_dims([(2, 9, 16), (9, 2, 16), (2, 16)], [(3, 9, 16), (9, 3, 16), (2, 16)])
    (0, 1, None)
    """
    dims = []
    for small, large in zip(two, three, strict=False):
        grew = [dim for dim in (0, 1) if small[dim : dim + 1] == (2,) and large[dim] == 3]
        dims.append(grew[0] if grew else None)
    return tuple(dims)
