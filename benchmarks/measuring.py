"""Loops measured in turn: every loop in a process of its own, a block of updates at a time.

    with Measurement(folder) as measurement:
        blocks = measurement.interleave({"tagloop": [...], "course": [...]}, repeats=5)

A loop calls `gate.update()` before each of its updates (Gate). At the end of a block the gate
reports how long the block took and waits for the next; meanwhile the process is stopped. So only
one loop computes at a time, all see the same state of the machine, and each has a peak memory of
its own. The first block of a process warms it up and is thrown away.
"""

import argparse
import contextlib
import json
import os
import platform
import re
import resource
import shlex
import signal
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
REPO = HERE.parent
WORKER = [sys.executable, str(HERE / "worker.py")]
COUNTS = ("sentences", "sub_tokens", "squares", "cells")
SLOWEST = 1800  # seconds after which a start or a block counts as hanging


def best_precision() -> str:
    """The faster --mixed_precision of this machine: bf16, unless its CPU only emulates that.

    $ACCELERATE_MIXED_PRECISION, with which `accelerate launch` gives the precision, goes first.
    """
    if "ACCELERATE_MIXED_PRECISION" in os.environ:
        return os.environ["ACCELERATE_MIXED_PRECISION"]
    import torch

    sys.path.insert(0, str(REPO))
    from tagloop.output.environment import emulates_bf16

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return "no" if emulates_bf16(device) else "bf16"


class Gate:
    """In a worker: times blocks of updates and waits between them.

    Attributes:
        notes: what a loop wants reported beside its times, e.g. scores.
        around_block: makes the context in which every block runs.
    """

    def __init__(self, address: str, updates: int):
        self.updates = updates
        self.notes: dict = {}
        self.taken = -1  # updates of this block that were begun; -1: before the first block
        self.counts = dict.fromkeys(COUNTS, 0)
        self.around_block = contextlib.nullcontext  # entered for every block: see worker.py
        self.block = None
        self.channel = None
        if int(os.environ.get("RANK", "0")) == 0:  # the others wait for it in their collectives
            self.channel = socket.socket(socket.AF_UNIX)
            self.channel.connect(address)
            self.lines = self.channel.makefile("r", encoding="utf-8")

    def update(self) -> None:
        """To be called before every update; ends and begins blocks."""
        if self.taken in (-1, self.updates) and self.channel:
            self._end_block()
        self.taken += 1

    def count(self, mask) -> None:
        """Count a batch by its attention mask [rows, columns]; stays on the device."""
        lengths = mask.sum(1)
        self.add(mask.shape[0], lengths.sum(), lengths.square().sum(), mask.numel())

    def add(self, sentences, sub_tokens, squares, cells) -> None:
        """Count work: rows, real sub-tokens, the sum of their rows' squares, and padded cells."""
        for name, value in zip(COUNTS, (sentences, sub_tokens, squares, cells), strict=True):
            self.counts[name] += value

    def _end_block(self) -> None:
        """Report the block, wait for the next one, and start the clock."""
        if self.block:
            self.block.__exit__(None, None, None)
        synchronize()
        now = time.perf_counter()
        report = {"at": time.time(), "peak_mib": peak_memory()} | self.notes
        if self.taken >= 0:
            cpu_seconds = time.process_time() - self.cpu_started
            report |= {"seconds": now - self.started, "updates": self.taken}
            report |= {"cpu_seconds": cpu_seconds}  # of all threads
            report |= {name: int(value) for name, value in self.counts.items()}
        self.channel.sendall((json.dumps(report) + "\n").encode())
        if not self.lines.readline():  # the parent has seen enough
            os._exit(0)
        self.taken, self.counts = 0, dict.fromkeys(COUNTS, 0)
        self.block = self.around_block()
        self.block.__enter__()
        self.started, self.cpu_started = time.perf_counter(), time.process_time()


def synchronize() -> None:
    """Wait for the GPU, if there is one, so that the clock measures work and not its queueing."""
    torch = sys.modules.get("torch")
    if torch and torch.cuda.is_available():
        torch.cuda.synchronize()


