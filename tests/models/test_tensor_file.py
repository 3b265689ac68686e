"""A file that is written tensor by tensor has the bytes that safetensors writes."""

import errno
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tagloop.models.tensor_file import TensorInParts, write_tensors

DTYPES = [
    torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.bool,
    torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64,
]  # fmt: skip


def of_every_kind() -> dict[str, torch.Tensor]:
    """Tensors of all dtypes, under names that JSON has to escape, and of odd shapes."""
    tensors = {
        f'{name}"\\\n\x7fü{number}': (torch.randn(3, number + 1) * 9).to(dtype)
        for number, dtype in enumerate(DTYPES)
        for name in ("z", "a", "layer.10", "layer.9")
    }
    return tensors | {
        "scalar": torch.tensor(3.0),
        "nothing": torch.empty(0, 4),
        "transposed": torch.arange(12.0).view(3, 4).t(),
    }


@pytest.mark.parametrize("tensors", [of_every_kind(), {}], ids=["every kind", "none"])
def test_the_bytes_are_those_of_safetensors(tensors, tmp_path):
    expected = {name: tensor.contiguous() for name, tensor in tensors.items()}
    save_file(expected, tmp_path / "expected", metadata={"format": "pt"})
    write_tensors(tmp_path / "found", tensors)
    assert (tmp_path / "found").read_bytes() == (tmp_path / "expected").read_bytes()


def test_a_tensor_may_come_in_parts(tmp_path):
    table, other = torch.randn(1000, 7), torch.randn(5)
    in_parts = TensorInParts((1000, 7), torch.float32, lambda: table.split(300))
    write_tensors(tmp_path / "found", {"table": in_parts, "b": other})
    save_file({"table": table, "b": other}, tmp_path / "expected", metadata={"format": "pt"})
    assert (tmp_path / "found").read_bytes() == (tmp_path / "expected").read_bytes()
    assert torch.equal(in_parts.whole(), table)


def test_a_full_disk_is_an_error_of_the_system():
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        write_tensors(Path("/dev/full"), {"weight": torch.zeros(10_000)})


def test_what_is_written_can_be_loaded(tmp_path):
    write_tensors(tmp_path / "file", {"tied": (one := torch.randn(4)), "also": one})
    assert torch.equal(load_file(tmp_path / "file")["tied"], one)
