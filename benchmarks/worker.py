"""One loop in a process, held by a gate: the measurements start this, see measuring.py.

    python benchmarks/worker.py course --inputs FOLDER --batch_size 16 --updates 50 --address SOCKET

Without --address nothing is measured: the loop runs for --max_steps updates, to see that it works.
"""

import argparse
import contextlib
import importlib
import sys
import warnings
from collections import Counter
from pathlib import Path

from measuring import REPO, Gate

sys.path.insert(0, str(REPO))  # for train_loop
LOOPS = {  # module and function: (inputs, gate, options) -> None
    "tagloop": "own_loops:train_tagloop",
    "tagloop-evaluation": "own_loops:evaluate_tagloop",
    "course": "peers:train_course",
    "course-evaluation": "peers:evaluate_course",
    "run_ner": "peers:train_run_ner",
    "trainer": "peers:train_trainer",
    "trainer-tuned": "peers:train_trainer_tuned",
    "trainer-not-grouped": "peers:train_trainer_not_grouped",
    "flair": "other_peers:train_flair",
    "spacy": "other_peers:train_spacy",
}


class NoGate:
    """For a run without measuring: counts nothing, holds nothing."""

    def __init__(self):
        self.notes: dict = {}

    def update(self) -> None:
        """Go on."""

    def count(self, mask) -> None:
        """Count nothing."""

    def add(self, *counts) -> None:
        """Count nothing."""


def main() -> None:
    """Build the gate and run the loop."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("loop", choices=LOOPS)
    parser.add_argument("--inputs", type=Path, required=True, help="folder made by inputs.py")
    parser.add_argument("--address", help="socket of the measurement")
    parser.add_argument("--updates", type=int, default=50, help="in a block")
    parser.add_argument("--batch_size", type=int, default=16)
    parser.add_argument("--max_steps", type=int, default=1_000_000, help="planned updates")
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--compile", action="store_true", help="Trainer with torch_compile")
    parser.add_argument("--sync_debug", action="store_true", help="count waits for the GPU")
    parser.add_argument("--count_kernels", action="store_true", help="count kernels of the GPU")
    # A gate's address is appended to the command, so tagloop's options are one argument.
    parser.add_argument("--tagloop", default="", help="options of tagloop, separated by blanks")
    options = parser.parse_args()
    gate = Gate(options.address, options.updates) if options.address else NoGate()
    if options.sync_debug:
        gate.around_block = lambda: sync_debug(gate)
    if options.count_kernels:
        gate.around_block = lambda: count_kernels(gate)
    module, function = LOOPS[options.loop].split(":")
    getattr(importlib.import_module(module), function)(options.inputs, gate, options)


@contextlib.contextmanager
def sync_debug(gate: Gate):
    """Note the places at which the host waited for the GPU inside a block."""
    import torch

    places: dict[str, int] = {}

    def note(message, category, filename, lineno, file=None, line=None):
        if "synchroniz" in str(message):
            place = f"{Path(filename).name}:{lineno}"
            places[place] = places.get(place, 0) + 1

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = note
        torch.cuda.set_sync_debug_mode("warn")
        yield
        torch.cuda.set_sync_debug_mode("default")
    gate.notes["syncs"] = places


@contextlib.contextmanager
def count_kernels(gate: Gate):
    """Note how often the GPU ran each kernel inside a block; copies and fills count, too."""
    import torch
    from torch.profiler import ProfilerActivity, profile

    on_gpu = torch.cuda.is_available()
    activity = ProfilerActivity.CUDA if on_gpu else ProfilerActivity.CPU
    with profile(activities=[activity]) as recorded:
        yield
        if on_gpu:
            torch.cuda.synchronize()
    events = recorded.events()
    names = [each.name for each in events if each.device_type == torch.autograd.DeviceType.CUDA]
    gate.notes["kernels"] = dict(Counter(names))


if __name__ == "__main__":
    main()
