"""The hash of dropout inside a Triton kernel: bit for bit that of hashing.py.

Coordinates are hashed where they are needed, so that a kernel reads no tables.
"""

import os

import triton
import triton.language as tl

# Triton's interpreter cannot compute with bfloat16; see `narrowed` and `_product` in attend.py.
INTERPRETED = tl.constexpr(os.environ.get("TRITON_INTERPRET") == "1")
# The numbers of hashing.py as uint32. Products of uint32 and of int32 are modulo 2**32.
GOLDEN, MURMUR_1, MURMUR_2 = (tl.constexpr(n) for n in (0x9E3779B1, 0x85EBCA6B, 0xC2B2AE35))


@triton.jit
def number_of(coordinate, dim: tl.constexpr):
    """The number of a coordinate in dimension `dim`, as in `hashing._tables`: int32."""
    # The constant of the dimension modulo 2**32, without a Python number beyond uint32.
    number = coordinate.to(tl.uint32) * GOLDEN + ((dim + 2) * MURMUR_1 & 0xFFFFFFFF)
    number = (number ^ (number >> 16)) * MURMUR_1
    number = (number ^ (number >> 13)) * MURMUR_2
    return (number ^ (number >> 16)).to(tl.int32, bitcast=True)


@triton.jit
def is_kept(rows, entries, threshold):
    """True where an element is kept: `hashing.hash_elements`, from its two factors."""
    hashed = rows * entries
    return hashed + hashed * hashed * 2 >= threshold


@triton.jit
def narrowed(values, dtype: tl.constexpr):
    """Round float32 values to the dtype of a tensor, to the nearest."""
    if INTERPRETED and dtype == tl.bfloat16:  # The interpreter would truncate.
        bits = values.to(tl.uint32, bitcast=True)
        bits += 0x7FFF + (bits >> 16 & 1)
        return (bits >> 16).to(tl.uint16).to(tl.bfloat16, bitcast=True)
    return values.to(dtype)
