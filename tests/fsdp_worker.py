"""train_loop.py under FSDP2 without a GPU: torch can shard there, accelerate alone refuses.

accelerate launch --config_file accelerate_configs/fsdp2.yaml tests/fsdp_worker.py ARGUMENTS

With FULL_DISK=N the disk is full when the last process writes its share of step_N; with SLOW_DISK=N
it takes that process half an hour.
"""

import errno
import os
import sys
import time
from pathlib import Path

from accelerate.state import PartialState
from accelerate.utils import DistributedType

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import train_loop
from tagloop.checkpoints import packed

begin = PartialState.__init__


def begin_as_gpus(self, *args, **options):
    """Several processes on CPUs count as as many devices that accelerate shards over."""
    begin(self, *args, **options)
    if self.distributed_type == DistributedType.MULTI_CPU:
        self.distributed_type = DistributedType.MULTI_GPU


def write_or_fail(path, tensors):
    """Write a share as always, but for the step that the environment names."""
    if path.parent.name == f"tmp-step_{os.environ.get('FULL_DISK')}":
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    if path.parent.name == f"tmp-step_{os.environ.get('SLOW_DISK')}":
        time.sleep(1800)  # It is killed long before.
    write(path, tensors)


write = packed.write_tensors
if int(os.environ["RANK"]) == int(os.environ["WORLD_SIZE"]) - 1:
    packed.write_tensors = write_or_fail

if __name__ == "__main__":
    PartialState.__init__ = begin_as_gpus
    sys.exit(train_loop.cli())
