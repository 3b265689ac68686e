"""Writes a safetensors file tensor by tensor, so that it never has to be in memory as a whole.

safetensors itself writes a file only from tensors that are all in memory. The files here have the
bytes that it would write: 8 bytes with the length of a JSON header, the header, then the values of
all tensors back to back.
"""

import json
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor

HEADER_LENGTH = 8  # bytes


@dataclass(frozen=True)
class TensorInParts:
    """A tensor that is made in parts while a file is written.

    Attributes:
        shape: of the whole tensor.
        parts: makes the parts; one after the other along the first dimension they are the tensor.
    """

    shape: tuple[int, ...]
    dtype: torch.dtype
    parts: Callable[[], Iterable[Tensor]]

    @property
    def nbytes(self) -> int:
        """The size of the whole tensor in bytes."""
        return math.prod(self.shape) * self.dtype.itemsize

    def whole(self) -> Tensor:
        """The whole tensor, on the CPU."""
        return torch.cat([part.cpu() for part in self.parts()]).reshape(self.shape)


def write_tensors(path: Path, tensors: dict[str, Tensor | TensorInParts]) -> None:
    """Write tensors into a new file as `safetensors.torch.save_file` does.

    Args:
        tensors: by name; each tensor, or each part of one, is copied to the CPU by itself. Two
            tensors may share memory; the file then has the values twice.

    Raises:
        OSError: the file cannot be written.
    """
    header = _header(tensors)
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % HEADER_LENGTH)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(HEADER_LENGTH, "little") + text)
        for name in list(header)[1:]:  # The first entry is the file's own metadata.
            for part in _parts(tensors[name]):
                values = part.detach().cpu().contiguous()
                file.write(values.reshape(-1).view(torch.uint8).numpy())


def _header(tensors: dict[str, Tensor | TensorInParts]) -> dict:
    """The header of a file, with the tensors in the order of their values.

    safetensors decides about this order, so it is asked to write empty tensors of the same dtypes.
    """
    empty = {name: torch.empty(0, dtype=tensor.dtype) for name, tensor in tensors.items()}
    file = save(empty, metadata={"format": "pt"})
    header = json.loads(file[HEADER_LENGTH:])
    end = 0
    for name in list(header)[1:]:
        begin, end = end, end + tensors[name].nbytes
        header[name] |= {"shape": list(tensors[name].shape), "data_offsets": [begin, end]}
    return header


def _parts(tensor: Tensor | TensorInParts) -> Iterator[Tensor]:
    yield from tensor.parts() if isinstance(tensor, TensorInParts) else [tensor]
