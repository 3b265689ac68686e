"""The scores of the runs of scores.py, how systems differ in them, and the tables.

    system = ScoredSystem("", {1: score_run(run, splits, "ner", "1")})

The results are three files: scores.md has the tables, scores.json the scores of every run, and
scores.npz what the tests of a difference need of every sentence: the numbers of right, predicted
and gold spans. They hold no text of a corpus, so that they can be given away with the benchmark.
"""

import json
import statistics
import sys
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from corpora import SPLITS
from measuring import table
from scorer import count_spans, count_words, f1_of, recall_by_type

from tagloop.pages.seed_tests import holm, permutation_p
from tagloop.pages.statistics import compare

SCORED = SPLITS[1:]


@dataclass(frozen=True)
class ScoredRun:
    """One system with one seed on one corpus; every dict but `versions` is by split.

    Attributes:
        f1: as fractions of 1.
        recall_by_type: the share of the gold spans of every type that were found; {} for words.
        words_lost: the number of words without a prediction.
        cpu_minutes: of all threads, from the start of the process until both splits were tagged.
        versions: of the large libraries.
        machine: the name that --machine gave it; times of two machines cannot be compared.
        counts: right, predicted and gold spans, int64 [num_sentences, 3]; {} if they are not kept.
    """

    f1: dict[str, float]
    recall_by_type: dict[str, dict[str, float]]
    words_lost: dict[str, int]
    cpu_minutes: float
    versions: dict[str, str]
    machine: str
    counts: dict[str, np.ndarray]


@dataclass
class ScoredSystem:
    """The runs of one system on one corpus.

    Attributes:
        options: of tagloop.
        runs: by seed.
        difference: by split, how the system differs from the first one of its corpus.
    """

    options: str
    runs: dict[int, ScoredRun]
    difference: dict[str, dict] = field(default_factory=dict)

    def f1(self, split: str) -> list[float]:
        """The F1 of every seed."""
        return [run.f1[split] for run in self.runs.values()]

    def counts(self, split: str) -> np.ndarray | None:
        """Of the runs that have them, [num_sentences, num_runs, 3]."""
        kept = [run.counts[split] for run in self.runs.values() if run.counts]
        return np.stack(kept, axis=1) if kept else None


def score_run(run: dict, splits: dict[str, list[dict]], task: str, machine: str) -> ScoredRun:
    """Score what taggers.py wrote on a machine.

    Args:
        splits: the sentences of the corpus.
        task: ner or pos.
    """
    count = count_words if task == "pos" else count_spans
    f1, recall, lost, counts = {}, {}, {}, {}
    for split in SCORED:
        tags = tags_of(run, split, splits[split])
        labels = [row["ner_tags"] for row in splits[split]]
        counts[split] = count(labels, tags)
        f1[split] = f1_of(counts[split])
        lost[split] = sum(tag is None for row in tags for tag in row)
        if task == "ner":
            recall[split] = recall_by_type(labels, tags)
    minutes = run["cpu_seconds"] / 60
    return ScoredRun(f1, recall, lost, minutes, run["versions"], machine, counts)


def tags_of(run: dict, split: str, gold: list[dict]) -> list[list[str | None]]:
    """The predicted tags of a split, whose words must be those of the corpus."""
    sentences = run["predictions"][split]
    if [each["words"] for each in sentences] != [row["tokens"] for row in gold]:
        sys.exit(f"a run has other words in its {split} split than the corpus: delete its file")
    return [each["tags"] for each in sentences]


def compare_systems(systems: dict[str, ScoredSystem]) -> None:
    """Every other system minus the first one of a corpus: over sentences, and over seeds.

    A system with a run whose counts are not kept has the difference over sentences that it had.
    """
    first, *others = systems.values()
    for split in SCORED:
        wanted = first.counts(split)
        for system in others:
            if wanted is not None and all(run.counts for run in system.runs.values()):
                found = compare(wanted, system.counts(split))
                system.difference[split] = {
                    "value": found.value, "low": found.low, "high": found.high,
                    "p_over_sentences": found.p_value,
                    "runs": [wanted.shape[1], len(system.runs)],
                }  # fmt: skip
            if split in system.difference:
                seeds = first.f1(split), system.f1(split)
                several = min(map(len, seeds)) > 1
                at_seeds = permutation_p(*seeds) if several else None
                system.difference[split]["p_over_seeds"] = at_seeds


