"""What does an update cost on the host, where a fast GPU would wait for it?

    python benchmarks/host.py
    python benchmarks/host.py --parts narrow --json host.json

- `prepare`: the time to prepare an update (prepare_updates.py).
- `narrow`: the time of an update of a model of twelve layers that is so narrow (32) that arithmetic
  vanishes; what is left is the time in which the host launches operations. All loops are measured
  in turn (measuring.py), in bf16 and in float32.

On a CPU that only emulates bf16 the times in bf16 hold some of this emulation. Counted and timed on
a CPU, these figures say how long a GPU would wait; they are no times of a GPU.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

from inputs import SAMPLE, build_inputs, find_corpus
from measuring import (
    WORKER,
    Measurement,
    add_common_options,
    paired_ratio,
    spread,
    summarize,
    table,
    write_results,
)
from prepare_updates import measure_prepare
from throughput import LEVERS, PEERS

PARTS = ("prepare", "narrow")
LOOPS = ("tagloop", "tagloop, torch's dropout", "Trainer, tuned", "course loop")
PRECISIONS = ("bf16", "no")


def main() -> None:
    """Measure both parts; print a table for each."""
    options = parse_options()
    data = find_corpus(options.data) or SAMPLE
    measured, sections = {}, []
    with tempfile.TemporaryDirectory() as name:
        inputs = Path(name) / "inputs"
        build_inputs(inputs, "narrow", data)
        if "prepare" in options.parts and measure_prepare:
            measured["prepare_ms"] = measure_prepare(inputs)
            sections.append(describe_prepare(measured["prepare_ms"]))
        if "narrow" in options.parts:
            blocks = measure_narrow(options, Path(name), inputs)
            measured["narrow_ms"] = {
                name: round(summarize(times)["median"], 2)
                for name, times in milliseconds(blocks).items()
            }
            sections.append(describe_narrow(blocks, options))
    write_results("host", options.results, "\n\n".join(sections), measured, options.threads)
    if options.json:
        options.json.write_text(json.dumps(measured, indent=1) + "\n", encoding="utf-8")


def parse_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--batch_size", type=int, default=16, help="of the narrow model")
    parser.add_argument("--updates", type=int, default=50, help="in a block")
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=PRECISIONS)
    parser.add_argument("--json", type=Path, help="write {prepare_ms: ..., narrow_ms: ...}")
    add_common_options(parser)
    parser.set_defaults(threads=1)  # Next to no arithmetic is left for a second thread.
    return parser.parse_args()


def measure_narrow(
    options: argparse.Namespace, folder: Path, inputs: Path
) -> dict[str, list[dict]]:
    """Blocks of updates of all loops in turn, one precision after the other.

    Returns:
        Reports by loop; `LOOP, float32` are those in float32.
    """
    blocks = {}
    for precision in options.precisions:
        variants = build_variants(options, inputs, precision)
        with Measurement(folder, options.threads) as measurement:
            blocks |= measurement.interleave(variants, repeats=options.repeats)
    return blocks


def build_variants(options: argparse.Namespace, inputs: Path, precision: str) -> dict[str, dict]:
    """The command of every loop in one precision."""
    steps = (options.repeats + 1) * options.updates + 1
    sizes = ["--inputs", str(inputs), "--batch_size", str(options.batch_size)]
    sizes += ["--updates", str(options.updates), "--max_steps", str(steps)]
    variants = {}
    for loop in LOOPS:
        name = loop if precision == "bf16" else f"{loop}, float32"
        if loop in LEVERS:
            own = f"--tagloop=--mixed_precision={precision} {LEVERS[loop]}"
            variants[name] = {"command": [*WORKER, "tagloop", *sizes, own]}
        else:
            command = [sys.executable, WORKER[1], PEERS[loop], *sizes]
            # As `accelerate launch --mixed_precision` says it.
            precise = {"ACCELERATE_MIXED_PRECISION": precision}
            variants[name] = {"command": command, "env": precise}
    return variants


def milliseconds(blocks: dict[str, list[dict]]) -> dict[str, list[float]]:
    """The time of an update in every block."""
    return {name: [1 / rate(block) for block in reports] for name, reports in blocks.items()}


def rate(block: dict) -> float:
    """Updates a millisecond."""
    return block["updates"] / (1000 * block["seconds"])


def describe_prepare(measured: dict[int, dict[str, float]]) -> str:
    """One row for each number of examples."""
    rows = [[size, *(f"{ms:.2f}" for ms in times.values())] for size, times in measured.items()]
    return table(["examples", "tagloop, ms", "transformers' collator, ms"], rows)


def describe_narrow(blocks: dict[str, list[dict]], options: argparse.Namespace) -> str:
    """One row for each loop and precision."""
    rows = []
    for name, times in milliseconds(blocks).items():
        own = "tagloop, float32" if name.endswith("float32") else "tagloop"
        ratio = paired_ratio(blocks, own, name, rate) if own in blocks else ""  # or it failed
        rows.append([name, spread(times, 1), ratio])
    legend = (
        f"Twelve layers of width 32, batch {options.batch_size}, in bf16 unless the row says "
        f"float32. Median (range) of {options.repeats} blocks of {options.updates} updates each, "
        "all loops in turn. Last column: tagloop's time over this loop's in the same round."
    )
    return table(["loop", "ms an update", "tagloop / this"], rows) + "\n\n" + legend


if __name__ == "__main__":
    main()
