"""launch/*.sh with stand-ins for SLURM's commands: who gets the signal, and what comes of it."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from launches import ON_CPU, REPO, SMALL

from tagloop.output import checkpoint

pytestmark = pytest.mark.slow

STAND_INS = {
    # A step is all processes that have its number in their environment.
    "srun": 'while [[ $1 == -* ]]; do shift; done; STEP=$SLURM_JOB_ID.0 SLURM_NODEID=0 exec "$@"',
    "scancel": """
for environment in /proc/[0-9]*/environ; do
    grep -qsz "^STEP=$2$" "$environment" || continue
    process=${environment%/environ}
    kill "-${1#--signal=}" "${process#/proc/}"
done
""",
    "scontrol": 'if [ "$1" = requeue ]; then touch "$REQUEUED"; else echo 127.0.0.1; fi',
}


@pytest.fixture
def environment(tmp_path):
    """One machine with two processes, as SLURM would tell it."""
    for name, script in STAND_INS.items():
        path = tmp_path / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/usr/bin/env bash\n{script}\n", encoding="utf-8")
        path.chmod(0o755)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    return os.environ | ON_CPU | {
        "PATH": f"{tmp_path / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        "SLURM_JOB_ID": str(os.getpid()), "SLURM_JOB_NODELIST": "here", "SLURM_NNODES": "1",
        "SLURM_GPUS_ON_NODE": "2", "PORT": str(port), "REQUEUED": str(tmp_path / "requeued"),
    }  # fmt: skip


def test_a_job_asked_to_stop_saves_and_goes_back_into_the_queue(environment, tmp_path):
    """And no other training on the machine hears of it."""
    folder = tmp_path / "run"
    other = subprocess.Popen(["bash", "-c", "exec -a 'python -u train_loop.py' sleep 300"])
    job = subprocess.Popen(
        ["bash", "launch/slurm.sbatch", *SMALL, "--num_train_epochs=100000", "--logging_steps=1",
         "--mixed_precision=no", f"--output_dir={folder}"],
        cwd=REPO, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        start_new_session=True,
    )  # fmt: skip
    try:
        metrics = folder / "metrics.jsonl"
        deadline = time.monotonic() + 120
        while not (metrics.exists() and metrics.read_text().count("\n") >= 3):  # in mid-training
            assert job.poll() is None, job.stdout.read()
            assert time.monotonic() < deadline
            time.sleep(0.1)
        job.send_signal(signal.SIGUSR1)
        output, _ = job.communicate(timeout=300)
        assert other.poll() is None, "a training of somebody else was signalled"
    finally:
        other.kill()
        if job.poll() is None:
            os.killpg(job.pid, signal.SIGTERM)
            job.communicate(timeout=300)
    assert job.returncode not in (0, 128 + signal.SIGUSR1), output
    assert "error: stopped by a signal after update" in output
    assert len([checkpoint.verify(path) for path in checkpoint.checkpoint_folders(folder)]) == 1
    assert (tmp_path / "requeued").exists()
