"""The hash that decides which elements dropout sets to 0, in plain torch.

kernels/drop.py computes the same hash on a GPU; the functions of this file are its reference.
"""

import functools
import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor

# Odd constants of the golden ratio and of murmur3's finalizer, as int32.
GOLDEN, MURMUR_1, MURMUR_2 = 0x9E3779B1 - 2**32, 0x85EBCA6B - 2**32, 0xC2B2AE35 - 2**32
MAX_CALLS = 4096  # If a forward pass has more calls of dropout, the first masks are used again.


def build_keys(
    seed: int, step: int, example_ids: Sequence[int], device: torch.device | None
) -> tuple[Tensor, Tensor]:
    """The keys of a micro-batch.

    Args:
        seed: of the run.
        step: the number of updates before this one.
        example_ids: ints [num_examples]; empty for a micro-batch without work, which is one row.

    Returns:
        int32 [num_examples], even numbers, and int32 [MAX_CALLS], odd numbers: the keys of the
        examples and those of the calls of dropout. The keys are tensors, because Python numbers
        would be constants to a compiler: it would compile the model again for every update.
    """
    digest = hashlib.blake2b(f"{seed} {step}".encode(), digest_size=8).digest()
    update, mask = int.from_bytes(digest[:4]), int.from_bytes(digest[4:])
    keys = [_signed(int(example) * GOLDEN ^ mask) for example in example_ids]
    examples = _mix(torch.tensor(keys or [0], dtype=torch.int32)) & -2
    calls = _mix(torch.arange(MAX_CALLS, dtype=torch.int32) * GOLDEN + _signed(update)) | 1
    return _to_device(examples, device), _to_device(calls, device)


def drop(
    input: Tensor,
    keys: Tensor,
    positions: Tensor | None,
    call_key: Tensor,
    example_dim: int | None,
    p: float,
) -> Tensor:
    """Set elements to 0 where the hash says so; multiply all other elements by 1 / (1 - p).

    Args:
        input: [..., entries]; dimension example_dim holds the examples.
        keys, positions, example_dim: as in `hash_elements`.
        call_key: int32 scalar, an odd number.
        p: the probability that an element becomes 0.

    Returns:
        [*input.shape], contiguous, with the dtype of the input.
    """
    hashed = hash_elements(input.shape, keys, positions, call_key, example_dim)[0]
    return _keep(hashed, p, input.dtype).mul_(input).mul_(1 / (1 - p))


def hash_elements(
    shape: Sequence[int],
    keys: Tensor,
    positions: Tensor | None,
    call_keys: Tensor,
    example_dim: int | None,
) -> Tensor:
    """The hash of every element of the tensors of some calls, all of one shape.

    Every element gets the hash rows * entries, of two int32 tensors that broadcast to the tensor:

        case               rows                                         entries
        no examples        coordinates                                  last coordinate
        not packed         example + coordinates                        last coordinate
        packed, 3 dims     example + position                           last coordinate
        packed, 4 dims     example + head and position of the query     position of the key

    Args:
        shape: [..., entries]; dimension example_dim holds the examples.
        keys: int32, even numbers: [num_examples], or in packed rows [rows, columns], the key of
            every sub-token's example.
        positions: int64 [rows, columns], number of every sub-token in its example; None if rows
            are not packed.
        call_keys: int32 [calls] or a scalar, odd numbers, so that the product with one of them is
            a permutation.
        example_dim: None if no dimension holds the examples.

    Returns:
        int32 [calls, *shape]: an element is dropped if its hash is below a limit.
    """
    ndim, device = len(shape), keys.device
    call_keys = call_keys.view(-1, *[1] * ndim)
    sizes = tuple(1 if dim == example_dim else size for dim, size in enumerate(shape))
    places, entries = _tables(sizes, example_dim, device)
    if example_dim is None:
        rows = places ^ call_keys
    elif positions is None:
        rows = (keys.view(along(example_dim, ndim)) ^ call_keys) + places
    elif ndim == 3:
        rows = (keys[..., None] ^ call_keys) + places[0, :, 0][positions][..., None]
    else:
        heads = places[0, :, :, 0][:, positions].transpose(0, 1)
        rows = (keys[:, None, :, None] ^ call_keys) + heads[..., None]
        entries = entries[positions][:, None, None]
    hashed = rows * entries  # int32 arithmetic is modulo 2**32.
    # x (2x + 1) is a permutation whose high bits depend on all bits of x (RC6, Rivest 1998).
    return hashed.addcmul_(hashed, hashed, value=2)


def threshold(p: float) -> int:
    """An element is dropped with probability p if its hash is below this number."""
    return int(p * 2**32) - 2**31


def dimension_constant(dim: int) -> int:
    """The number that tells the coordinates of one dimension from those of another, as an int32."""
    return _signed((dim + 2) * MURMUR_1)


def along(dim: int, ndim: int) -> tuple[int, ...]:
    """The shape [1, ..., -1, ..., 1] that turns a vector into a tensor along dimension `dim`."""
    return tuple(-1 if at == dim else 1 for at in range(ndim))


def _keep(hashed: Tensor, p: float, dtype: torch.dtype) -> Tensor:
    """1 where an element is kept, else 0."""
    kept = torch.empty(hashed.shape, dtype=dtype, device=hashed.device)
    # A comparison with a boolean result, and then a conversion, would take twice as long.
    return torch.ge(hashed, threshold(p), out=kept)


@functools.lru_cache(maxsize=256)  # An entry has a few kilobytes.
def _tables(
    shape: torch.Size, example_dim: int | None, device: torch.device
) -> tuple[Tensor, Tensor]:
    """The part of the hash that depends only on coordinates within an example.

    Returns:
        int32 tensors that broadcast to `shape`: even numbers for all dimensions but the last,
        [..., 1], and odd numbers for the last dimension.
    """
    numbers = [
        _mix(torch.arange(size, dtype=torch.int32) * GOLDEN + dimension_constant(dim))
        for dim, size in enumerate(shape)
    ]
    if example_dim is not None:
        numbers[example_dim] = torch.zeros(1, dtype=torch.int32)
    places = sum(n.view(along(dim, len(shape))) for dim, n in enumerate(numbers[:-1]))
    return _to_device(places & -2, device), _to_device(numbers[-1] | 1, device)


def _to_device(tensor: Tensor, device: torch.device | None) -> Tensor:
    """Copy a tensor to a device; page-locked memory lets a GPU compute during the copy."""
    if device is not None and device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def _mix(keys: Tensor) -> Tensor:
    """The finalizer of murmur3: two rounds of xorshift and multiply.

    Args:
        keys: an int32 tensor.
    """
    for shift, factor in ((16, MURMUR_1), (13, MURMUR_2)):
        # The operator >> fills with the sign bit, so a mask sets these bits to 0.
        keys = (keys ^ (keys >> shift & (1 << (32 - shift)) - 1)) * factor
    return keys ^ (keys >> 16 & 0xFFFF)


def _signed(number: int) -> int:
    """The lowest 32 bits of a number, read as an int32."""
    return (number + 2**31) % 2**32 - 2**31
