"""Runs train_loop.main several times in every process of one launch: argv lists as JSON."""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import train_loop

if __name__ == "__main__":
    train_loop.Accelerator.end_training = lambda self: None  # keep the group for the next run
    for arguments in json.loads(Path(sys.argv[1]).read_text()):
        train_loop.main(arguments)
