"""train_loop.py, but something happens to one process only: REASON says what."""

import errno
import os
import signal
import sys
import time
from pathlib import Path
from typing import ClassVar

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import train_loop
from tagloop.checkpoints import packed
from tagloop.data.storage import store
from tagloop.errors import InputError
from tagloop.tasks.tagging import task, windows

REASON, RANK = os.environ["REASON"], int(os.environ.get("RANK", 0))
train_step, encode_sentences = train_loop.train_step, windows.encode_sentences
save = torch.save


def step(run, update):
    third_on_one = run.lr_scheduler.last_epoch == 2 and RANK == 1
    if third_on_one and REASON == "signal":
        os.kill(os.getpid(), signal.SIGTERM)
    if third_on_one and REASON == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if third_on_one and REASON == "bug":
        raise ZeroDivisionError("a bug")
    if third_on_one and REASON == "interrupt":
        raise KeyboardInterrupt
    while REASON == "endless" and run.state.step == 2:
        time.sleep(1)
    if third_on_one and REASON == "nan":
        with torch.no_grad():
            next(run.model.parameters()).fill_(float("nan"))
    return train_step(run, update)


def slow_save(*arguments, **options):
    time.sleep(2)
    save(*arguments, **options)


def full_disk(folder, *_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))


class NotedLock(store.FileLock):
    """Leaves a file that says which process has come to it."""

    asked: ClassVar[list] = []

    def acquire(self, *arguments, **options):
        Path(f"{self.lock_file}.{RANK}").touch()
        self.asked.append(self.lock_file)
        return super().acquire(*arguments, **options)


def encode_when_the_other_waits(*arguments, **options):
    other = Path(f"{NotedLock.asked[-1]}.{1 - RANK}")
    while not other.exists():
        time.sleep(0.01)
    print("waited for", flush=True)
    return encode_sentences(*arguments, **options)


train_loop.train_step = step
if REASON == "die":  # the launcher ends the others while the checkpoint is being written
    torch.save = slow_save
if REASON == "input" and RANK == 1:  # a machine without the data

    def no_corpus(*_, **__):
        raise InputError("train.conll: No such file on this machine")

    task.load_corpus = no_corpus
if REASON == "other data" and RANK == 1:
    build_identity = train_loop.build_identity
    train_loop.build_identity = lambda *arguments: build_identity(*arguments) | {"data": {}}
if REASON == "disk":  # the main process alone writes
    packed.publish = full_disk
if REASON == "memory" and RANK == 1:

    def check_room(module, inputs):
        too_many = isinstance(module, torch.nn.Embedding) and len(inputs[0]) > 4
        if too_many and module.training and torch.is_grad_enabled():
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    torch.nn.modules.module.register_module_forward_pre_hook(check_room)
if REASON == "long preparation":
    store.FileLock = NotedLock
    windows.encode_sentences = encode_when_the_other_waits

if __name__ == "__main__":
    try:
        code = train_loop.cli()
    finally:
        if torch.distributed.is_initialized():
            print("left its process group open", flush=True)
    sys.exit(code)
