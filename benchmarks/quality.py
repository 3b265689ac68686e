"""Do the levers cost accuracy?

    python benchmarks/quality.py                  # hours; goes on where it stopped
    python benchmarks/quality.py --seeds 2 --max_train_samples 1000

Trains on CoNLL-2003 as tagloop does by default, and with one lever pulled the other way at a time,
for every seed. Says how F1 of validation and test differs: default minus the other, paired by seed,
with the 95% interval of Student's t. Every run adds a line to results/quality.jsonl and is not
repeated.
"""

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from inputs import SAMPLE, build_inputs, find_corpus, minilm_folder
from measuring import REPO, add_common_options, best_precision, progress, table, write_results
from throughput import LEVERS, has_option

SPLITS = {"eval": "validation", "test": "test"}


def main() -> None:
    """Train what is missing, then compare."""
    options = parse_options()
    data = find_corpus(options.data)
    if data is None:
        sys.exit("CoNLL-2003 not found: give --data FOLDER (of eng.*), or --data sample")
    options.results.mkdir(parents=True, exist_ok=True)
    journal = options.results / "quality.jsonl"
    variants = {name: lever for name, lever in LEVERS.items() if has_option(lever)}
    if unknown := set(options.variants or ()) - variants.keys():
        sys.exit(f"--variants: no such lever: {', '.join(sorted(unknown))}")
    variants = {name: variants[name] for name in options.variants or variants}
    runs: dict[str, list[dict[str, float]]] = {variant: [] for variant in variants}
    with tempfile.TemporaryDirectory() as name:
        model = choose_model(options.encoder, Path(name), data)
        for seed in range(1, options.seeds + 1):  # seed by seed: stopped early, all have as many
            for variant, lever in variants.items():
                arguments = [*common_arguments(options), f"--seed={seed}", *lever.split()]
                key = " ".join([options.encoder, *["sample"] * (data == SAMPLE), *arguments])
                if key not in read_journal(journal):
                    scores = train(model, data, arguments, options.threads)
                    add_to_journal(journal, key, scores)
                    progress(f"{variant}, seed {seed}: {scores}")
                runs[variant].append(read_journal(journal)[key])
    write_results(
        f"quality{options.suffix}", options.results, describe(runs), runs, options.threads
    )


def parse_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--encoder", default="minilm", help="see inputs.py")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--max_train_samples", type=int)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--learning_rate", type=float, default=1e-4)
    parser.add_argument("--variants", nargs="+", help="only these, the default first")
    parser.add_argument("--suffix", default="", help="of the results' names")
    add_common_options(parser)
    return parser.parse_args()


def choose_model(encoder: str, folder: Path, data: Path) -> Path:
    """MiniLM without a head, so that every seed has a head of its own; others are made here."""
    if encoder == "minilm":
        return minilm_folder(required=True)
    build_inputs(folder, encoder, data)
    return folder / "model"


def common_arguments(options: argparse.Namespace) -> list[str]:
    """What all runs have in common, besides data and model."""
    limit = options.max_train_samples
    return [
        f"--num_train_epochs={options.epochs}", f"--learning_rate={options.learning_rate}",
        "--per_device_train_batch_size=16", "--num_warmup_steps=0.1",
        f"--mixed_precision={best_precision()}",
        *([f"--max_train_samples={limit}"] if limit else []),
    ]  # fmt: skip


def train(model: Path, data: Path, arguments: list[str], threads: int) -> dict[str, float]:
    """One run of train_loop.py; F1 by split."""
    files = {"train": "eng.train", "validation": "eng.testa", "test": "eng.testb"}
    if data == SAMPLE:
        files = {}  # without files, train_loop.py takes it
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable, "train_loop.py", "--do_train", "--do_eval", "--do_predict",
            *(f"--{split}_file={data / file}" for split, file in files.items()),
            f"--model_name_or_path={model}", f"--output_dir={folder}/run",
            "--decoding=best",  # as the recorded runs; the levers change the training alone
            *arguments,
        ]  # fmt: skip
        environment = os.environ | {"OMP_NUM_THREADS": str(threads), "HF_HUB_OFFLINE": "1"}
        done = subprocess.run(
            command, cwd=REPO, env=environment, capture_output=True, text=True, check=False
        )
        if done.returncode:
            sys.exit(f"{' '.join(command)} failed:\n{done.stdout[-1000:]}\n{done.stderr[-3000:]}")
        results = json.loads(Path(folder, "run/all_results.json").read_text(encoding="utf-8"))
    return {title: find_score(results, split) for split, title in SPLITS.items()}


def find_score(results: dict, split: str) -> float:
    """F1 of a split, however all_results.json nests it."""
    nested = results.get(split)
    return nested["f1"] if isinstance(nested, dict) else results[f"{split}_f1"]


def read_journal(path: Path) -> dict[str, dict[str, float]]:
    """Scores by the arguments of the run; a line that a kill cut short is passed over."""
    runs = {}
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    for line in lines:
        try:
            run = json.loads(line)
        except json.JSONDecodeError:
            continue
        runs[run["run"]] = run["scores"]
    return runs


def add_to_journal(path: Path, key: str, scores: dict[str, float]) -> None:
    """One line, on disk before the next run begins."""
    cut_short = path.exists() and not path.read_bytes().endswith(b"\n")
    with path.open("a", encoding="utf-8") as file:
        file.write("\n" * cut_short)
        file.write(json.dumps({"run": key, "scores": scores}) + "\n")
        file.flush()
        os.fsync(file.fileno())


def describe(runs: dict[str, list[dict[str, float]]]) -> str:
    """Scores of every variant, and what the lever that it lacks is worth."""
    everything = next(iter(runs))
    rows = []
    for variant, scores in runs.items():
        row = [variant]
        for split in SPLITS.values():
            values = [run[split] for run in scores]
            row.append(f"{statistics.mean(values):.4f} ({min(values):.4f} to {max(values):.4f})")
        for split in SPLITS.values():
            pairs = zip(runs[everything], scores, strict=True)
            gains = [on[split] - off[split] for on, off in pairs]
            row.append("" if variant == everything else interval(gains))
        rows.append(row)
    header = ["run", "validation F1", "test F1", "validation: lever's gain", "test: lever's gain"]
    num_seeds = len(runs[everything])
    return table(header, rows) + (
        f"\n\n{num_seeds} seeds: mean (range). Gain: the default minus this run, paired by "
        "seed, mean and 95% interval of Student's t."
    )


def interval(differences: list[float]) -> str:
    """Mean and 95% confidence interval of paired differences.

    >>> interval([0.0, 0.002, 0.001])
    '+0.0010 (-0.0015 to +0.0035)'
    """
    mean, count = statistics.mean(differences), len(differences)
    if count < 2:
        return f"{mean:+.4f} (one seed has no interval)"
    from scipy.stats import t  # scikit-learn, which seqeval needs, brings it

    half = t.ppf(0.975, count - 1) * statistics.stdev(differences) / math.sqrt(count)
    return f"{mean:+.4f} ({mean - half:+.4f} to {mean + half:+.4f})"


if __name__ == "__main__":
    main()
