"""How long does the host take to prepare an update, and how long a batch of transformers?

    python benchmarks/prepare_updates.py

An update of tagloop is cut, packed and laid into tensors; `DataCollatorForTokenClassification` pads
the same examples, which lie in memory as lists. One thread, an update in one micro-batch, columns
in multiples of 8, as on a GPU in half precision. The shortest of many times counts. It is the
processor's time for the thread, to which other processes on the machine add little.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch
from inputs import build_inputs
from measuring import table
from transformers import DataCollatorForTokenClassification

from tagloop.batches.dataloader import Updates
from tagloop.batches.packing import Packing
from tagloop.batches.plan import plan_epoch
from tagloop.options.command_line import parse_config
from tagloop.tasks.task import load_task

SIZES = (8, 16, 32, 64, 128, 256, 512, 1024)
MULTIPLE = 8  # of the columns


def main() -> None:
    """Measure and print; write JSON if --json is given."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder of eng.*, or sample")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="examples of an update")
    parser.add_argument("--repeats", type=int, default=40, help="the shortest counts")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the times to a file, too")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        inputs = Path(name) / "inputs"
        build_inputs(inputs, "tiny", options.data)
        measured = measure_prepare(inputs, options.sizes, options.repeats)
    rows = [(size, *(f"{ms:.2f}" for ms in times.values())) for size, times in measured.items()]
    print(table(["examples", "tagloop, ms", "collator, ms"], rows))
    if options.json:
        options.json.write_text(json.dumps(measured, indent=1) + "\n", encoding="utf-8")


def measure_prepare(
    inputs: Path, sizes: Sequence[int] = SIZES, repeats: int = 40
) -> dict[int, dict[str, float]]:
    """The milliseconds in which an update is prepared, for every size of an update.

    Args:
        inputs: a folder as `build_inputs` writes it; the encoder does not matter.
        sizes: examples of an update; no more than the training data has.
        repeats: how often each is measured; the shortest time counts.

    Returns:
        By size the times of `tagloop` and of `collator`.
    """
    config = parse_config(
        [f"--train_file={inputs / 'train.jsonl'}", f"--model_name_or_path={inputs / 'model'}"]
    )
    task = load_task(config, pad_to_multiple_of=MULTIPLE)
    examples, (tokenizer, *_) = task.examples["train"], task.processors
    packing = Packing(0, MULTIPLE, int(examples.padded_lengths.max()))
    collator = DataCollatorForTokenClassification(tokenizer, pad_to_multiple_of=MULTIPLE)
    measured, num_threads = {}, torch.get_num_threads()
    torch.set_num_threads(1)
    for size in sizes:
        plan = plan_epoch(
            examples.lengths, seed=1, epoch=0, global_batch_size=size, group_by_length=False
        )
        updates = Updates(
            examples, plan, num_processes=1, process_index=0, per_device_batch_size=size,
            packing=packing,
        )  # fmt: skip
        spans = [slice(*examples.offsets[number : number + 2]) for number in plan[0]]
        features = [
            {
                "input_ids": examples.input_ids[span].tolist(),
                "attention_mask": [1] * (span.stop - span.start),
                "labels": examples.labels[span].tolist(),
            }
            for span in spans
        ]
        measured[size] = {
            "tagloop": shortest(partial(updates.__getitem__, 0), repeats),
            "collator": shortest(partial(collator, features), repeats),
        }
    torch.set_num_threads(num_threads)
    return measured


def shortest(action: Callable[[], object], repeats: int) -> float:
    """The shortest of the times of an action, in milliseconds of the processor."""
    times = []
    for _ in range(repeats):
        started = time.thread_time()
        action()
        times.append(time.thread_time() - started)
    return 1000 * min(times)


if __name__ == "__main__":
    main()
