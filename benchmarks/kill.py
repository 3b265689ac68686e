"""Kill a run at random moments and resume it: is anything lost?

    python benchmarks/kill.py

Every trial is a small run of train_loop.py in a fresh folder, a checkpoint every second update. It
is killed (SIGKILL) or asked to stop (SIGTERM, SIGUSR1), gone on with `--resume_from_checkpoint
auto`, and compared byte by byte with a run that nobody disturbed. Beside it a loop around
`accelerator.save_state`, killed the same way. Trials are forked from a process that has imported
everything, those of two processes with the environment that torchrun gives them; a few go through
the real `accelerate launch`. On the CPU, without network, in about ten minutes on two cores.
"""

import argparse
import contextlib
import hashlib
import json
import multiprocessing
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
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
    f"--max_train_samples={PER_EPOCH * BATCH}", "--max_eval_samples=20", "--max_predict_samples=20",
    f"--num_train_epochs={NUM_UPDATES // PER_EPOCH}", "--logging_steps=1",
    f"--checkpointing_steps={EVERY}", "--checkpoints_total_limit=2",
]  # fmt: skip
SLOWEST = 240  # seconds after which a training counts as hanging
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
                os.kill(pid, number)

    def finish(self) -> list[int]:
        """Exit codes of all; a training that hangs is killed, and so its code is no good one."""
        with contextlib.suppress(TimeoutError, subprocess.TimeoutExpired):
            return self.wait(SLOWEST)
        self.send(signal.SIGKILL, self.pids() + self.launcher)
        return self.wait(SLOWEST)


class System(NamedTuple):
    """What is killed."""

    title: str
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
    return fork(_save_state, [str(folder), str(model)], log=folder.with_suffix(".log"), processes=1)


def _save_state(arguments: list[str]) -> int:
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
        f"tagloop, {processes} process{'es' * (processes > 1)}{', accelerate launch' * launched}",
        partial(start_tagloop, processes=processes, launched=launched, task=task),
        "tmp-step_",
        is_torn=lambda folder: folder.exists(),
        result=partial(digests, names=("model.safetensors", "metrics.jsonl")),
    )