def describe(systems: dict[str, ScoredSystem]) -> str:
    """The scores of the systems of a corpus, and their differences to the first one."""
    machines = sorted({run.machine for each in systems.values() for run in each.runs.values()})
    times = [f"CPU minutes, machine {machine}" for machine in machines]
    header = ["system", "seeds", "validation", "test", "words lost"]
    header += times if len(times) > 1 else ["CPU minutes"]
    scores = []
    for name, system in systems.items():
        runs = system.runs.values()
        row = [name, len(runs), *(mean_and_deviation(system.f1(split)) for split in SCORED)]
        row.append(max(run.words_lost["test"] for run in runs))
        for machine in machines:
            minutes = [run.cpu_minutes for run in runs if run.machine == machine]
            row.append(f"{statistics.mean(minutes):.1f}" if minutes else "")
        scores.append(row)
    tables = [table(header, scores)]
    compared = {name: each.difference for name, each in systems.items() if each.difference}
    if compared:
        tables.append(describe_differences(next(iter(systems)), compared))
    recalls = {
        name: [run.recall_by_type.get("test") for run in system.runs.values()]
        for name, system in systems.items()
    }
    if all(all(seeds) for seeds in recalls.values()):  # of spans only
        tables.append(describe_recall(recalls))
    return "\n\n".join(tables)


def describe_differences(first: str, compared: dict[str, dict[str, dict]]) -> str:
    """The difference of every system to the first one, with its intervals and tests.

    Args:
        compared: ScoredSystem.difference of every other system.
    """
    of_test = {name: found["test"] for name, found in compared.items()}
    raised = {}
    for key in ("p_over_sentences", "p_over_seeds"):
        tested = {name: found[key] for name, found in of_test.items() if found[key] is not None}
        raised[key] = dict(zip(tested, holm([*tested.values()]), strict=True))
    rows = []
    for name, found in compared.items():
        row = [name, " and ".join(map(str, found["test"]["runs"]))]
        for split in SCORED:
            each = found[split]
            value, low, high = (f"{100 * each[key]:+.2f}" for key in ("value", "low", "high"))
            row.append(f"{value} ({low} to {high})")
        row += [f"{p[name]:.4f}" if name in p else "" for p in raised.values()]
        rows.append(row)
    header = ["runs", "validation", "test", "p over sentences", "p over seeds"]
    return table([f"minus {first}", *header], rows)


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


def as_results(settings: str, measured: dict[str, dict[str, ScoredSystem]]) -> dict:
    """What scores.json has of the systems of every corpus.

    Args:
        settings: that all runs share.
    """
    corpora = {
        corpus: {
            name: {
                "options": system.options,
                "runs": {
                    seed: {key: value for key, value in vars(run).items() if key != "counts"}
                    for seed, run in system.runs.items()
                },
                "difference": system.difference,
            }
            for name, system in systems.items()
        }
        for corpus, systems in measured.items()
    }
    return {"settings": settings, "corpora": corpora}


def write_counts(file: Path, measured: dict[str, dict[str, ScoredSystem]]) -> None:
    """scores.npz: the counts of every run, by names such as "wnut17/tagloop/1/test"."""
    counts = {
        f"{corpus}/{name}/{seed}/{split}": counts.astype(np.uint16)
        for corpus, systems in measured.items()
        for name, system in systems.items()
        for seed, run in system.runs.items()
        for split, counts in run.counts.items()
    }
    np.savez_compressed(file, **counts)


def read_results(file: Path, settings: str) -> dict[str, dict[str, ScoredSystem]]:
    """The systems of every corpus as scores.json has them; nothing without the file.

    Args:
        settings: of the runs that are to be added; runs with others cannot be compared with them.
    """
    counts: dict[str, np.ndarray] = {}
    if not file.exists():
        return {}
    measured = json.loads(file.read_text(encoding="utf-8"))["measured"]
    if measured["settings"] != settings:
        sys.exit(f"--keep: {file} has runs of {measured['settings']} and not of {settings}")
    if file.with_suffix(".npz").exists():
        with np.load(file.with_suffix(".npz")) as arrays:
            counts = {key: arrays[key].astype(np.int64) for key in arrays}
    found: dict[str, dict[str, ScoredSystem]] = {}
    for corpus, systems in measured["corpora"].items():
        for name, each in systems.items():
            runs = {}
            for seed, run in each["runs"].items():
                keys = {split: f"{corpus}/{name}/{seed}/{split}" for split in SCORED}
                own = {split: counts[key] for split, key in keys.items() if key in counts}
                runs[int(seed)] = ScoredRun(**run, counts=own)
            system = ScoredSystem(each["options"], runs, each["difference"])
            found.setdefault(corpus, {})[name] = system
    return found
