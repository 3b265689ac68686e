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

The results have the scores of every run, and what the tests of a difference need of each sentence
(scored_runs.py). --keep goes on from them, on another machine, too: runs that they have are not run
again. --keep --score_only prints their tables without any training.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from corpora import CORPORA, load_corpus
from inputs import ENCODERS, SAMPLE, write_inputs
from measuring import HERE, REPO, add_common_options, progress, write_results
from scored_runs import (
    SCORED,
    ScoredSystem,
    as_results,
    compare_systems,
    describe,
    read_results,
    score_run,
    write_counts,
)
from throughput import can_import, has_option

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


def main() -> None:
    """Run what is missing, then score and compare."""
    options = parse_options()
    name = f"scores{options.suffix}"
    settings = settings_of(options)
    kept = read_results(options.results / f"{name}.json", settings) if options.keep else {}
    known = known_systems(options, kept)
    systems = choose_systems(known, options)
    corpora = {}
    for corpus in options.corpora:
        try:
            corpora[corpus] = limit(load_corpus(corpus), options)
        except FileNotFoundError as error:
            if corpus not in kept or not options.score_only:
                sys.exit(f"--corpora {corpus}: {error}")
    failed = [] if options.score_only else run_missing(corpora, systems, kept, options)
    measured, sections = {}, []
    for corpus in CORPORA:
        scored = score(corpus, corpora.get(corpus), systems, kept.get(corpus, {}), options)
        if scored:
            # A difference that the results have is one to the first of the known systems.
            order = known if options.keep else systems
            measured[corpus] = {each: scored[each] for each in order if each in scored}
            compare_systems(measured[corpus])
            sections.append(f"### {CORPORA[corpus].title}\n\n{describe(measured[corpus])}")
    if sections:
        text = "\n\n".join([*sections, legend(options)])
        found = as_results(settings, measured)
        write_results(name, options.results, text, found, options.threads)
        write_counts(options.results / f"{name}.npz", measured)
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
    parser.add_argument("--keep", action="store_true",
                        help="go on from the runs that the results have")  # fmt: skip
    parser.add_argument("--machine", default="1", help="its name, if the results have several")
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


def known_systems(options: argparse.Namespace, kept: dict) -> dict[str, tuple[str, str]]:
    """The name in taggers.py and the options of every system, by its name in the tables."""
    known = {name: ("tagloop", further) for name, further in TAGLOOP.items()}
    known |= {name: (loop, "") for name, loop in PEERS.items()}
    for systems in kept.values():
        known |= {name: ("tagloop", old.options) for name, old in systems.items() if old.options}
    return known | {f"tagloop {further}": ("tagloop", further) for further in options.options}


def choose_systems(known: dict, options: argparse.Namespace) -> dict[str, tuple[str, str]]:
    """Those of the known systems that the command asks for, and that can run here."""
    if unknown := set(options.systems or ()) - known.keys():
        sys.exit(f"--systems: {', '.join(sorted(unknown))}: not one of {', '.join(known)}")
    own = [f"tagloop {further}" for further in options.options]
    chosen = {}
    for name in [*options.systems, *own] if options.systems else known:
        loop, further = known[name]
        python = python_of(loop, options)
        if options.score_only:
            chosen[name] = known[name]
        elif loop in MODULES and not can_import(python, MODULES[loop]):
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


def settings_of(options: argparse.Namespace) -> str:
    """What decides the predictions of every run beside its corpus, system and seed."""
    limits = [options.limit_train and f"train{options.limit_train}",
              options.limit_eval and f"eval{options.limit_eval}"]  # fmt: skip
    settings = [options.encoder, f"epochs{options.epochs}", f"batch{options.batch_size}",
                f"lr{options.learning_rate:g}", *filter(None, limits)]  # fmt: skip
    return "-".join(settings)


def run_file(corpus: str, system: tuple[str, str], seed: int, options) -> Path:
    """The file of one run; everything that decides its predictions is a part of its name."""
    name = re.sub(r"[^\w.=-]+", "_", " ".join(system).strip())
    return options.runs / settings_of(options) / corpus / name / f"seed_{seed}.json"


def run_missing(corpora: dict, systems: dict, kept: dict, options) -> list[str]:
    """Run what has no file yet, seed by seed, so that all have as many if the command is stopped.

    Args:
        kept: what the results have of each corpus, which is not run again.

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
                old = kept.get(corpus, {}).get(name)
                there = run_file(corpus, systems[name], seed, options).exists()
                if not there and not (old and seed in old.runs):
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


def score(
    corpus: str, splits: dict | None, systems: dict, kept: dict[str, ScoredSystem], options
) -> dict[str, ScoredSystem]:
    """The scores of every system that ran on a corpus, and of those that the results have.

    Args:
        splits: the sentences; None if the corpus was not asked for or is not there.
        kept: what the results have of the corpus.
    """
    scored = dict(kept)
    for name, system in systems.items():
        old = kept.get(name, ScoredSystem(system[1], {}))
        runs = dict(old.runs)
        for seed in range(1, options.seeds + 1) if splits else ():
            file = run_file(corpus, system, seed, options)
            is_kept = seed in runs and runs[seed].counts  # with the name of its machine
            if file.exists() and not is_kept:
                runs[seed] = score_run(
                    read_run(file), splits, CORPORA[corpus].task, options.machine
                )
        if runs:
            scored[name] = ScoredSystem(system[1], dict(sorted(runs.items())), old.difference)
    return scored


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
        "seeds, each raised by Holm's method for the systems of a table. Runs: of the first system "
        "and of the other one, that the difference was computed from."
    )


if __name__ == "__main__":
    main()
