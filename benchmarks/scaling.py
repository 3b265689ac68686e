"""What do more processes give?

    python benchmarks/scaling.py
    python benchmarks/scaling.py --update_ms 31.5 --encoder bert-base   # project from a GPU's time

Measured: one process with all threads against two processes that share them, the same global
batch. Projected, not measured: 8 GPUs in one machine, and 8 such machines, from the time of an
update of one device and the bytes that DDP moves. A ring over n devices sends 2 (n - 1) / n times
the gradients (4 bytes a trained parameter) through every link:

    t(n) = compute + exposed × 2 (n - 1) / n × 4 × parameters / bandwidth

`exposed` is 1 where communication waits for the whole backward, and, at best, what is left of it
beside the backward (two thirds of an update). Efficiency is compute / t(n): weak scaling, the
batch of every device stays. A GPU computes faster than this machine's CPU, so without --update_ms
the projection flatters.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from inputs import build_inputs
from measuring import (
    HERE,
    REPO,
    WORKER,
    Measurement,
    add_common_options,
    best_precision,
    spread,
    summarize,
    table,
    write_results,
)

LAUNCH = [
    sys.executable, "-m", "accelerate.commands.launch", "--main_process_port", "0",
    "--config_file", str(REPO / "accelerate_configs" / "cpu_2proc.yaml"), str(HERE / "worker.py"),
]  # fmt: skip
BACKWARD = 2 / 3  # of an update's compute


def main() -> None:
    """Measure one and two processes; project from there."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--encoder", default="minilm", help="see inputs.py")
    parser.add_argument("--batch_size", type=int, default=16, help="global batch")
    parser.add_argument("--updates", type=int, default=50, help="in a block")
    parser.add_argument("--update_ms", type=float, help="of one GPU, see gpu.py")
    parser.add_argument("--machine_gb_s", type=float, default=200, help="of a link in a machine")
    parser.add_argument("--network_gb_s", type=float, default=25, help="of a link between machines")
    add_common_options(parser)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        inputs = Path(name) / "inputs"
        build_inputs(inputs, options.encoder, options.data)
        variants = build_variants(inputs, options)
        with Measurement(Path(name), options.threads) as measurement:
            blocks = measurement.interleave(variants, repeats=options.repeats)
    text = describe_measured(blocks) + "\n\n" + describe_projected(blocks, options)
    write_results(f"scaling-{options.encoder}", options.results, text, blocks, options.threads)


def build_variants(inputs: Path, options: argparse.Namespace) -> dict[str, dict]:
    """The same global batch in one process and in two."""

    def arguments(batch_size: int) -> list[str]:
        return [
            "tagloop", "--inputs", str(inputs), "--batch_size", str(batch_size),
            "--updates", str(options.updates), f"--tagloop=--mixed_precision={best_precision()}",
        ]  # fmt: skip

    hidden = {"CUDA_VISIBLE_DEVICES": ""}  # two processes would want two GPUs
    half = max(options.threads // 2, 1)
    return {
        f"1 process × {options.threads} threads": {
            "command": [*WORKER, *arguments(options.batch_size)],
            "env": hidden,
        },
        f"2 processes × {half} threads": {
            "command": [*LAUNCH, *arguments(options.batch_size // 2)],
            "env": hidden,
            "threads": half,
        },
    }


def describe_measured(blocks: dict[str, list[dict]]) -> str:
    """One row per launch; the ratio is to one process."""

    def rate(block: dict) -> float:
        return block["sub_tokens"] / block["seconds"]

    one = next(iter(blocks))
    rows = []
    for name, reports in blocks.items():
        milliseconds = [1000 * report["seconds"] / report["updates"] for report in reports]
        # The inverse of "how many times faster is one process".
        share = spread([rate(b) / rate(a) for a, b in zip(blocks[one], reports, strict=True)], 2)
        rows.append(
            [name, spread([rate(report) for report in reports]), share, spread(milliseconds)]
        )
    header = ["launch", "real sub-tokens a second", "of one process", "ms an update"]
    return "### Measured\n\n" + table(header, rows)


def describe_projected(blocks: dict[str, list[dict]], options: argparse.Namespace) -> str:
    """The formula of the docstring for 8 GPUs and for 8 machines of 8."""
    report = next(iter(blocks.values()))
    here = summarize([block["seconds"] / block["updates"] for block in report])["median"]
    compute = options.update_ms / 1000 if options.update_ms else here
    parameters = report[0]["trained"]
    rows = []
    for title, devices, bandwidth in (
        ("8 GPUs in one machine", 8, options.machine_gb_s),
        ("8 machines of 8 GPUs", 64, options.network_gb_s),
    ):
        moved = 2 * (devices - 1) / devices * 4 * parameters
        seconds = moved / (bandwidth * 1e9)
        hidden = min(seconds, BACKWARD * compute)
        worst, best = compute / (compute + seconds), compute / (compute + seconds - hidden)
        rows.append(
            [
                title, f"{moved / 1e6:,.0f}", f"{bandwidth:g}", f"{1000 * seconds:.2f}",
                f"{worst:.0%} to {best:.0%}", f"{devices * worst:.1f} to {devices * best:.1f}",
            ]
        )  # fmt: skip
    origin = "one GPU's (--update_ms)" if options.update_ms else "this CPU's, slower than a GPU's"
    header = ["projection", "MB per device", "GB/s", "ms", "efficiency", "× one device"]
    return (
        f"### Projected, not measured\n\n{table(header, rows)}\n\n"
        "t(n) = compute + exposed × 2 (n - 1) / n × 4 × parameters / bandwidth; compute "
        f"{1000 * compute:.1f} ms ({origin}), {parameters / 1e6:.1f} M trained parameters; "
        "efficiency: communication after the backward, to hidden behind it as far as it goes. "
        "Between machines every device is taken to have a link of its own."
    )


if __name__ == "__main__":
    main()
