"""Runs train_loop.main several times in every process of one launch: argv lists as JSON."""

import json
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import train_loop

if __name__ == "__main__":
    leave = torch.distributed.destroy_process_group
    torch.distributed.destroy_process_group = lambda *_: None  # keep the group for the next run
    try:
        for arguments in json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")):
            train_loop.main(arguments)
    finally:
        if torch.distributed.is_initialized():
            leave()