def save_state(model: Path) -> System:
    return System(
        "accelerator.save_state, 1 process",
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


class Reference(NamedTuple):
    """A run that nobody disturbed."""

    result: tuple
    seconds: float  # from its first log line to its end


def measure_reference(system: System, folder: Path) -> Reference:
    training = system.start(folder, resume=False)
    until(lambda: last_step(folder), training)
    began = time.monotonic()
    codes = training.finish()
    if any(codes):
        sys.exit(f"{system.title}: exit codes {codes}, see {folder.with_suffix('.log')}")
    return Reference(system.result(folder), time.monotonic() - began)


def kill_once(system: System, folder: Path, reference: Reference, *, writing: bool, resume: bool):
    """Start or resume a run and SIGKILL it.

    Returns:
        Whether a checkpoint was being written; None if the run was faster than the kill.
    """
    first = newest_saved(folder) + EVERY
    left = set(folder.glob(f"{system.writes}*"))  # by an earlier kill
    steps = [folder / f"{system.writes}{step}" for step in range(first, NUM_UPDATES + 1, EVERY)]
    steps = [path for path in steps if path not in left]
    training = system.start(folder, resume=resume)
    if writing and steps:
        until(random.choice(steps).exists, training)
        time.sleep(random.uniform(0, 0.02))
    elif resume:  # while it starts, too
        time.sleep(random.uniform(0, 1.5 + reference.seconds))
    else:
        until(lambda: last_step(folder), training)
        time.sleep(random.uniform(0, reference.seconds))
    training.send(signal.SIGKILL, training.pids() + training.launcher)
    if not any(training.finish()):
        return None
    return any(system.is_torn(path) for path in set(folder.glob(f"{system.writes}*")) - left)


def newest_saved(folder: Path) -> int:
    return max((int(path.name[5:]) for path in folder.glob("step_*")), default=0)


class Trial(NamedTuple):
    """A run that was killed, and resumed to its end."""

    kills: int
    torn: int  # kills while a checkpoint was being written
    resumed: bool
    same: bool


def kill_trial(
    system: System, reference: Reference, folder: Path, *, writing: bool, kills: int = 1
) -> Trial:
    """Kill a run, and so often its resumed self; then resume it to its end."""
    torn = []
    while len(torn) < kills:
        hit = kill_once(system, folder, reference, writing=writing, resume=bool(torn))
        if hit is not None:
            torn.append(hit)
        elif torn:
            break
        else:
            shutil.rmtree(folder)
    resumed = not any(system.start(folder, resume=True).finish())
    same = resumed and system.result(folder) == reference.result
    return Trial(len(torn), sum(torn), resumed, same)


class Stop(NamedTuple):
    """A run that a signal asked to stop, and then was resumed to its end."""

    codes: list[int]
    late: int  # updates in the checkpoint that were not over when the signal came
    seconds: float  # from the signal to the end of the processes
    same: bool


def signal_trial(
    system: System, reference: Reference, folder: Path, number: int, *, to_launcher: bool = False
) -> Stop:
    """Signal one process or all, half the time again and again until the end; then resume."""
    at = random.randint(1, NUM_UPDATES - 6)
    training = system.start(folder, resume=False)
    until(lambda: last_step(folder) >= at, training)
    time.sleep(random.uniform(0, 0.05))
    training.send(signal.SIGSTOP)  # so that the log tells where the signal hits
    time.sleep(0.01)
    seen = last_step(folder)
    pids = training.pids()
    pids = training.launcher if to_launcher else random.choice([pids, [random.choice(pids)]])
    training.send(number, pids)
    training.send(signal.SIGCONT)
    sent = time.monotonic()
    if not to_launcher and random.random() < 0.5:
        while training.pids() and time.monotonic() < sent + SLOWEST:
            training.send(random.choice([signal.SIGTERM, signal.SIGUSR1]))
            time.sleep(0.005)
    codes = training.finish()
    seconds = time.monotonic() - sent
    late = newest_saved(folder) - seen
    resumed = not any(system.start(folder, resume=True).finish())
    return Stop(codes, late, seconds, resumed and system.result(folder) == reference.result)


def print_kills(system: System, folder: Path, moments: list[bool], *, often: bool = True) -> bool:
    """One row: as many trials as `moments`, which says what to kill while it writes."""
    began = time.monotonic()
    reference = measure_reference(system, folder / "undisturbed")
    trials = []
    for number, writing in enumerate(moments):
        kills = random.choice([1, 1, 1, 2]) if often else 1
        trial = kill_trial(system, reference, folder / f"{number}", writing=writing, kills=kills)
        trials.append(trial)
        if trial.same:  # anything else is evidence
            shutil.rmtree(folder / f"{number}")
    resumed, same = sum(t.resumed for t in trials), sum(t.same for t in trials)
    print(
        f"| {system.title} | {len(trials)} | {sum(t.kills for t in trials)} | "
        f"{sum(t.torn for t in trials)} | {resumed} | {same} | {time.monotonic() - began:.0f} |",
        flush=True,
    )
    return same == len(trials)


def print_signals(system: System, folder: Path, num_trials: int, *, to_launcher=False) -> bool:
    """One row per signal, or one for SIGTERM to the launcher."""
    reference = measure_reference(system, folder / "undisturbed")
    good = True
    for name in ("SIGTERM",) if to_launcher else ("SIGTERM", "SIGUSR1"):
        stops = []
        for number in range(num_trials):
            one = folder / f"{name}-{number}"
            number = getattr(signal, name)
            stops.append(signal_trial(system, reference, one, number, to_launcher=to_launcher))
        code = 1 if to_launcher else 75
        asked, same = sum(set(s.codes) == {code} for s in stops), sum(s.same for s in stops)
        others = sorted({c for s in stops for c in s.codes} - {code})
        print(
            f"| {name}{' to the launcher' * to_launcher} | {system.title} | {num_trials} | {asked} "
            f"of code {code}{f', else {others}' if others else ''} | {max(s.late for s in stops)} "
            f"| {max(s.seconds for s in stops):.2f} | {same} |",
            flush=True,
        )
        good &= asked == same == num_trials and max(s.late for s in stops) <= 1
    return good


def main() -> None:
    """Print the two tables; leave the folders of what went wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=50, help="trials with one process")
    parser.add_argument("--kills-two", type=int, default=20, help="trials with two processes")
    parser.add_argument("--signals", type=int, default=10, help="trials per signal and row")
    parser.add_argument("--launches", type=int, default=2, help="of two, by accelerate launch")
    parser.add_argument("--seed", type=int, default=0, help="of the random moments")
    options = parser.parse_args()
    random.seed(options.seed)
    folder = Path(tempfile.mkdtemp(prefix="tagloop-kill-"))
    os.environ |= QUIET | {"TAGLOOP_CACHE": str(folder / "cache")}
    good = True

    def moments(number: int) -> list[bool]:
        return [index % 2 == 0 for index in range(number)]

    def place(name: str) -> Path:
        (folder / name).mkdir()
        return folder / name

    one, two, launch = tagloop(1), tagloop(2), tagloop(2, launched=True)
    print("| system | trials | kills | while writing | resumed | same bytes | seconds |")
    print("|---|---:|---:|---:|---:|---:|---:|", flush=True)
    if options.kills:
        good &= print_kills(one, place("one"), moments(options.kills))
    if options.kills_two:
        good &= print_kills(two, place("two"), moments(options.kills_two))
    if options.launches:
        good &= print_kills(launch, place("launch"), moments(options.launches), often=False)
    if options.kills:
        other = save_state(folder / "one" / "undisturbed")
        print_kills(other, place("other"), moments(options.kills), often=False)
        whole = Path(folder / "other" / "whole")
        at = NUM_UPDATES // 2 - EVERY
        fork(_save_state, [str(whole), str(folder / "one" / "undisturbed"), str(at)],
             log=folder / "other.log", processes=1).finish()  # fmt: skip
        other.start(whole, resume=True).finish()
        same = other.result(whole) == other.result(folder / "other" / "undisturbed")
        print(f"\naccelerator.save_state, ended and resumed after update {at} without any kill: "
              f"{'the same' if same else 'other'} weights")  # fmt: skip
    print("\n| signal | system | trials | left | updates late | seconds until gone | same bytes |")
    print("|---|---|---:|---|---:|---:|---:|", flush=True)
    if options.signals:
        good &= print_signals(one, place("signals-one"), options.signals)
        good &= print_signals(two, place("signals-two"), options.signals)
    if options.launches:
        good &= print_signals(launch, place("signals-launch"), options.launches, to_launcher=True)
    print(LEGEND)
    versions = [f"{m.__name__} {m.__version__}" for m in (torch, transformers, accelerate)]
    print(f"{', '.join(versions)}; CPU, float32, {NUM_UPDATES} updates, dropout on.")
    if not good:
        sys.exit(f"NOT GOOD: the folders and logs are in {folder}")
    shutil.rmtree(folder)


LEGEND = """
Trial: a run of its own, killed once or more (save_state and launches: once), then resumed to its
end. While writing: kills that left an unfinished checkpoint. Resumed: the last start ended well.
Same bytes: sha256 of the final model.safetensors (tagloop: and of metrics.jsonl) as in the
undisturbed run. Updates late: the most updates that were not over when the signal came and are in
the checkpoint. Half the signal trials get more signals every 5 ms until they have ended.
"""


if __name__ == "__main__":
    main()
