"""How long until the first update is taken?

    python benchmarks/startup.py

From the start of the process to the end of its first update, each time in a new process: with
empty caches of prepared data, and again with full ones. And how long --help and a bad option take.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from inputs import build_inputs
from measuring import (
    REPO,
    WORKER,
    Worker,
    add_common_options,
    progress,
    spread,
    table,
    write_results,
)

LOOPS = {"tagloop": "tagloop", "course loop": "course", "Trainer": "trainer"}
BAD_OPTION = ["--per_device_train_batch_size", "none"]
CACHES = ("tagloop", "datasets")  # folders that Worker names to the libraries


def main() -> None:
    """Measure in turn and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--encoder", default="minilm", help="see inputs.py")
    add_common_options(parser)
    options = parser.parse_args()
    measured: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        build_inputs(folder / "inputs", options.encoder, options.data)
        for number in range(options.repeats):
            for title, arguments in (("--help", ["--help"]), ("a bad option", BAD_OPTION)):
                seconds = time_command(arguments)
                measured.setdefault(f"tagloop, {title}", []).append(seconds)
            for title, loop in LOOPS.items():
                for cache in CACHES:
                    shutil.rmtree(folder / cache, ignore_errors=True)
                for state in ("data prepared by the run", "data prepared before"):
                    seconds = time_to_first_update(loop, folder, options.threads)
                    measured.setdefault(f"{title}, {state}", []).append(seconds)
                    progress(f"{number + 1}/{options.repeats} {title}, {state}: {seconds:.2f} s")
    rows = [[name, spread(seconds, 2)] for name, seconds in measured.items()]
    text = table(["from the start of the process to", "seconds"], rows)
    text += "\n\nA loop's time is that to the end of its first update (batch 16, float32)."
    write_results("startup", options.results, text, measured, options.threads)


def time_command(arguments: list[str]) -> float:
    """Seconds that `train_loop.py` with these arguments takes."""
    started = time.perf_counter()
    command = [sys.executable, "train_loop.py", *arguments]
    environment = os.environ | {"HF_HUB_OFFLINE": "1"}
    subprocess.run(command, cwd=REPO, env=environment, capture_output=True, check=False)
    return time.perf_counter() - started


def time_to_first_update(loop: str, folder: Path, threads: int) -> float:
    """Seconds from the start of a process to the end of its first update."""
    command = [*WORKER, loop, "--inputs", str(folder / "inputs"), "--updates", "1"]
    worker = Worker(command, folder, threads, {})
    try:
        worker.wait_until_ready()
        return worker.measure()["at"] - worker.began
    finally:
        worker.stop()


if __name__ == "__main__":
    main()
