"""Says where the Triton kernels compute; everywhere else, plain torch computes the same."""

import functools
import importlib.util
import os

import torch

# Numbers in float64 are for tests; the kernels compute in float32.
DTYPES = (torch.float32, torch.bfloat16, torch.float16)


@functools.cache
def uses_kernels(device: torch.device, dtype: torch.dtype) -> bool:
    """True if the kernels compute tensors of this device and dtype.

    They do so on GPUs that Triton supports, if Triton is installed; torch for CUDA brings Triton
    along. With the environment variable TRITON_INTERPRET=1, which must be set before Triton is
    imported, they run on a CPU, too, where they are slow: for tests and for counting launches.
    TAGLOOP_KERNELS=off turns them off.
    """
    if os.environ.get("TAGLOOP_KERNELS") == "off" or dtype not in DTYPES:
        return False
    if importlib.util.find_spec("triton") is None:
        return False
    if os.environ.get("TRITON_INTERPRET") == "1":
        return True
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)
