"""Two machines on one: network namespaces joined by a veth pair, each with a real launch.

Needs Linux, iproute2's `ip` and the right to make namespaces (root, mostly); skips without them.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from launches import HANG, REPO, SMALL, read_json, wait_for_updates, wait_until

import train_loop

pytestmark = pytest.mark.slow

ADDRESSES = ("10.77.0.1", "10.77.0.2")
INTERFACES = ("side0", "side1")


def ip(*arguments: str, check: bool = True) -> subprocess.CompletedProcess:
    """Run iproute2's `ip`."""
    result = subprocess.run(["ip", *arguments], capture_output=True, text=True)
    assert not check or result.returncode == 0, f"ip {' '.join(arguments)}: {result.stderr}"
    return result


def attempt(*arguments: str) -> None:
    """Run an `ip` command that not every user and kernel may; skip the test where it fails."""
    result = ip(*arguments, check=False)
    if result.returncode:
        pytest.skip(f"ip {' '.join(arguments)}: {result.stderr.strip()}")


def processes_in(namespace: str) -> list[int]:
    return [int(pid) for pid in ip("netns", "pids", namespace, check=False).stdout.split()]


def remove(namespace: str) -> None:
    """Kill what still runs in a namespace, then delete it."""

    def is_empty() -> bool:
        left = processes_in(namespace)
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return not left

    wait_until(is_empty, f"no process is left in {namespace}")
    ip("netns", "delete", namespace, check=False)


class Machines:
    """Two namespaces that reach each other and nothing else, and the launches in them."""

    def __init__(self, namespaces: list[str], logs: Path):
        self.namespaces = namespaces
        self.logs = logs
        self.launches: list[subprocess.Popen] = []

    def launch(self, *arguments: str) -> None:
        """multi_node.yaml's own command on both, with one process each and no mixed precision."""
        for rank, namespace in enumerate(self.namespaces):
            command = [
                "ip", "netns", "exec", namespace,
                sys.executable, "-m", "accelerate.commands.launch",
                "--config_file", "accelerate_configs/multi_node.yaml",
                "--machine_rank", str(rank), "--main_process_ip", ADDRESSES[0],
                "--num_processes", "2", "--mixed_precision", "no",
                "train_loop.py", *arguments,
            ]  # fmt: skip
            environment = {
                "OMP_NUM_THREADS": "1",
                "CUDA_VISIBLE_DEVICES": "none",  # the CPU is meant
                "GLOO_SOCKET_IFNAME": INTERFACES[rank],
            }
            with self._log(rank).open("w") as log:
                self.launches.append(
                    subprocess.Popen(
                        command,
                        cwd=REPO,
                        env={**os.environ, **environment},
                        stdout=log,
                        stderr=subprocess.STDOUT,
                    )
                )

    def wait(self) -> list[int]:
        """Exit codes of both launches."""
        for rank, launched in enumerate(self.launches):
            try:
                launched.wait(HANG)
            except subprocess.TimeoutExpired:
                pytest.fail(f"machine {rank} runs after {HANG} s:\n{self.output()}")
        return [launched.returncode for launched in self.launches]

    def training_process(self, rank: int) -> int:
        """The one that the launcher of this machine started."""
        found = []
        for pid in processes_in(self.namespaces[rank]):
            variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
            if f"RANK={rank}".encode() in variables:
                found.append(pid)
        assert len(found) == 1, found
        return found[0]

    def output(self) -> str:
        return "\n".join(
            f"--- machine {rank}\n{self._log(rank).read_text()[-4000:]}" for rank in (0, 1)
        )

    def _log(self, rank: int) -> Path:
        return self.logs / f"machine_{rank}.log"


@pytest.fixture
def machines(tmp_path):
    if shutil.which("ip") is None:
        pytest.skip("iproute2's `ip` is missing")
    namespaces = [f"tagloop-{os.getpid()}-{rank}" for rank in (0, 1)]
    pair = Machines(namespaces, tmp_path)
    try:
        for namespace in namespaces:
            attempt("netns", "add", namespace)
            attempt("netns", "exec", namespace, "true")
        attempt(
            "-netns", namespaces[0], "link", "add", INTERFACES[0], "type", "veth",
            "peer", "name", INTERFACES[1], "netns", namespaces[1],
        )  # fmt: skip
        for namespace, interface, address in zip(namespaces, INTERFACES, ADDRESSES, strict=True):
            ip("-netns", namespace, "address", "add", f"{address}/24", "dev", interface)
            for name in ("lo", interface):
                ip("-netns", namespace, "link", "set", name, "up")
        yield pair
    finally:
        for namespace in namespaces:
            remove(namespace)
        for launched in pair.launches:
            launched.wait(HANG)


def test_two_machines_train_and_predict_the_same_bytes_as_one_process(
    machines, no_dropout, tmp_path
):
    base = [
        *SMALL,
        f"--model_name_or_path={no_dropout}",
        "--logging_steps=1",
        "--seed=5",
    ]
    machines.launch(*base, "--per_device_train_batch_size=6", f"--output_dir={tmp_path / 'two'}")
    train_loop.main([*base, f"--output_dir={tmp_path / 'one'}"])
    assert machines.wait() == [0, 0], machines.output()
    assert "2 x cpu" in machines.output()
    for name in ("predictions.conll", "metrics.jsonl", "eval_results.json", "test_results.json"):
        expected = (tmp_path / "one" / name).read_bytes()
        assert (tmp_path / "two" / name).read_bytes() == expected, name
    assert read_json(tmp_path / "two" / "test_results.json")["test_f1"] > 0  # not all O


def test_a_machine_that_loses_its_process_ends_the_other(machines, tmp_path):
    folder = tmp_path / "run"
    machines.launch(*SMALL, "--max_train_steps=10000000", f"--output_dir={folder}")
    wait_for_updates(folder, 3, *machines.launches, output=machines.output)  # in mid-training
    os.kill(machines.training_process(1), signal.SIGKILL)
    codes = machines.wait()
    assert 0 not in codes, machines.output()
    assert not any(processes_in(namespace) for namespace in machines.namespaces)
