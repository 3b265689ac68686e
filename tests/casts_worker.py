"""train_loop.py; with CASTS=alone autocast alone casts the weights of linear layers."""

import contextlib
import os
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import train_loop
from tagloop.run import Run
from tagloop.training.casts import WeightCasts

if __name__ == "__main__":
    if os.environ["CASTS"] == "alone":
        Run.casts = contextlib.nullcontext()
    else:
        swap = WeightCasts._swap

        def swap_and_look(self):
            swap(self)
            assert self.swapped[0][0].weight.dtype == torch.bfloat16, "nothing was cast"

        WeightCasts._swap = swap_and_look
    sys.exit(train_loop.cli())
