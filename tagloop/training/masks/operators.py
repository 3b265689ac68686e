"""Hashed dropout, and attention with hashed dropout, as operators of torch.

Where the kernels compute, an operator is one launch. A compiled model calls the operators, into
which the compiler does not look: int32 arithmetic of inductor is not modulo 2**32. Other models
call the autograd functions, which take less time per call than the backward passes that torch
makes for operators.
"""

import torch
from torch import Tensor

from tagloop.training.masks.hashing import drop
from tagloop.training.masks.kernels.use import uses_kernels

MOST_WIDTH = 128  # of a head; a wider one does not fit into the shared memory of every GPU


class DropFunction(torch.autograd.Function):
    """`drop` with a backward pass, which calls `drop` on the gradient."""

    @staticmethod
    def forward(ctx, *inputs):
        _remember_drop(ctx, inputs, None)
        on_kernels = uses_kernels(inputs[0].device, inputs[0].dtype)
        return (drop_operator if on_kernels else drop)(*inputs)

    @staticmethod
    def backward(ctx, grad: Tensor):
        return DropFunction.apply(grad, *ctx.saved_tensors, *ctx.constants), *[None] * 5


def _drop_anywhere(input: Tensor, *call) -> Tensor:
    if uses_kernels(input.device, input.dtype) and input.ndim <= 4:
        from tagloop.training.masks.kernels.drop import launch_drop

        return launch_drop(input, *call)
    return drop(input, *call)


def _fake_drop(input, *_):
    return torch.empty(input.shape, dtype=input.dtype, device=input.device)


def _remember_drop(ctx, inputs, output):
    _, keys, positions, call_key, *ctx.constants = inputs
    ctx.save_for_backward(keys, positions, call_key)


def _drop_backward(ctx, grad: Tensor):
    return drop_operator(grad, *ctx.saved_tensors, *ctx.constants), *[None] * 5


def fits_kernel(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> bool:
    """True if the kernels compute attention of these tensors, on a device that has kernels.

    Args:
        query, key, value: as torch's attention takes them.
        mask: as torch's attention takes it. The gradient of a mask is not computed.
    """
    is_cast = torch.is_autocast_enabled(query.device.type) and query.dtype == torch.float32
    return (
        (query.ndim, key.ndim, value.ndim) == (4, 4, 4)
        and query.dtype == key.dtype == value.dtype
        and not is_cast
        and query.shape[-1] == value.shape[-1] <= MOST_WIDTH
        and key.shape[:3] == value.shape[:3]
        and key.shape[0] == query.shape[0]
        and (mask is None or not mask.requires_grad)
    )


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    keys: Tensor,
    positions: Tensor | None,
    call_key: Tensor,
    is_causal: bool,
    scale: float,
    p: float,
) -> Tensor:
    """softmax(query key^T scale + mask), dropout, times value; only where kernels compute.

    Args:
        query: [rows, heads, queries, width].
        key, value: [rows, heads of keys, keys, width]; the number of heads is a multiple.
        mask: as torch's attention takes it; expands to [rows, heads, queries, keys].
        keys, positions, call_key: as in `hashing.drop`; the first dimension holds the examples.
        is_causal: True if a query sees only the keys up to its own place.
        p: the probability that dropout sets a probability to 0.

    Returns:
        [rows, heads, queries, width], in memory [rows, queries, heads, width].
    """
    arguments = query, key, value, mask, keys, positions, call_key, is_causal, scale, p
    if torch.compiler.is_compiling():
        return attend_operator(*arguments)[0]
    return AttendFunction.apply(*arguments)


class AttendFunction(torch.autograd.Function):
    """The operators for a model that is not compiled, which takes less time per call."""

    @staticmethod
    def forward(ctx, *inputs):
        outputs = attend_operator(*inputs)
        _remember(ctx, inputs, outputs)
        return outputs[0]

    @staticmethod
    def backward(ctx, grad: Tensor):
        return _backward(ctx, grad)


def _launch(*arguments):
    from tagloop.training.masks.kernels.attend import launch_attend

    return launch_attend(*arguments)


def _launch_backward(*arguments):
    from tagloop.training.masks.kernels.attend import launch_attend_backward

    return launch_attend_backward(*arguments)


def _fake(query, *_):
    rows, heads, num_queries, width = query.shape
    output = query.new_empty(rows, num_queries, heads, width).transpose(1, 2)
    line = query.new_empty(rows, heads, num_queries, dtype=torch.float32)
    return output, line, torch.empty_like(line)


def _fake_backward(grad, query, key, value, *_):
    return tuple(torch.empty_like(each) for each in (query, key, value))


def _remember(ctx, inputs, output):
    query, key, value, mask, keys, positions, call_key, *ctx.constants = inputs
    ctx.save_for_backward(query, key, value, *output, mask, keys, positions, call_key)


def _backward(ctx, grad, *_):
    gradients = attend_backward_operator(grad, *ctx.saved_tensors, *ctx.constants)
    return *gradients, *[None] * 7


def _register(library: torch.library.Library) -> None:
    """Define the operators, with results for tensors without data and with backward passes."""
    hashed = "Tensor keys, Tensor? positions, Tensor call_key"
    options = f"Tensor? mask, {hashed}, bool is_causal, float scale, float p"
    three, name = "(Tensor, Tensor, Tensor)", library.ns
    inputs = "Tensor query, Tensor key, Tensor value"
    results = "Tensor output, Tensor highest, Tensor total"
    library.define(f"drop(Tensor input, {hashed}, int? example_dim, float p) -> Tensor")
    library.define(f"attend({inputs}, {options}) -> {three}")
    library.define(f"attend_backward(Tensor grad, {inputs}, {results}, {options}) -> {three}")
    for operator, function, fake in (
        ("drop", _drop_anywhere, _fake_drop),
        ("attend", _launch, _fake),
        ("attend_backward", _launch_backward, _fake_backward),
    ):
        library.impl(operator, function, "CompositeExplicitAutograd")
        torch.library.register_fake(f"{name}::{operator}", fake, lib=library)
    for operator, backward, remember in (
        ("drop", _drop_backward, _remember_drop),
        ("attend", _backward, _remember),
    ):
        torch.library.register_autograd(
            f"{name}::{operator}", backward, setup_context=remember, lib=library
        )


_LIBRARY = torch.library.Library("tagloop", "FRAGMENT")
if not hasattr(torch.ops.tagloop, "drop"):  # A process may import this module twice.
    _register(_LIBRARY)
drop_operator = torch.ops.tagloop.drop.default
attend_operator = torch.ops.tagloop.attend.default
attend_backward_operator = torch.ops.tagloop.attend_backward.default
