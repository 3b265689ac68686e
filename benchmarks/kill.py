"""Kill a run at random moments and resume it: is anything lost?

    python benchmarks/kill.py
    python benchmarks/kill.py --task_name mlm --kills 4 --kills-two 2 --signals 1 --launches 0

Every trial is a small run of train_loop.py in a fresh folder, a checkpoint every second update. It
is killed (SIGKILL) or asked to stop (SIGTERM, SIGUSR1), gone on with `--resume_from_checkpoint
auto`, and compared byte by byte with a run that nobody disturbed. Beside it a loop around
`accelerator.save_state`, killed the same way; killed.py has both. On the CPU, without network, in
about ten minutes on two cores.
"""

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import accelerate
import torch
import transformers
from killed import (
    EVERY,
    NUM_UPDATES,
    QUIET,
    SLOWEST,
    System,
    Training,
    fork,
    last_step,
    newest_saved,
    run_save_state,
    save_state,
    tagloop,
    until,
)  # fmt: skip


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


def most_late(system: System) -> int:
    """The most updates that a signal may be late.

    One process stops after the update that it is in. Of several processes, the one that has the
    signal may have told the others before that it has none, while the first one still writes the
    line of that update into the log; then they agree after the next update.
    """
    return 1 if system.processes == 1 else 2


def stop_midway(system: System, folder: Path) -> tuple[Training, int]:
    """A training that stands still, so that the log tells where a signal hits, and its update."""
    while True:
        at = random.randint(1, NUM_UPDATES - 6)
        training = system.start(folder, resume=False)
        until(lambda at=at: last_step(folder) >= at, training)
        time.sleep(random.uniform(0, 0.05))
        training.send(signal.SIGSTOP)
        until(training.stands, training)
        seen = last_step(folder)
        if seen <= NUM_UPDATES - 3:
            return training, seen
        training.send(signal.SIGKILL, training.pids() + training.launcher)  # it was faster
        training.finish()
        shutil.rmtree(folder)


def signal_trial(
    system: System, reference: Reference, folder: Path, number: int, *, to_launcher: bool = False
) -> Stop:
    """Signal one process or all, half the time again and again until the end; then resume."""
    training, seen = stop_midway(system, folder)
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
        good &= asked == same == num_trials and max(s.late for s in stops) <= most_late(system)
    return good


def main() -> None:
    """Print the two tables; leave the folders of what went wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=50, help="trials with one process")
    parser.add_argument("--kills-two", type=int, default=20, help="trials with two processes")
    parser.add_argument("--signals", type=int, default=10, help="trials per signal and row")
    parser.add_argument("--launches", type=int, default=2, help="of two, by accelerate launch")
    parser.add_argument("--task_name", default="ner", help="of the runs; save_state trains ner")
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

    task = options.task_name
    one, two = tagloop(1, task=task), tagloop(2, task=task)
    launch = tagloop(2, launched=True, task=task)
    print("| system | trials | kills | while writing | resumed | same bytes | seconds |")
    print("|---|---:|---:|---:|---:|---:|---:|", flush=True)
    if options.kills:
        good &= print_kills(one, place("one"), moments(options.kills))
    if options.kills_two:
        good &= print_kills(two, place("two"), moments(options.kills_two))
    if options.launches:
        good &= print_kills(launch, place("launch"), moments(options.launches), often=False)
    if options.kills and task == "ner":
        other = save_state(folder / "one" / "undisturbed")
        print_kills(other, place("other"), moments(options.kills), often=False)
        whole = Path(folder / "other" / "whole")
        at = NUM_UPDATES // 2 - EVERY
        fork(run_save_state, [str(whole), str(folder / "one" / "undisturbed"), str(at)],
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
