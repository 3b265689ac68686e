"""Attention with hashed dropout as operators: one launch forward and one backward (kernels)."""

import torch
from torch import Tensor

from tagloop.training.hashing import LIBRARY

MOST_WIDTH = 128  # of a head; a wider one does not fit into the shared memory of every GPU


def fits_kernel(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> bool:
    """True if the kernels compute attention of these tensors, on a device that has kernels.

    Args:
        query, key, value: as torch's attention takes them.
        mask: as torch's attention takes it. The gradient of a mask is not computed.
    """
    half = torch.is_autocast_enabled(query.device.type) and query.dtype == torch.float32
    return (
        (query.ndim, key.ndim, value.ndim) == (4, 4, 4)
        and query.dtype == key.dtype == value.dtype
        and not half
        and query.shape[-1] == value.shape[-1] <= MOST_WIDTH
        and key.shape[:3] == value.shape[:3]
        and key.shape[0] == query.shape[0]
        and (mask is None or not mask.requires_grad)
    )


def attend(*arguments) -> Tensor:
    """softmax(query key^T scale + mask), dropout, times value: [rows, heads, queries, width].

    Args:
        arguments: query [rows, heads, queries, width]; key, value [rows, heads of keys, keys,
            width]; mask, as torch's attention takes it, [rows, heads, queries, keys] or sizes of 1
            in their place; keys, positions and call_key, as in `hashing.drop`; is_causal; scale;
            the rate of dropout.
    """
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
    from tagloop.training.kernels.attend import launch_attend

    return launch_attend(*arguments)


def _launch_backward(*arguments):
    from tagloop.training.kernels.attend import launch_attend_backward

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


_HASHED = "Tensor? mask, Tensor keys, Tensor? positions, Tensor call_key, "
_HASHED += "bool is_causal, float scale, float p"
LIBRARY.define(
    f"attend(Tensor query, Tensor key, Tensor value, {_HASHED}) -> (Tensor, Tensor, Tensor)"
)
LIBRARY.define(
    "attend_backward(Tensor grad, Tensor query, Tensor key, Tensor value, Tensor output, "
    f"Tensor highest, Tensor total, {_HASHED}) -> (Tensor, Tensor, Tensor)"
)
LIBRARY.impl("attend", _launch, "CompositeExplicitAutograd")
LIBRARY.impl("attend_backward", _launch_backward, "CompositeExplicitAutograd")
torch.library.register_fake("tagloop::attend", _fake, lib=LIBRARY)
torch.library.register_fake("tagloop::attend_backward", _fake_backward, lib=LIBRARY)
torch.library.register_autograd("tagloop::attend", _backward, setup_context=_remember, lib=LIBRARY)
attend_operator = torch.ops.tagloop.attend.default
attend_backward_operator = torch.ops.tagloop.attend_backward.default
