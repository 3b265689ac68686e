"""How good are the scores of each system, with the same encoder, splits, epochs and batch?

    python benchmarks/scores.py --peers_python .peers/bin/python   # hours; goes on where it stopped
    python benchmarks/scores.py --corpora wnut17 --systems tagloop Trainer --seeds 2 --jobs 2
    python benchmarks/scores.py --corpora wnut17 --systems tagloop --options="--ema_decay=0.9"

Every system fine-tunes MiniLM on the training split, seed by seed, in a process of its own
(taggers.py), and tags the validation and the test split. All of them have the learning rate 5e-5,
which is the default of each, and their last model is taken. One scorer scores all (scorer.py).

A run is one file, runs/scores/SETTINGS/CORPUS/SYSTEM/seed_N.json, which appears whole or not at
all; a run whose file is there is not repeated. Options of a system are a part of its name there, so
other options are another run. After a change of tagloop itself, delete the files of its runs.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from corpora import CORPORA, SPLITS, load_corpus
from inputs import ENCODERS, SAMPLE, write_inputs
from measuring import HERE, REPO, add_common_options, progress, table, write_results
from scorer import count_spans, count_words, f1_of, recall_by_type
from throughput import can_import, has_option

from tagloop.pages.seed_tests import holm, permutation_p
from tagloop.pages.statistics import compare

BEST = "--decoding=best"

# Options of tagloop by the name of a system. Options are chosen on the validation split alone.
TAGLOOP = {
    "tagloop": "",
    "tagloop, likeliest tags": BEST,
    "tagloop, warm-up": "--num_warmup_steps=0.1",
    "tagloop, fast head": "--head_learning_rate=1e-3",
    "tagloop, fast head, likeliest tags": f"--head_learning_rate=1e-3 {BEST}",
    "tagloop, average": "--ema_decay=0.99",
    "tagloop, layers": "--layerwise_lr_decay=0.9",
    "tagloop, smoothing": "--label_smoothing_factor=0.1",
    "tagloop, class weights": "--class_weights=balanced",
}
PEERS = {  # systems of taggers.py
    "run_ner_no_trainer": "run_ner",
    "Trainer": "trainer",
    "Trainer, tuned": "trainer-tuned",
    "flair": "flair",
    "flair, FLERT": "flair-context",
    "spaCy": "spacy",
}
MODULES = {"flair": "flair", "flair-context": "flair", "spacy": "spacy_transformers"}
SCORED = SPLITS[1:]


def main() -> None:
    """Run what is missing, then score and compare."""
    options = parse_options()
    systems = choose_systems(options)
    corpora = {}
    for name in options.corpora:
        try:
            corpora[name] = limit(load_corpus(name), options)
        except FileNotFoundError as error:
            sys.exit(f"--corpora {name}: {error}")
    failed = [] if options.score_only else run_missing(corpora, systems, options)
    measured, sections = {}, []
    for name, splits in corpora.items():
        measured[name] = score(name, splits, systems, options)
        if measured[name]:
            sections.append(f"### {CORPORA[name].title}\n\n{describe(measured[name])}")
    if sections:
        text = "\n\n".join([*sections, legend(options)])
        write_results(f"scores{options.suffix}", options.results, text, measured, options.threads)
    if failed:
        sys.exit(f"failed, and tried again by the same command: {', '.join(failed)}")


def parse_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    real = [name for name in CORPORA if name != str(SAMPLE)]
    parser.add_argument("--corpora", nargs="+", choices=CORPORA, default=real, metavar="CORPUS",
                        help=f"of {', '.join(CORPORA)} (default: {' '.join(real)})")  # fmt: skip
    parser.add_argument("--systems", nargs="+", help="only these; the first is compared with all")
    parser.add_argument(
        "--options",
        action="append",
        default=[],
        metavar="OPTIONS",
        help="tagloop with these options is one more system; can be repeated",
    )
    parser.add_argument("--score_only", action="store_true", help="train nothing; score old runs")
    parser.add_argument("--seeds", type=int, default=5, help="how many: 1, 2, ...")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--batch_size", type=int, default=16)
    parser.add_argument("--learning_rate", type=float, default=5e-5)
    parser.add_argument("--limit_train", type=int, help="only the first N training sentences")
    parser.add_argument("--limit_eval", type=int, help="only the first N of the other splits")
    parser.add_argument("--encoder", default="minilm", choices=ENCODERS, help="see inputs.py")
    # Runs start in folders of their own, where a relative path would lead elsewhere.
    parser.add_argument("--peers_python", type=os.path.abspath, default=sys.executable,
                        help="path of an interpreter that has flair and spaCy")  # fmt: skip
    parser.add_argument("--jobs", type=int, default=1, help="so many runs at a time")
    parser.add_argument("--runs", type=Path, default=REPO / "runs/scores", help="for the runs")
    parser.add_argument("--suffix", default="", help="of the results' names")
    add_common_options(parser)
    return parser.parse_args()


def choose_systems(options: argparse.Namespace) -> dict[str, tuple[str, str]]:
    """The name in taggers.py and the options of every system that can run here."""
    known = {name: ("tagloop", further) for name, further in TAGLOOP.items()}
    known |= {name: (loop, "") for name, loop in PEERS.items()}
    own = {f"tagloop {further}": ("tagloop", further) for further in options.options}
    known |= own
    if unknown := set(options.systems or ()) - known.keys():
        sys.exit(f"--systems: {', '.join(sorted(unknown))}: not one of {', '.join(known)}")
    chosen = {}
    for name in [*options.systems, *own] if options.systems else known:
        loop, further = known[name]
        python = python_of(loop, options)
        if loop in MODULES and not can_import(python, MODULES[loop]):
            progress(f"{name}: left out, {python} cannot import {MODULES[loop]} (--peers_python)")
        elif not has_option(further):
            progress(f"{name}: left out, this tagloop does not know all of {further}")
        else:
            chosen[name] = known[name]
    return chosen


def python_of(loop: str, options: argparse.Namespace) -> str:
    """The interpreter that has the libraries of a system."""
    return options.peers_python if loop in MODULES else sys.executable


def limit(splits: dict[str, list[dict]], options: argparse.Namespace) -> dict[str, list[dict]]:
    """The first sentences of every split, where the command limits them."""
    most = dict.fromkeys(SCORED, options.limit_eval) | {"train": options.limit_train}
    return {split: sentences[: most[split]] for split, sentences in splits.items()}


def run_file(corpus: str, system: tuple[str, str], seed: int, options) -> Path:
    """The file of one run; everything that decides its predictions is a part of its name."""
    limits = [options.limit_train and f"train{options.limit_train}",
              options.limit_eval and f"eval{options.limit_eval}"]  # fmt: skip
    settings = [options.encoder, f"epochs{options.epochs}", f"batch{options.batch_size}",
                f"lr{options.learning_rate:g}", *filter(None, limits)]  # fmt: skip
    name = re.sub(r"[^\w.=-]+", "_", " ".join(system).strip())
    return options.runs / "-".join(settings) / corpus / name / f"seed_{seed}.json"


def run_missing(corpora: dict, systems: dict, options: argparse.Namespace) -> list[str]:
    """Run what has no file yet, seed by seed, so that all have as many if the command is stopped.

    Returns:
        The runs that failed; their outputs were shown.
    """
    # Decoding changes nothing in training: systems that differ in it alone share a training.
    trainings: dict[tuple, list[str]] = {}
    for seed in range(1, options.seeds + 1):
        for corpus in corpora:
            for name in sorted(systems, key=lambda name: systems[name][1].endswith(BEST)):
                loop, further = systems[name]
                if BEST in further and CORPORA[corpus].task == "pos":
                    continue  # Parts of speech have no order that could be legal.
                if not run_file(corpus, systems[name], seed, options).exists():
                    training = corpus, seed, loop, further.removesuffix(BEST).strip()
                    trainings.setdefault(training, []).append(name)

    def run_one(training: tuple) -> str | None:
        corpus, seed, *_ = training
        names = trainings[training]
        shown = f"{corpus}, {' and '.join(names)}, seed {seed}"
        files = [run_file(corpus, systems[name], seed, options) for name in names]
        error = train_and_tag(
            files, corpora[corpus], CORPORA[corpus].task, systems[names[0]], seed, options
        )
        if error:
            progress(f"{shown}: failed.\n{error}")
            return shown
        progress(f"{shown}: {read_run(files[0])['cpu_seconds'] / 60:.1f} CPU minutes")
        return None

    with ThreadPoolExecutor(options.jobs) as jobs:
        return [failed for failed in jobs.map(run_one, trainings) if failed]


def train_and_tag(
    files: list[Path], splits: dict, task: str, system: tuple[str, str], seed: int, options
) -> str | None:
    """One run in a process of its own; what it last said if it failed.

    Args:
        files: for the run, and a second one for its tags by --decoding best if they are wanted.
    """
    loop, further = system
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        inputs = Path(folder, "inputs")
        write_inputs(inputs, options.encoder, splits, with_head=False)
        command = [
            python_of(loop, options), str(HERE / "taggers.py"), loop, f"--inputs={inputs}",
            f"--output={files[0].resolve()}", f"--task={task}", f"--epochs={options.epochs}",
            f"--batch_size={options.batch_size}", f"--learning_rate={options.learning_rate}",
            f"--seed={seed}", f"--tagloop={further}",
        ]  # fmt: skip
        if files[1:]:
            command.append(f"--best_output={files[1].resolve()}")
        environment = os.environ | {
            "HF_HUB_OFFLINE": "1",
            "HF_DATASETS_CACHE": f"{folder}/datasets",
            "TAGLOOP_CACHE": f"{folder}/tagloop",
            "FLAIR_CACHE_ROOT": f"{folder}/flair",
            "OMP_NUM_THREADS": str(options.threads),
            "TOKENIZERS_PARALLELISM": "false",
        }
        done = subprocess.run(
            command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, errors="replace", check=False,
        )  # fmt: skip
    return done.stdout[-3000:] if done.returncode else None


def read_run(file: Path) -> dict:
    """What taggers.py wrote."""
    return json.loads(file.read_text(encoding="utf-8"))


def score(corpus: str, splits: dict, systems: dict, options: argparse.Namespace) -> dict[str, dict]:
    """The figures of every system of a corpus, and its difference to the first system."""
    figures: dict[str, dict] = {}
    counts: dict[str, dict[str, np.ndarray]] = {}  # [num_sentences, num_seeds, 3] by split
    count = count_words if CORPORA[corpus].task == "pos" else count_spans
    for name, system in systems.items():
        files = [run_file(corpus, system, seed + 1, options) for seed in range(options.seeds)]
        runs = [read_run(file) for file in files if file.exists()]
        if not runs:
            continue
        counts[name], f1, lost, recall = {}, {}, {}, {}
        for split in SCORED:
            gold = splits[split]
            tags = [tags_of(run, split, gold) for run in runs]
            labels = [row["ner_tags"] for row in gold]
            counted = [count(labels, predicted) for predicted in tags]
            if CORPORA[corpus].task == "ner":
                recall[split] = [recall_by_type(labels, predicted) for predicted in tags]
            counts[name][split] = np.stack(counted, axis=1)
            f1[split] = [f1_of(one) for one in counted]
            lost[split] = [sum(tag is None for row in each for tag in row) for each in tags]
        figures[name] = {
            "options": system[1],
            "f1": f1,
            "recall_by_type": recall,
            "words_lost": lost,
            "cpu_minutes": [run["cpu_seconds"] / 60 for run in runs],
            "versions": runs[0]["versions"],
        }
    add_differences(figures, counts)
    return figures


def tags_of(run: dict, split: str, gold: list[dict]) -> list[list[str | None]]:
    """The predicted tags of a split, whose words must be those of the corpus."""
    sentences = run["predictions"][split]
    if [each["words"] for each in sentences] != [row["tokens"] for row in gold]:
        sys.exit(f"a run has other words in its {split} split than the corpus: delete its file")
    return [each["tags"] for each in sentences]


def add_differences(figures: dict[str, dict], counts: dict[str, dict[str, np.ndarray]]) -> None:
    """Every other system minus the first one: over sentences, and over seeds."""
    first, *others = figures or [None]
    for split in SCORED:
        over_sentences, over_seeds = {}, {}
        for name in others:
            over_sentences[name] = compare(counts[first][split], counts[name][split])
            seeds = figures[first]["f1"][split], figures[name]["f1"][split]
            if min(map(len, seeds)) > 1:
                over_seeds[name] = permutation_p(*seeds)
        raised = [holm([found.p_value for found in over_sentences.values()]),
                  holm([*over_seeds.values()])]  # fmt: skip
        p_sentences = dict(zip(over_sentences, raised[0], strict=True))
        p_seeds = dict(zip(over_seeds, raised[1], strict=True))
        for name, found in over_sentences.items():
            figures[name].setdefault("difference", {})[split] = {
                "of": first, "value": found.value, "low": found.low, "high": found.high,
                "p_over_sentences": p_sentences[name], "p_over_seeds": p_seeds.get(name),
            }  # fmt: skip


def describe(figures: dict[str, dict]) -> str:
    """The scores of the systems of a corpus, and their differences to the first one."""
    first = next(iter(figures))
    scores = [
        [
            name,
            len(each["cpu_minutes"]),
            *(mean_and_deviation(each["f1"][split]) for split in SCORED),
            max(each["words_lost"]["test"]),
            f"{statistics.mean(each['cpu_minutes']):.1f}",
        ]
        for name, each in figures.items()
    ]
    header = ["system", "seeds", "validation", "test", "words lost", "CPU minutes"]
    differences = []
    for name, each in figures.items():
        if "difference" in each:
            row = [name]
            for split in SCORED:
                found = each["difference"][split]
                row.append(f"{found['value']:+.2%} ({found['low']:+.2%} to {found['high']:+.2%})")
            at_seeds = found["p_over_seeds"]
            row += [
                f"{found['p_over_sentences']:.4f}",
                "" if at_seeds is None else f"{at_seeds:.4f}",
            ]
            differences.append([cell.replace("%", "") for cell in row])
    compared = [f"minus {first}", "validation", "test", "p over sentences", "p over seeds"]
    tables = [table(header, scores)]
    if differences:
        tables.append(table(compared, differences))
    recalls = {name: each["recall_by_type"].get("test") for name, each in figures.items()}
    if all(recalls.values()):  # of spans only
        tables.append(describe_recall(recalls))
    return "\n\n".join(tables)


def describe_recall(recalls: dict[str, list[dict[str, float]]]) -> str:
    """The recall of every type on the test split, mean over seeds.

    Args:
        recalls: of every system, seed by seed.
    """
    types = list(next(iter(recalls.values()))[0])
    rows = [
        [name, *(f"{100 * statistics.mean(seed[kind] for seed in seeds):.1f}" for kind in types)]
        for name, seeds in recalls.items()
    ]
    return table(["test: recall of", *types], rows)


def mean_and_deviation(values: list[float]) -> str:
    """In hundredths, with the standard deviation of the sample.

    >>> mean_and_deviation([0.9, 0.91])
    '90.50 ± 0.71'
    """
    mean = f"{100 * statistics.mean(values):.2f}"
    return f"{mean} ± {100 * statistics.stdev(values):.2f}" if len(values) > 1 else mean


def legend(options: argparse.Namespace) -> str:
    """What the tables show."""
    return (
        f"{options.encoder}, {options.epochs} epochs, batch {options.batch_size}, learning rate "
        f"{options.learning_rate:g}. Validation and test: F1 of spans times 100 (parts of speech: "
        "accuracy), mean ± standard deviation over seeds. Words lost: words of the test split "
        "without a prediction; they count as O. CPU minutes: of all threads of the process, from "
        "its start until both splits are tagged, so that other work on the machine counts for "
        "little; tagloop and spaCy score the validation split after each epoch, too. Differences: "
        "mean over seeds, and the 95% interval of the paired bootstrap over sentences. p, of the "
        "test split: approximate randomisation over sentences, and the permutation test over "
        "seeds, each raised by Holm's method for the systems of a table."
    )


if __name__ == "__main__":
    main()
