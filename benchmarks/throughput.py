"""How fast does each loop train, and in how much memory?

    python benchmarks/throughput.py                     # MiniLM, batch sizes 8, 16, 32
    python benchmarks/throughput.py --multilingual      # 250,002 rows of vocabulary

Real sub-tokens a second (padding does not count) on CoNLL-2003, the time of further updates of
runs that are warm. All loops learn from the same sentences with the same encoder, take blocks of
updates in turn, each in a process of its own (measuring.py), so its peak memory is its own, too.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from measuring import (
    REPO,
    WORKER,
    Measurement,
    add_common_options,
    best_precision,
    paired_ratio,
    progress,
    spread,
    table,
    write_results,
)

sys.path.insert(0, str(REPO))

# tagloop by default, and with one lever pulled the other way at a time; the option must exist.
LEVERS = {
    "tagloop": "",
    "tagloop, rows padded": "--no_packing",
    "tagloop, grouped by length": "--no_packing --group_by_length",
    "tagloop, torch's dropout": "--dropout=per_process",
    "tagloop, whole vocabulary": "--full_vocabulary",
}
PEERS = {
    "Trainer, tuned": "trainer-tuned",
    "Trainer": "trainer",
    "course loop": "course",
    "run_ner_no_trainer": "run_ner",
    "flair": "flair",
    "spaCy": "spacy",
}
MODULES = {"flair": "flair", "spaCy": "spacy_transformers"}


def main() -> None:
    """Measure every batch size and print a table each."""
    options = parse_options()
    encoder = "multilingual" if options.multilingual else options.encoder
    large = encoder in ("multilingual", "xlm-r-base")
    fresh = large if options.fresh is None else options.fresh
    from inputs import build_inputs

    measured, sections = {}, []
    with tempfile.TemporaryDirectory() as name:
        inputs = Path(name) / "inputs"
        build_inputs(inputs, encoder, options.data)
        for batch_size in options.batch_sizes:
            variants = build_variants(options, inputs, batch_size)
            with Measurement(Path(name), options.threads) as measurement:
                blocks = measurement.interleave(variants, repeats=options.repeats, fresh=fresh)
            measured[batch_size] = blocks
            sections.append(f"### {encoder}, batch {batch_size}\n\n{describe(blocks, variants)}")
    legend = (
        f"Median (range) of {options.repeats} blocks of {options.updates} updates each, all loops "
        "in turn. × tagloop: tagloop's rate over this loop's in the same round. Padding: share of "
        "the cells computed. Memory: peak of the process."
    )
    name = f"throughput-{encoder}{options.suffix}"
    text = "\n\n".join([*sections, legend])
    write_results(name, options.results, text, measured, options.threads)


def parse_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--encoder", default="minilm", help="see inputs.py")
    parser.add_argument("--multilingual", action="store_true", help="the same as --encoder that")
    parser.add_argument("--batch_sizes", type=int, nargs="+", default=[8, 16, 32])
    parser.add_argument("--updates", type=int, default=50, help="in a block")
    parser.add_argument("--variants", nargs="+", help="only these (default: all there are)")
    parser.add_argument(
        "--fresh",
        action=argparse.BooleanOptionalAction,
        help="a new process for every block, because all do not fit in memory (default: if large)",
    )
    parser.add_argument("--peers_python", default=sys.executable, help="has flair and spaCy")
    parser.add_argument("--suffix", default="", help="of the results' names")
    add_common_options(parser)
    return parser.parse_args()


def build_variants(options: argparse.Namespace, inputs: Path, batch_size: int) -> dict[str, dict]:
    """The commands of all loops that can run here; the others are said."""
    sizes = ["--inputs", str(inputs), "--batch_size", str(batch_size)]
    # An honest schedule: as long as the run will be, and a last update that is never taken.
    steps = (options.repeats + 1) * options.updates + 1
    sizes += ["--updates", str(options.updates), "--max_steps", str(steps)]
    best = best_precision()
    precision = {"bf16": "bf16", "no": "float32"}[best]
    variants = {
        name: {
            "command": [*WORKER, "tagloop", *sizes, f"--tagloop=--mixed_precision={best} {lever}"],
            "precision": precision,
        }
        for name, lever in LEVERS.items()
        if has_option(lever)
    }
    other = {"bf16": "no", "no": "bf16"}[best]
    name = f"tagloop, {'float32' if other == 'no' else 'bf16'}"
    command = [*WORKER, "tagloop", *sizes, f"--tagloop=--mixed_precision={other}"]
    variants[name] = {"command": command, "precision": name.removeprefix("tagloop, ")}
    for name, loop in PEERS.items():
        python = options.peers_python if name in MODULES else sys.executable
        if name in MODULES and not can_import(python, MODULES[name]):
            progress(f"{name}: left out, {python} cannot import {MODULES[name]}")
            continue
        variants[name] = {"command": [python, WORKER[1], loop, *sizes]}
    variants["Trainer, tuned"]["precision"] = precision
    wanted = options.variants or list(variants)
    unknown = set(wanted) - {*LEVERS, *PEERS, *variants}
    if unknown:
        sys.exit(f"--variants: no such loop: {', '.join(sorted(unknown))}")
    return {name: variants[name] for name in wanted if name in variants}


def has_option(lever: str) -> bool:
    """Whether this tagloop knows the option that turns the lever off."""
    from tagloop.options.config import Config

    options = (each.removeprefix("--").removeprefix("no_") for each in lever.split())
    return all(each.partition("=")[0] in Config.__dataclass_fields__ for each in options)


def can_import(python: str, module: str) -> bool:
    """Whether an interpreter has a module."""
    found = f"import importlib.util, sys; sys.exit(importlib.util.find_spec('{module}') is None)"
    return subprocess.run([python, "-c", found], check=False).returncode == 0


def rate(block: dict) -> float:
    """Real sub-tokens a second."""
    return block["sub_tokens"] / block["seconds"]


def describe(blocks: dict[str, list[dict]], variants: dict[str, dict]) -> str:
    """One row per loop that was measured."""
    first = next(iter(blocks))  # tagloop, unless it was not asked for
    header = [
        "loop", "precision", "real sub-tokens a second", f"× {first}", "ms an update", "padding",
        "memory, MiB",
    ]  # fmt: skip
    rows = []
    for name, reports in blocks.items():
        cells, real = (sum(report[of] for report in reports) for of in ("cells", "sub_tokens"))
        rows.append(
            [
                name,
                variants[name].get("precision", "float32"),
                spread([rate(report) for report in reports]),
                paired_ratio(blocks, name, first, rate),
                spread([1000 * report["seconds"] / report["updates"] for report in reports]),
                f"{1 - real / cells:.1%}",
                spread([report["peak_mib"] for report in reports]),
            ]
        )
    return table(header, rows)


if __name__ == "__main__":
    main()
