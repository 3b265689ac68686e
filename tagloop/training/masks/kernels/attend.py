"""Attention with hashed dropout as one launch forward and one backward.

A program computes a block of queries and goes through the keys block by block (Dao 2022), so that
neither scores nor masks of dropout are ever stored. The backward pass computes both again from the
highest score and the total of every query. Sums are float32, and their order is always the same.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from tagloop.training.masks.hashing import threshold
from tagloop.training.masks.kernels.hash import INTERPRETED, is_kept, narrowed, number_of

HIDDEN = tl.constexpr(torch.finfo(torch.float32).min / 2)  # of the scores; infinity makes NaN


def launch_attend(
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
) -> tuple[Tensor, Tensor, Tensor]:
    """The forward pass; see `operators.attend` for arguments and results."""
    rows, heads, num_queries, width = query.shape
    # In memory [rows, queries, heads, width]: the next layer takes all heads of a query as one.
    output = query.new_empty(rows, num_queries, heads, width).transpose(1, 2)
    highest = query.new_empty(rows, heads, num_queries, dtype=torch.float32)
    total = torch.empty_like(highest)
    query, key, value = _with_whole_lines(query, key, value)
    sizes = block_sizes(width, query.dtype)
    with torch.cuda.device_of(query):
        _forward_kernel[triton.cdiv(num_queries, sizes["BLOCK"]), heads, rows](
            query, key, value, output, highest, total,
            query.stride(), key.stride(), value.stride(), output.stride(),
            *_as_bytes(mask, query, key), keys, positions, call_key,
            num_queries, key.shape[2], width, heads // key.shape[1],
            scale, threshold(p), 1 / (1 - p),
            CAUSAL=is_causal, **sizes,
        )  # fmt: skip
    return output, highest, total


def launch_attend_backward(
    grad: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    output: Tensor,
    highest: Tensor,
    total: Tensor,
    mask: Tensor | None,
    keys: Tensor,
    positions: Tensor | None,
    call_key: Tensor,
    is_causal: bool,
    scale: float,
    p: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of query, key and value."""
    rows, heads, num_queries, width = query.shape
    gradients = [torch.empty_like(each) for each in (query, key, value)]
    inputs = _with_whole_lines(grad, query, key, value)
    sizes = block_sizes(width, query.dtype)
    num_blocks = triton.cdiv(max(num_queries, key.shape[2]), sizes["BLOCK"])
    with torch.cuda.device_of(query):
        _backward_kernel[num_blocks, key.shape[1], rows](
            *inputs, output, highest, total, *gradients,
            *(each.stride() for each in (*inputs, output, *gradients)),
            *_as_bytes(mask, query, key), keys, positions, call_key,
            num_queries, key.shape[2], width, heads // key.shape[1],
            scale, threshold(p), 1 / (1 - p),
            CAUSAL=is_causal, **sizes,
        )  # fmt: skip
    return tuple(gradients)


def _with_whole_lines(*tensors: Tensor) -> list[Tensor]:
    """Copies of those tensors whose last dimension has gaps; the others as they are."""
    return [each if each.stride(-1) == 1 else each.contiguous() for each in tensors]


def _as_bytes(
    mask: Tensor | None, query: Tensor, key: Tensor
) -> tuple[Tensor | None, tuple[int, ...]]:
    """A mask and its strides for [rows, heads, queries, keys]; a boolean mask as bytes."""
    if mask is None:
        return None, (0, 0, 0, 0)
    mask = mask.expand(*query.shape[:3], key.shape[2])
    return mask.view(torch.uint8) if mask.dtype == torch.bool else mask, mask.stride()


def block_sizes(width: int, dtype: torch.dtype) -> dict[str, int]:
    """The places of a block, which fits into the shared memory of every GPU, and its width."""
    block_width = max(16, triton.next_power_of_2(width))
    return {"BLOCK": 32 if block_width * dtype.itemsize <= 256 else 16, "WIDTH": block_width}


@triton.jit
def _product(left, right):
    """The matrix product of two blocks in float32; float32 is not shortened to TF32."""
    if INTERPRETED:  # The interpreter has no product of bfloat16.
        left, right = left.to(tl.float32), right.to(tl.float32)
    return tl.dot(left, right, input_precision="ieee")


@triton.jit
def _cells(tensor, strides, row, head, at, WIDTH: tl.constexpr):
    """Pointers to a block [places, WIDTH] of a tensor [rows, heads, places, width]."""
    start = tensor + row.to(tl.int64) * strides[0] + head.to(tl.int64) * strides[1]
    return start + at.to(tl.int64)[:, None] * strides[2] + tl.arange(0, WIDTH)[None, :]


