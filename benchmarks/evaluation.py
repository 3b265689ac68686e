"""How long does scoring the validation split take?

    python benchmarks/evaluation.py

tagloop's evaluate() and the evaluation of the Hugging Face course score the 3,250 validation
sentences of CoNLL-2003 with the same (untrained) head, in turn: forward, gathering, F1. The course
is called with its own batch size of 8; tagloop with its default, in the faster precision of the
machine and in float32.
"""

import argparse
import tempfile
from pathlib import Path

from inputs import build_inputs
from measuring import (
    WORKER,
    Measurement,
    add_common_options,
    best_precision,
    paired_ratio,
    spread,
    table,
    write_results,
)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--encoder", default="minilm", help="see inputs.py")
    parser.add_argument("--max_sentences", type=int, help="only the first N, for a first look")
    add_common_options(parser)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        inputs = Path(name) / "inputs"
        build_inputs(inputs, options.encoder, options.data)
        if options.max_sentences:
            shorten(inputs / "validation.jsonl", options.max_sentences)
        common = ["--inputs", str(inputs), "--updates", "1"]
        own = [*WORKER, "tagloop-evaluation", *common]
        variants = {
            "tagloop": {"command": [*own, f"--tagloop=--mixed_precision={best_precision()}"]},
            "tagloop, float32": {"command": own},
            "course loop, float32": {"command": [*WORKER, "course-evaluation", *common]},
        }
        with Measurement(Path(name), options.threads) as measurement:
            blocks = measurement.interleave(variants, repeats=options.repeats)
    write_results("evaluation", options.results, describe(blocks), blocks, options.threads)


def shorten(path: Path, num_lines: int) -> None:
    """Keep the first lines."""
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text("".join(lines[:num_lines]), encoding="utf-8")


def describe(blocks: dict[str, list[dict]]) -> str:
    """One row per evaluation."""

    def rate(block: dict) -> float:
        return block["sentences"] / block["seconds"]

    rows = [
        [
            name,
            spread([report["seconds"] for report in reports], 2),
            spread([rate(report) for report in reports]),
            paired_ratio(blocks, name, "tagloop", rate),
            f"{reports[-1]['f1']:.4f}",
            spread([report["peak_mib"] for report in reports]),
        ]
        for name, reports in blocks.items()
    ]
    header = ["evaluation", "seconds", "sentences a second", "× tagloop", "F1", "memory, MiB"]
    return table(header, rows)


if __name__ == "__main__":
    main()
