"""train_loop.py under FSDP2 without a GPU: torch can shard there, accelerate alone refuses.

accelerate launch --config_file accelerate_configs/fsdp2.yaml tests/fsdp_worker.py ARGUMENTS
"""

import sys
from pathlib import Path

from accelerate.state import PartialState
from accelerate.utils import DistributedType

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import train_loop

begin = PartialState.__init__


def begin_as_gpus(self, *args, **options):
    """Several processes on CPUs count as as many devices that accelerate shards over."""
    begin(self, *args, **options)
    if self.distributed_type == DistributedType.MULTI_CPU:
        self.distributed_type = DistributedType.MULTI_GPU


if __name__ == "__main__":
    PartialState.__init__ = begin_as_gpus
    sys.exit(train_loop.cli())
