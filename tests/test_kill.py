"""Killed and signalled runs, a few of them; benchmarks/kill.py has many more."""

import itertools
import os
import random
import signal
import subprocess
import sys
import time

import pytest
from launches import ON_CPU, REPO

sys.path.insert(0, str(REPO / "benchmarks"))
import kill
import killed

pytestmark = pytest.mark.slow
killed.SERVER.set_forkserver_preload(["train_loop", "psutil", "tests.prepared"])


@pytest.fixture(
    scope="module",
    params=[(1, "ner"), (2, "ner"), (1, "classification"), (1, "mlm"), (1, "qa")],
    ids=["one process", "two processes", "classification", "masked language model", "questions"],
)
def undisturbed(request, tmp_path_factory):
    """A system and what its run comes to when nobody disturbs it."""
    random.seed(7)
    cache = tmp_path_factory.getbasetemp() / "tagloop-cache"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TAGLOOP_CACHE", str(cache))
        processes, task = request.param
        system = killed.tagloop(processes, task=task)
        return system, kill.measure_reference(system, tmp_path_factory.mktemp("kill") / "run")


def num_trials(system) -> int:
    """Two where a trial is cheapest; the update of every task is the same."""
    return 2 if system.title == "tagloop, 1 process" else 1


def test_a_run_killed_while_it_writes_goes_on_to_the_same_bytes(undisturbed, tmp_path):
    system, reference = undisturbed
    least, torn = num_trials(system), 0
    for number in itertools.count(1):
        trial = kill.kill_trial(system, reference, tmp_path / f"{number}", writing=True, kills=2)
        assert trial.resumed
        assert trial.same
        torn += trial.torn
        if torn and number >= least:
            break
        assert number < 30, "no kill hit a checkpoint while it was written"


def test_a_run_killed_at_any_moment_goes_on_to_the_same_bytes(undisturbed, tmp_path):
    system, reference = undisturbed
    for number in range(num_trials(system)):
        folder = tmp_path / f"{number}"
        trial = kill.kill_trial(system, reference, folder, writing=False, kills=2)
        assert trial.resumed
        assert trial.same


@pytest.mark.parametrize("name", ["SIGTERM", "SIGUSR1"])
def test_a_signal_saves_and_leaves_with_75(name, undisturbed, tmp_path):
    system, reference = undisturbed
    for number in range(num_trials(system)):
        folder = tmp_path / f"{number}"
        stop = kill.signal_trial(system, reference, folder, getattr(signal, name))
        assert set(stop.codes) == {75}
        assert 0 <= stop.late <= kill.most_late(system)
        assert stop.same


@pytest.mark.parametrize("task", ["t5_mlm", "summarization", "speech"])
def test_so_do_tasks_of_an_encoder_and_a_decoder(task, tmp_path, monkeypatch):
    """Of each task one run that is killed, and one that is asked to stop."""
    random.seed(7)
    monkeypatch.setenv("TAGLOOP_CACHE", str(tmp_path / "cache"))
    system = killed.tagloop(1, task=task)
    reference = kill.measure_reference(system, tmp_path / "undisturbed")
    trial = kill.kill_trial(system, reference, tmp_path / "killed", writing=True)
    assert trial.resumed
    assert trial.same
    stop = kill.signal_trial(system, reference, tmp_path / "stopped", signal.SIGTERM)
    assert stop.codes == [75]
    assert stop.same


def test_more_signals_until_the_interpreter_has_ended_change_nothing(tmp_path):
    folder, endless = tmp_path / "run", [*killed.RUN, "--num_train_epochs=100000"]
    process = subprocess.Popen(
        [sys.executable, "train_loop.py", *endless, f"--output_dir={folder}"],
        cwd=REPO,
        env=os.environ | ON_CPU,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    while process.poll() is None and killed.last_step(folder) < 5:
        time.sleep(0.001)
    while process.poll() is None:
        process.send_signal(random.choice([signal.SIGTERM, signal.SIGUSR1]))
        time.sleep(0.005)
    assert process.returncode == 75, process.stderr.read()
    assert killed.newest_saved(folder) >= 5