def peak_memory() -> float:
    """MiB: of the GPU where there is one, else of the process since it was started."""
    torch = sys.modules.get("torch")
    if torch and torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    with contextlib.suppress(OSError):  # ru_maxrss contains what the parent had at the fork
        status = Path("/proc/self/status").read_text(encoding="utf-8")
        return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


class Worker:
    """In the parent: one loop in a process (or a launch) of its own."""

    def __init__(self, command: list[str], folder: Path, threads: int, extra_env: dict[str, str]):
        self.log = folder / f"worker-{time.monotonic_ns()}.log"
        address = f"{self.log}.socket"
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(address)
        self.listener.listen()
        self.listener.settimeout(1)
        environment = os.environ | {
            "HF_HUB_OFFLINE": "1",
            "HF_DATASETS_CACHE": str(folder / "datasets"),
            "TAGLOOP_CACHE": str(folder / "tagloop"),
            "OMP_NUM_THREADS": str(threads),
            "TOKENIZERS_PARALLELISM": "false",
        }
        self.began = time.time()
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*command, "--address", address],
                env=environment | extra_env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.channel = None

    def wait_until_ready(self) -> dict:
        """Wait until the loop stands before its first update; its report."""
        deadline = time.monotonic() + SLOWEST
        while self.channel is None:
            with contextlib.suppress(TimeoutError):
                self.channel, _ = self.listener.accept()
            if self.channel is None and (self._has_ended() or time.monotonic() > deadline):
                self.fail()
        self.channel.settimeout(SLOWEST)
        self.lines = self.channel.makefile("r", encoding="utf-8")
        return self._read()

    def measure(self) -> dict:
        """Let the loop take one block of updates; the gate's report."""
        self._signal(signal.SIGCONT)
        self.channel.sendall(b"go\n")
        return self._read()

    def stop(self) -> None:
        """End the process and those it started."""
        if self.channel:
            self.channel.close()
            self.lines.close()
        self.listener.close()
        self._signal(signal.SIGKILL)
        self.process.wait()

    def fail(self) -> None:
        """Say what the loop last said."""
        self.stop()
        tail = self.log.read_text(encoding="utf-8", errors="replace")[-3000:]
        raise WorkerFailed(f"{shlex.join(self.process.args)} failed:\n{tail}")

    def _has_ended(self) -> bool:
        return self.process.poll() is not None

    def _read(self) -> dict:
        try:
            line = self.lines.readline()
        except TimeoutError:
            line = ""
        if not line:
            self.fail()
        self._signal(signal.SIGSTOP)  # a waiting second process or a spinning thread would disturb
        return json.loads(line)

    def _signal(self, number: int) -> None:
        """Send a signal to the process and all it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)


class WorkerFailed(Exception):
    """A loop ended before it was told to."""


class Measurement:
    """The workers of one measurement; leaving the context ends them."""

    def __init__(self, folder: Path, threads: int):
        self.folder, self.threads = folder, threads
        self.workers: dict[str, Worker] = {}

    def __enter__(self) -> "Measurement":
        return self

    def __exit__(self, *_) -> None:
        for worker in self.workers.values():
            worker.stop()
        self.workers.clear()

    def start(self, name: str, variant: dict, seed: int = 0) -> None:
        """Start a loop. variant: command, and perhaps threads and env."""
        threads = variant.get("threads", self.threads)
        command = [*variant["command"], "--seed", str(seed)]
        self.workers[name] = Worker(command, self.folder, threads, variant.get("env", {}))

    def interleave(
        self, variants: dict[str, dict], *, repeats: int, fresh: bool = False
    ) -> dict[str, list[dict]]:
        """Blocks of every variant, in turn; who begins a round changes from round to round.

        Args:
            fresh: a new process for every block, where all of them at once do not fit in memory.

        Returns:
            Reports by variant, one per repeat; a variant that fails is said and left out.
        """
        blocks: dict[str, list[dict]] = {name: [] for name in variants}
        failed: set[str] = set()
        if not fresh:
            for name in variants:
                self.start(name, variants[name])
            for name in variants:
                self._try(name, failed, self._warm_up)
        for number in range(repeats):
            names = list(variants)
            names = names[number % len(names) :] + names[: number % len(names)]
            for name in (name for name in names if name not in failed):
                if fresh:
                    self.start(name, variants[name], seed=number)  # other sentences each time
                    self._try(name, failed, self._warm_up)
                report = name not in failed and self._try(name, failed, self._measure)
                if report:
                    blocks[name].append(report)
                    progress(f"{number + 1}/{repeats} {name}: {report['seconds']:.2f} s")
                if fresh and name in self.workers:
                    self.workers.pop(name).stop()
        return {name: reports for name, reports in blocks.items() if name not in failed}

    def _warm_up(self, name: str) -> dict:
        self.workers[name].wait_until_ready()
        return self.workers[name].measure()

    def _measure(self, name: str) -> dict:
        return self.workers[name].measure()

    def _try(self, name: str, failed: set[str], action) -> dict | None:
        try:
            return action(name)
        except WorkerFailed as error:
            progress(f"{name}: left out. {error}")
            failed.add(name)
            self.workers.pop(name).stop()
            return None


def progress(text: str) -> None:
    """Say on stderr how far a measurement is."""
    print(text, file=sys.stderr, flush=True)


def summarize(values: list[float]) -> dict[str, float]:
    """Median and range."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def spread(values: list[float], digits: int = 0) -> str:
    """The same as text.

    >>> spread([3.0, 1.0, 2.0])
    '2 (1 to 3)'
    """
    found = summarize(values)
    return (
        f"{found['median']:,.{digits}f} ({found['min']:,.{digits}f} to {found['max']:,.{digits}f})"
    )


