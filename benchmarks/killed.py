"""What kill.py kills: train_loop.py, and a loop around `accelerator.save_state`.

Runs are forked from a process that has imported everything, those of two processes with the
environment that torchrun gives them, or started by the real `accelerate launch`.
"""

import contextlib
import ctypes
import hashlib
import json
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import accelerate
import psutil
import torch
import transformers

REPO = Path(__file__).resolve().parent.parent
NUM_UPDATES, PER_EPOCH, EVERY, BATCH = 24, 12, 2, 8
RUN = [
    "--no_report",
    f"--max_train_samples={PER_EPOCH * BATCH}", "--max_eval_samples=20", "--max_predict_samples=20",
    f"--num_train_epochs={NUM_UPDATES // PER_EPOCH}", "--logging_steps=1",
    f"--checkpointing_steps={EVERY}", "--checkpoints_total_limit=2",
]  # fmt: skip
LIBC = ctypes.CDLL(None, use_errno=True)
SLOWEST = 1800  # seconds after which a training counts as hanging
QUIET = {
    "CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1",
    "PYTHONWARNINGS": "ignore:resource_tracker",  # the killed leave semaphores to it
}  # fmt: skip
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["train_loop", "psutil"])
sys.path.insert(0, str(REPO))  # for train_loop, in the server too


class Training(NamedTuple):
    """The processes of one training, and how to wait for their exit codes."""

    pids: Callable[[], list[int]]  # the training processes; a launcher is not one
    launcher: list[int]
    wait: Callable[[float], list[int]]

    def send(self, number: int, pids: list[int] | None = None) -> None:
        for pid in self.pids() if pids is None else pids:
            with contextlib.suppress(ProcessLookupError):
                send_to_main_thread(pid, number)

    def stands(self) -> bool:
        """Whether all were stopped by SIGSTOP; the kernel may take a while."""
        with contextlib.suppress(psutil.NoSuchProcess):
            states = {psutil.Process(pid).status() for pid in self.pids()}
            return states <= {psutil.STATUS_STOPPED}
        return False

    def finish(self) -> list[int]:
        """Exit codes of all; a training that hangs is killed, and so its code is no good one."""
        with contextlib.suppress(TimeoutError, subprocess.TimeoutExpired):
            return self.wait(SLOWEST)
        self.send(signal.SIGKILL, self.pids() + self.launcher)
        return self.wait(SLOWEST)


def send_to_main_thread(pid: int, number: int) -> None:
    """Send a signal to the thread of a process that runs Python's handlers.

    os.kill leaves the choice of the thread to the kernel. On a busy machine, the chosen thread may
    wait for a processor while the main thread takes further updates, and the trial would measure
    the machine.

    Raises:
        ProcessLookupError: the process has ended.
    """
    if not hasattr(LIBC, "tgkill"):  # not on macOS
        os.kill(pid, number)
    elif LIBC.tgkill(pid, pid, int(number)):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


class System(NamedTuple):
    """What is killed."""

    title: str
    processes: int
    start: Callable[..., Training]  # (folder, resume) -> Training
    writes: str  # how a checkpoint is called while it is written
    is_torn: Callable[[Path], bool]  # such a folder, after a kill: was it being written?
    result: Callable[[Path], tuple]  # what must be the same