@triton.jit
def _load(tensor, strides, row, head, at, size, width, WIDTH: tl.constexpr):
    """A block of a tensor, with zeros beyond its end."""
    inside = (at < size)[:, None] & (tl.arange(0, WIDTH) < width)[None, :]
    return tl.load(_cells(tensor, strides, row, head, at, WIDTH), mask=inside, other=0)


@triton.jit
def _store(tensor, strides, row, head, at, size, width, values, WIDTH: tl.constexpr):
    inside = (at < size)[:, None] & (tl.arange(0, WIDTH) < width)[None, :]
    values = narrowed(values, tensor.dtype.element_ty)
    tl.store(_cells(tensor, strides, row, head, at, WIDTH), values, mask=inside)


@triton.jit
def _scores(
    query, key, mask, mask_strides, row, head, at_query, at_key, num_queries, num_keys, scale,
    CAUSAL: tl.constexpr,
):  # fmt: skip
    """The scores of a block, float32 [queries, keys]; -inf for a key beyond the last."""
    scores = _product(query, tl.trans(key)) * scale
    at_query, at_key = at_query.to(tl.int64)[:, None], at_key.to(tl.int64)[None, :]
    if mask is not None:
        cells = mask + row.to(tl.int64) * mask_strides[0] + head.to(tl.int64) * mask_strides[1]
        cells += at_query * mask_strides[2] + at_key * mask_strides[3]
        inside = (at_query < num_queries) & (at_key < num_keys)
        added = tl.load(cells, mask=inside, other=0)
        if mask.dtype.element_ty == tl.uint8:
            scores += tl.where(added != 0, 0.0, HIDDEN)
        else:
            scores += tl.maximum(added.to(tl.float32), HIDDEN)
    if CAUSAL:
        scores += tl.where(at_key <= at_query, 0.0, HIDDEN)
    return tl.where(at_key < num_keys, scores, float("-inf"))


@triton.jit
def _kept(keys, positions, call_key, row, head, at_query, at_key, num_queries, num_keys, threshold):
    """True where dropout keeps a probability: [queries, keys], as in `hashing.hash_elements`."""
    rows = tl.load(call_key)
    if positions is None:
        rows = tl.load(keys + row) ^ rows
    else:
        first_cell = row.to(tl.int64) * num_queries
        is_query, is_key = at_query < num_queries, at_key < num_keys
        rows = tl.load(keys + first_cell + at_query, mask=is_query, other=0) ^ rows
        at_query = tl.load(positions + first_cell + at_query, mask=is_query, other=0)
        at_key = tl.load(positions + first_cell + at_key, mask=is_key, other=0)
    rows = rows + ((number_of(head, 1) + number_of(at_query, 2)) & -2)
    entries = number_of(at_key, 3) | 1
    return is_kept(rows[:, None], entries[None, :], threshold)


