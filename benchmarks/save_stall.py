"""How long does a checkpoint hold training up?

    python benchmarks/save_stall.py

A BERT-base-sized model (random weights) takes a few updates on the sample and is saved three times
with all that a checkpoint does: gather, write, sync, hash, rename. The share is for a checkpoint
an epoch of CoNLL-2003 (878 updates of 16 sentences), with the update's time measured here.
"""

import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch
from transformers import BertConfig

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import train_loop
from tagloop.batches.dataloader import Updates
from tagloop.models import model

EPOCH = 878  # updates
UPDATES, SAVES = 6, 3


def main() -> None:
    """Measure and print."""
    model.build_sample_model_config = lambda tokenizer: BertConfig(vocab_size=28996)
    with tempfile.TemporaryDirectory() as folder:
        config = train_loop.parse_config([f"--output_dir={folder}", "--max_train_samples=160"])
        accelerator = train_loop.build_accelerator(mixed_precision=None, log_with=None)
        run = train_loop.build(config, accelerator, Path(folder), None)
        plan = train_loop.plan_epoch(
            run.task.examples["train"].lengths,
            seed=0,
            epoch=0,
            global_batch_size=16,
            group_by_length=True,
        )[:UPDATES]
        seconds = []
        updates = Updates(
            run.task.examples["train"], plan,
            num_processes=1, process_index=0, per_device_batch_size=16,
        )  # fmt: skip
        for update in map(updates.__getitem__, range(UPDATES)):
            started = time.perf_counter()
            train_loop.train_step(run, update)
            seconds.append(time.perf_counter() - started)
        update_time = statistics.median(seconds[1:])
        stalls, saves = [], []
        for number in range(SAVES):
            started = time.perf_counter()
            run.state.step = number + 1
            train_loop.save_checkpoint(run, epoch=None, is_best=False)
            stalls.append(time.perf_counter() - started)
            run.background.wait()  # nothing else runs: how long it takes where training waits
            saves.append(time.perf_counter() - started)
        stall, save_time = statistics.median(stalls), statistics.median(saves)
        size = sum(path.stat().st_size for path in Path(folder, f"step_{SAVES}").iterdir())
    parameters = sum(parameter.numel() for parameter in run.model.parameters())
    print(f"model       {parameters / 1e6:.0f} M parameters, checkpoint {size / 2**30:.2f} GiB")
    print(f"update      {update_time:.2f} s (median of {UPDATES - 1}, {accelerator.device.type})")
    print(
        f"checkpoint  {save_time:.2f} s (median of {SAVES}: {', '.join(f'{s:.2f}' for s in saves)})"
    )
    share = stall / (EPOCH * update_time + stall)
    each = ", ".join(f"{seconds:.2f}" for seconds in stalls)
    print(f"stall       {stall:.2f} s ({each}): all that training waits")
    print(f"share       {share:.2%} of the time of an epoch of {EPOCH} updates")
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")


if __name__ == "__main__":
    main()