def fork(program: Callable[[list[str]], int], arguments: list[str], *, log: Path, processes: int):
    """Start a program in forks, each with one thread, a session of its own and torchrun's names."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        names = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
    names |= {"WORLD_SIZE": str(processes), "LOCAL_WORLD_SIZE": str(processes)}
    forks = []
    for rank in range(processes):
        own = names | {"RANK": str(rank), "LOCAL_RANK": str(rank)} if processes > 1 else {}
        own |= QUIET | {"TAGLOOP_CACHE": os.environ["TAGLOOP_CACHE"]}
        forks.append(SERVER.Process(target=_in_fork, args=(program, arguments, own, log)))
        forks[-1].start()

    def wait(seconds: float) -> list[int]:
        end = time.monotonic() + seconds
        for process in forks:
            process.join(max(0, end - time.monotonic()))
            if process.exitcode is None:
                raise TimeoutError
        return [process.exitcode for process in forks]

    return Training(lambda: [p.pid for p in forks if p.exitcode is None], [], wait)


def _in_fork(program, arguments: list[str], environment: dict, log: Path) -> None:
    os.setsid()
    os.environ.update(environment)
    with log.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    torch.set_num_threads(1)
    sys.exit(program(arguments))


def start_tagloop(
    folder: Path, *, resume: bool, processes: int, launched: bool = False, task: str = "ner"
):
    """train_loop.py, forked or through `accelerate launch`."""
    arguments = [*RUN, f"--task_name={task}"]
    arguments += [f"--per_device_train_batch_size={BATCH // processes}"]
    arguments += ["--output_dir", str(folder)]
    arguments += ["--resume_from_checkpoint", "auto"] if resume else []
    log = folder.with_suffix(".log")
    if not launched:
        return fork(_cli, arguments, log=log, processes=processes)
    name = "cpu.yaml" if processes == 1 else "cpu_2proc.yaml"
    command = [
        sys.executable, "-m", "accelerate.commands.launch", "--main_process_port", "0",
        "--config_file", str(REPO / "accelerate_configs" / name), "train_loop.py", *arguments,
    ]  # fmt: skip
    with log.open("ab") as file:
        launcher = subprocess.Popen(
            command, cwd=REPO, env=os.environ | QUIET, stdout=file, stderr=file
        )

    def pids() -> list[int]:
        with contextlib.suppress(psutil.NoSuchProcess):
            children = psutil.Process(launcher.pid).children(recursive=True)
            return [child.pid for child in children if "train_loop.py" in child.cmdline()]
        return []

    return Training(pids, [launcher.pid], lambda seconds: [launcher.wait(seconds)])


def _cli(arguments: list[str]) -> int:
    import train_loop

    return train_loop.cli(arguments)


def start_save_state(folder: Path, *, resume: bool, model: Path):
    return fork(
        run_save_state, [str(folder), str(model)], log=folder.with_suffix(".log"), processes=1
    )


def run_save_state(arguments: list[str]) -> int:
    """The same model and number of updates, saved and resumed as accelerate's examples do it."""
    folder, model_folder = map(Path, arguments[:2])
    last = int(arguments[2]) if len(arguments) > 2 else NUM_UPDATES
    folder.mkdir(exist_ok=True)
    accelerate.utils.set_seed(42)
    accelerator = accelerate.Accelerator(
        cpu=True,
        dataloader_config=accelerate.DataLoaderConfiguration(use_seedable_sampler=True),
    )
    config = transformers.AutoConfig.from_pretrained(model_folder)
    model = transformers.AutoModelForTokenClassification.from_config(config)
    ids = torch.randint(5, config.vocab_size, (PER_EPOCH * BATCH, 32))
    dataset = torch.utils.data.TensorDataset(ids, ids % config.num_labels)
    dataloader = torch.utils.data.DataLoader(dataset, batch_size=BATCH, shuffle=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    lr_scheduler = transformers.get_scheduler("linear", optimizer, 2, NUM_UPDATES)
    model, optimizer, dataloader, lr_scheduler = accelerator.prepare(
        model, optimizer, dataloader, lr_scheduler
    )
    step = max((int(path.name[5:]) for path in folder.glob("step_*")), default=0)
    if step:
        accelerator.load_state(folder / f"step_{step}")
    model.train()
    for epoch in range(step // PER_EPOCH, NUM_UPDATES // PER_EPOCH):
        dataloader.set_epoch(epoch)
        for input_ids, labels in accelerator.skip_first_batches(dataloader, step % PER_EPOCH):
            accelerator.backward(model(input_ids=input_ids, labels=labels).loss)
            accelerator.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            lr_scheduler.step()
            optimizer.zero_grad()
            step += 1
            with (folder / "metrics.jsonl").open("a") as file:
                file.write(json.dumps({"step": step}) + "\n")
            if step % EVERY == 0:
                accelerator.save_state(folder / f"step_{step}")
            if step == last:
                accelerator.unwrap_model(model).save_pretrained(folder)
                return 0
    return 0


def tagloop(processes: int, *, launched: bool = False, task: str = "ner") -> System:
    return System(
        f"tagloop, {processes} process{'es' * (processes > 1)}{', accelerate launch' * launched}"
        f"{f', {task}' * (task != 'ner')}",
        processes,
        partial(start_tagloop, processes=processes, launched=launched, task=task),
        "tmp-step_",
        is_torn=lambda folder: folder.exists(),
        result=partial(digests, names=("model.safetensors", "metrics.jsonl")),
    )


def save_state(model: Path) -> System:
    return System(
        "accelerator.save_state, 1 process",
        1,
        partial(start_save_state, model=model),
        "step_",
        is_torn=lambda folder: not (folder / "random_states_0.pkl").exists(),  # written last
        result=partial(digests, names=("model.safetensors",)),
    )


def digests(folder: Path, names: tuple[str, ...]) -> tuple:
    paths = [folder / name for name in names]
    return tuple(hashlib.sha256(p.read_bytes()).hexdigest() if p.exists() else None for p in paths)


def last_step(folder: Path) -> int:
    """The step of the newest whole line in metrics.jsonl."""
    try:
        text = (folder / "metrics.jsonl").read_text()
    except FileNotFoundError:
        return 0
    whole = text[: text.rfind("\n") + 1].splitlines()
    return json.loads(whole[-1])["step"] if whole else 0


def until(event: Callable[[], bool], training: Training) -> bool:
    """Wait for an event; False if the training ended, or hangs, before."""
    end = time.monotonic() + SLOWEST
    while not event():
        with contextlib.suppress(TimeoutError, subprocess.TimeoutExpired):
            training.wait(0)
            return False
        if time.monotonic() > end:
            return False
        time.sleep(0.0005)
    return True


def newest_saved(folder: Path) -> int:
    return max((int(path.name[5:]) for path in folder.glob("step_*")), default=0)
