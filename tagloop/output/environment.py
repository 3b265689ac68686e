"""Versions, device and memory of a run: the facts that are needed to repeat it."""

import platform
import resource
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from accelerate import Accelerator

PACKAGES = (
    "torch", "accelerate", "transformers", "tokenizers", "datasets", "evaluate", "seqeval", "numpy",
)  # fmt: skip


def describe_environment(accelerator: Accelerator) -> dict:
    """Versions of the packages, git revision, device, processes and precision, as JSON values."""
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    device = accelerator.device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor()
    return {
        "versions": versions,
        "git_revision": _git_revision(),
        "device": f"{device.type} {name}".strip(),
        "num_processes": accelerator.num_processes,
        "mixed_precision": accelerator.mixed_precision,
        "torch_num_threads": torch.get_num_threads(),
    }


def peak_memory(device: torch.device) -> int:
    """The peak of used memory in bytes: on a GPU of the allocator, elsewhere of the process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def emulates_bf16(device: torch.device) -> bool:
    """True on an older x86 CPU: it computes bf16 products in float32, several times slower."""
    if device.type != "cpu":
        return False
    has = torch.cpu.get_capabilities()
    return has.get("architecture") == "x86_64" and not (has["avx512_bf16"] or has["amx_bf16"])


def _git_revision() -> str | None:
    try:
        result = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12"],
            cwd=Path(__file__).parent, capture_output=True, text=True, timeout=10, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return result.stdout.strip()