@triton.jit
def _forward_kernel(
    query, key, value, output, highest, total,
    query_strides, key_strides, value_strides, output_strides,
    mask, mask_strides, keys, positions, call_key,
    num_queries, num_keys, width, group, scale, threshold, factor,
    CAUSAL: tl.constexpr, BLOCK: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    """A program computes a block of queries of one head; `group` heads share a head of keys."""
    at_query = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    head, row = tl.program_id(1), tl.program_id(2)
    queries = _load(query, query_strides, row, head, at_query, num_queries, width, WIDTH)
    most = tl.full([BLOCK], float("-inf"), tl.float32)
    sum_ = tl.zeros([BLOCK], tl.float32)
    outputs = tl.zeros([BLOCK, WIDTH], tl.float32)
    for start in range(0, num_keys, BLOCK):
        at_key = start + tl.arange(0, BLOCK)
        of_keys = _load(key, key_strides, row, head // group, at_key, num_keys, width, WIDTH)
        values = _load(value, value_strides, row, head // group, at_key, num_keys, width, WIDTH)
        scores = _scores(
            queries, of_keys, mask, mask_strides, row, head, at_query, at_key,
            num_queries, num_keys, scale, CAUSAL,
        )  # fmt: skip
        kept = _kept(
            keys, positions, call_key, row, head, at_query, at_key, num_queries, num_keys, threshold
        )
        most_now = tl.maximum(most, tl.max(scores, 1))
        shares, shrink = tl.exp(scores - most_now[:, None]), tl.exp(most - most_now)
        sum_ = sum_ * shrink + tl.sum(shares, 1)
        dropped = narrowed(tl.where(kept, shares * factor, 0.0), value.dtype.element_ty)
        outputs = outputs * shrink[:, None] + _product(dropped, values)
        most = most_now
    outputs = outputs / sum_[:, None]
    _store(output, output_strides, row, head, at_query, num_queries, width, outputs, WIDTH)
    line = (row.to(tl.int64) * tl.num_programs(1) + head) * num_queries + at_query
    tl.store(highest + line, most, mask=at_query < num_queries)
    tl.store(total + line, sum_, mask=at_query < num_queries)


@triton.jit
def _block_gradients(
    grads, outputs, queries, of_keys, values, highest, total, mask, mask_strides,
    keys, positions, call_key, row, head, num_heads, at_query, at_key, num_queries, num_keys,
    scale, threshold, factor, CAUSAL: tl.constexpr,
):  # fmt: skip
    """Dropped probabilities, and the gradients of the products before scaling: [queries, keys]."""
    scores = _scores(
        queries, of_keys, mask, mask_strides, row, head, at_query, at_key,
        num_queries, num_keys, scale, CAUSAL,
    )  # fmt: skip
    kept = _kept(
        keys, positions, call_key, row, head, at_query, at_key, num_queries, num_keys, threshold
    )
    line = (row.to(tl.int64) * num_heads + head) * num_queries + at_query
    most = tl.load(highest + line, mask=at_query < num_queries, other=0)
    sum_ = tl.load(total + line, mask=at_query < num_queries, other=1)
    probabilities = tl.exp(scores - most[:, None]) / sum_[:, None]
    of_dropped = _product(grads, tl.trans(values))
    of_probabilities = tl.where(kept, of_dropped * factor, 0.0)
    # The sum of probability times gradient over all keys is that of output times gradient.
    shift = tl.sum(grads.to(tl.float32) * outputs.to(tl.float32), 1)
    of_scores = probabilities * (of_probabilities - shift[:, None]) * scale
    dropped = tl.where(kept, probabilities * factor, 0.0)
    return narrowed(dropped, grads.dtype), narrowed(of_scores, grads.dtype)


@triton.jit
def _backward_kernel(
    grad, query, key, value, output, highest, total, query_grad, key_grad, value_grad,
    grad_strides, query_strides, key_strides, value_strides, output_strides,
    query_grad_strides, key_grad_strides, value_grad_strides,
    mask, mask_strides, keys, positions, call_key,
    num_queries, num_keys, width, group, scale, threshold, factor,
    CAUSAL: tl.constexpr, BLOCK: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    """A program computes the gradients of a block of keys and values, and then of queries."""
    here = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    key_head, row = tl.program_id(1), tl.program_id(2)
    num_heads = tl.num_programs(1) * group
    of_keys = _load(key, key_strides, row, key_head, here, num_keys, width, WIDTH)
    values = _load(value, value_strides, row, key_head, here, num_keys, width, WIDTH)
    of_key = tl.zeros([BLOCK, WIDTH], tl.float32)
    of_value = tl.zeros([BLOCK, WIDTH], tl.float32)
    for number in range(group):
        head = key_head * group + number
        for start in range(0, num_queries, BLOCK):
            at = start + tl.arange(0, BLOCK)
            queries = _load(query, query_strides, row, head, at, num_queries, width, WIDTH)
            grads = _load(grad, grad_strides, row, head, at, num_queries, width, WIDTH)
            outputs = _load(output, output_strides, row, head, at, num_queries, width, WIDTH)
            dropped, of_scores = _block_gradients(
                grads, outputs, queries, of_keys, values, highest, total, mask, mask_strides,
                keys, positions, call_key, row, head, num_heads, at, here, num_queries, num_keys,
                scale, threshold, factor, CAUSAL,
            )  # fmt: skip
            of_value += _product(tl.trans(dropped), grads)
            of_key += _product(tl.trans(of_scores), queries)
    _store(key_grad, key_grad_strides, row, key_head, here, num_keys, width, of_key, WIDTH)
    _store(value_grad, value_grad_strides, row, key_head, here, num_keys, width, of_value, WIDTH)
    for number in range(group):
        head = key_head * group + number
        queries = _load(query, query_strides, row, head, here, num_queries, width, WIDTH)
        grads = _load(grad, grad_strides, row, head, here, num_queries, width, WIDTH)
        outputs = _load(output, output_strides, row, head, here, num_queries, width, WIDTH)
        of_query = tl.zeros([BLOCK, WIDTH], tl.float32)
        for start in range(0, num_keys, BLOCK):
            at = start + tl.arange(0, BLOCK)
            of_keys = _load(key, key_strides, row, key_head, at, num_keys, width, WIDTH)
            values = _load(value, value_strides, row, key_head, at, num_keys, width, WIDTH)
            _, of_scores = _block_gradients(
                grads, outputs, queries, of_keys, values, highest, total, mask, mask_strides,
                keys, positions, call_key, row, head, num_heads, here, at, num_queries, num_keys,
                scale, threshold, factor, CAUSAL,
            )  # fmt: skip
            of_query += _product(of_scores, of_keys)
        _store(query_grad, query_grad_strides, row, head, here, num_queries, width, of_query, WIDTH)
