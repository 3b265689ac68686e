"""Hashed dropout as one launch: what `hashing.drop` computes, to the last bit."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from tagloop.training.masks.hashing import threshold
from tagloop.training.masks.kernels.hash import is_kept, narrowed, number_of

TILE = 1024  # elements that one program computes


def launch_drop(
    input: Tensor,
    keys: Tensor,
    positions: Tensor | None,
    call_key: Tensor,
    example_dim: int | None,
    p: float,
) -> Tensor:
    """`hashing.drop` for a tensor of at most four dimensions, with any strides."""
    output = torch.empty(input.shape, dtype=input.dtype, device=input.device)
    missing = 4 - input.ndim
    sizes = (1,) * missing + tuple(input.shape)
    width = min(triton.next_power_of_2(sizes[3]), TILE)
    num_lines = sizes[0] * sizes[1] * sizes[2]
    grid = (triton.cdiv(num_lines, TILE // width), triton.cdiv(sizes[3], width))
    if example_dim is None:
        example_dim, positions = -1, None
    with torch.cuda.device_of(input):
        _drop_kernel[grid](
            input, output, keys, positions, call_key,
            num_lines, *sizes[1:], *(0,) * missing, *input.stride(), threshold(p), 1 / (1 - p),
            NDIM=input.ndim, EXAMPLE_DIM=example_dim, LINES=TILE // width, WIDTH=width,
        )  # fmt: skip
    return output


@triton.jit(do_not_specialize=["num_lines", "size1", "size2", "stride0", "stride1", "threshold"])
def _drop_kernel(
    input, output, keys, positions, call_key,
    num_lines, size1, size2, size3, stride0, stride1, stride2, stride3, threshold, factor,
    NDIM: tl.constexpr, EXAMPLE_DIM: tl.constexpr, LINES: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    """One program computes LINES x WIDTH elements; a line has the elements of a last dimension.

    A tensor with fewer than four dimensions has leading sizes of 1 here, but its dimensions keep
    the numbers that the hash knows. Offsets are int64, for a tensor of 2**31 elements or more.
    """
    line = tl.program_id(0).to(tl.int64) * LINES + tl.arange(0, LINES)[:, None]
    at3 = tl.program_id(1).to(tl.int64) * WIDTH + tl.arange(0, WIDTH)[None, :]
    at2, at1, at0 = line % size2, line // size2 % size1, line // size2 // size1
    is_line, is_entry = line < num_lines, at3 < size3
    rows = tl.load(call_key)
    places = tl.zeros([LINES, 1], tl.int32)
    entries = number_of(at3, NDIM - 1) | 1
    if positions is None:
        for dim in tl.static_range(NDIM - 1):
            at = at2 if dim == NDIM - 2 else (at1 if dim == NDIM - 3 else at0)
            if dim == EXAMPLE_DIM:
                rows = tl.load(keys + at, mask=is_line, other=0) ^ rows
            else:
                places += number_of(at, dim)
        if EXAMPLE_DIM == NDIM - 1:  # Each entry of a line belongs to another example.
            rows = tl.load(keys + at3, mask=is_entry, other=0) ^ rows
            entries = tl.full([1, WIDTH], 1, tl.int32)
    else:  # [rows, columns, entries] or [rows, heads, columns, columns]
        first_cell = (at1 if NDIM == 3 else at0) * size2
        rows = tl.load(keys + first_cell + at2, mask=is_line, other=0) ^ rows
        position = tl.load(positions + first_cell + at2, mask=is_line, other=0)
        places += number_of(position, NDIM - 2)
        if NDIM == 4:
            places += number_of(at1, 1)
            position = tl.load(positions + first_cell + at3, mask=is_line & is_entry, other=0)
            entries = number_of(position, 3) | 1
    rows = (places & -2) ^ rows if EXAMPLE_DIM == -1 else (places & -2) + rows
    source = input + at0 * stride0 + at1 * stride1 + at2 * stride2 + at3 * stride3
    value = tl.load(source, mask=is_line & is_entry, other=0).to(tl.float32)
    # The two products of the reference, in its order: 0 * -1 is -0, and 0 * inf is no number.
    value = value * is_kept(rows, entries, threshold).to(tl.float32) * factor
    target = output + line * size3 + at3
    tl.store(target, narrowed(value, output.dtype.element_ty), mask=is_line & is_entry)