def paired_ratio(blocks: dict[str, list[dict]], name: str, of: str, rate) -> str:
    """How many times the rate of `of` that of `name` is, measured in the same round.

    Args:
        rate: a block's report -> units per second.
    """
    if of not in blocks:  # it failed, and that was said
        return ""
    pairs = zip(blocks[of], blocks[name], strict=True)
    return spread([rate(one) / rate(other) for one, other in pairs], 2)


def table(header: list[str], rows: list[list]) -> str:
    """Markdown; the first column is text, the others are figures."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def add_common_options(parser: argparse.ArgumentParser) -> None:
    """Options of every benchmark."""
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of every process")
    parser.add_argument("--repeats", type=int, default=5, help="blocks of every variant, in turn")
    parser.add_argument("--results", type=Path, default=HERE / "results", help="where to write")
    parser.add_argument("--data", type=Path, help="folder of CoNLL-2003's eng.*, or `sample`")


def about(threads: int | None = None) -> dict:
    """The command and what it ran on."""
    import accelerate
    import torch
    import transformers

    model = re.search(r"model name\s*:\s*(.+)", _read_cpuinfo())
    device = model[1] if model else platform.processor()
    if torch.cuda.is_available():
        device = f"{torch.cuda.get_device_name()} and {device}"
    modules = (torch, transformers, accelerate)
    return {
        "command": shlex.join(["python", os.path.relpath(sys.argv[0], REPO), *sys.argv[1:]]),
        "versions": {module.__name__: module.__version__ for module in modules},
        "python": platform.python_version(),
        "device": device,
        "cores": os.cpu_count(),
        "threads": threads,
        "date": time.strftime("%Y-%m-%d"),
    }


def _read_cpuinfo() -> str:
    try:
        return Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return ""


def write_results(name: str, folder: Path, markdown: str, data, threads: int | None = None) -> None:
    """Print the tables; write them to NAME.md and everything measured to NAME.json."""
    facts = about(threads)
    versions = ", ".join(f"{module} {version}" for module, version in facts["versions"].items())
    text = (
        f"    {facts['command']}\n\n{markdown}\n\nPython {facts['python']}, {versions}; "
        f"{facts['device']}, {facts['cores']} cores"
        + (f", {threads} threads" if threads else "")
        + f"; {facts['date']}.\n"
    )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.md").write_text(text, encoding="utf-8")
    saved = json.dumps({"about": facts, "measured": data}, indent=1)
    (folder / f"{name}.json").write_text(saved + "\n", encoding="utf-8")
    print(text)
