"""What a finished run did not write down: its data, and its saved model applied to part of it."""

import dataclasses
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch

from tagloop.batches.forward import places_of
from tagloop.batches.plan import plan_evaluation
from tagloop.options.config import Config
from tagloop.pages.sentences import Sentence, surface, to_spans
from tagloop.report.outcome import Outcome
from tagloop.tasks.classification.task import Classification
from tagloop.tasks.tagging.task import Tagging
from tagloop.tasks.task import load_task

AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}
BATCH_SIZE = 32


def complete(
    outcome: Outcome, *, sample: int, device: str | None, largest_model: int | None
) -> None:
    """Add to an outcome what data and model tell: probabilities, training entities, gold classes.

    Whatever fails (data moved, a model of code that is gone) leaves a note.

    Args:
        sample: sentences or rows that the model is applied to, drawn at random; four times as many
            where the run wrote no predictions, as all scores are of them; 0: none.
        device: None: a GPU if there is one.
        largest_model: bytes; a larger model is not loaded.
    """
    if outcome.record.get("fingerprints", {}).keys() == {"train"}:
        outcome.notes.append("the run had neither validation nor test data")
        return
    try:
        task = load_task(_as_it_was(outcome), pad_to_multiple_of=1)
    except Exception as error:  # moved, damaged: the page goes without
        outcome.notes.append(f"the data of the run cannot be read again: {_reason(error)}")
        return
    moved = _changed_splits(outcome, task)
    if isinstance(task, Tagging):
        if "train" in moved:
            outcome.notes.append("seen entities are left out: the training data is another one now")
        else:
            outcome.training = _training_spans(outcome, task)
        if outcome.sentences and "test" not in moved:
            _find_rows(outcome, task)
    elif "test" not in moved and not outcome.options["predict_file"]:
        _read_classes(outcome, task)
    if outcome.split and outcome.task == "classification":
        return  # the run wrote the probabilities, too
    split = next((name for name in ("test", "validation") if _has_gold(task, name)), None)
    size = _size(outcome.folder / "model.safetensors")
    if split is None:
        outcome.notes.append("neither test nor validation data has gold answers")
    elif split in moved:
        outcome.notes.append(
            f"the {split} data is another one now: the model is not applied to it, as its scores "
            "would not be those of the run"
        )
    elif sample == 0:
        outcome.notes.append("--sample 0: without applying the model, no calibration")
    elif largest_model is not None and size > largest_model:
        outcome.notes.append(
            f"the model ({size / 2**30:.1f} GiB) was not loaded again at the end of its run; "
            f"python report.py {outcome.folder} shows calibration, too"
        )
    else:
        try:
            _apply(outcome, task, split, sample, device)
        except Exception as error:  # out of memory, a damaged file: the rest stands
            outcome.notes.append(f"the saved model cannot be applied: {_reason(error)}")


def _as_it_was(outcome: Outcome) -> Config:
    """The options of the run, to read its data and its model, and to train nothing."""
    known = {f.name for f in dataclasses.fields(Config)}
    options = {name: value for name, value in outcome.options.items() if name in known}
    config = Config(**options)
    return dataclasses.replace(
        config, model_name_or_path=str(outcome.folder), config_name=None, tokenizer_name=None,
        model_type=None, predict_file=None, ignore_mismatched_sizes=False, do_train=False,
        do_eval=True, do_predict=True, load_best_model_at_end=False, metric_for_best_model=None,
    )  # fmt: skip


def _reason(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _has_gold(task: Tagging | Classification, split: str) -> bool:
    return split in task.examples and int(task.examples[split].target_weights.sum()) > 0


def _changed_splits(outcome: Outcome, task: Tagging | Classification) -> set[str]:
    """Splits that the run read otherwise than they are read now. Older runs noted no test data."""
    identity, now = outcome.record.get("identity", {}), task.fingerprints
    then = identity.get("data", {}) | outcome.record.get("fingerprints", {})
    return {split for split in now.keys() & then.keys() if now[split] != then[split]}


def _find_rows(outcome: Outcome, task: Tagging) -> None:
    """Rows of the sentences in predictions.conll, where those without a gold tag are left out."""
    test = task.corpus.splits.get("test")
    tags = [] if test is None else test["tags"]
    rows = [row for row, of in enumerate(tags) if any(tag is not None for tag in of)]
    if len(rows) == len(outcome.sentences):
        outcome.rows = rows
    elif test is not None:
        outcome.notes.append(
            f"predictions.conll has {len(outcome.sentences):,} sentences, the test data "
            f"{len(rows):,}: the file is not what this run predicted"
        )


def _training_spans(outcome: Outcome, task: Tagging) -> dict[str, set[str]] | None:
    """The words of every span of the training data, as predictions.conll writes them."""
    if "train" not in task.corpus.splits:
        return None
    training: dict[str, set[str]] = defaultdict(set)
    for batch in task.corpus.splits["train"].iter(1000):
        for words, tags in zip(batch["tokens"], batch["tags"], strict=True):
            sentence = _sentence(words, tags, tags, outcome.task)
            for span in sentence.gold:
                training[surface(sentence, span)].add(span[2])
    return training


def _sentence(
    words: list[str], gold: list[str | None], predicted: list[str], task: str
) -> Sentence:
    """Words with a gold tag, as they are scored."""
    kept = [index for index, tag in enumerate(gold) if tag is not None]
    shown = ["".join("_" if c.isspace() else c for c in words[index]) or "_" for index in kept]
    sides = [[side[index] for index in kept] for side in (gold, predicted)]
    return Sentence(shown, *(to_spans(side, task) for side in sides))


def _read_classes(outcome: Outcome, task: Classification) -> None:
    """Classes or numbers of the test rows, from predictions.tsv."""
    if not (outcome.folder / "predictions.tsv").is_file():
        return
    examples = task.examples.get("test")
    lines = (outcome.folder / "predictions.tsv").read_text(encoding="utf-8").split("\n")[:-1]
    if examples is None or len(lines) != len(examples):
        outcome.notes.append("predictions.tsv is not of the test data as it is now")
        return
    cells = [line.rsplit("\t", 1) for line in lines]
    numbers = np.array([float(row[-1]) for row in cells])
    classes = [row[0] for row in cells] if task.labels else None
    _take_rows(outcome, task, "test", np.flatnonzero(examples.has_label), classes, numbers)


def _take_rows(
    outcome: Outcome,
    task: Classification,
    split: str,
    rows: np.ndarray,
    classes: list[str] | None,
    numbers: np.ndarray,
) -> None:
    """Put rows of a split into an outcome.

    Args:
        classes: predicted of every row of the split; None for a regression.
        numbers: probabilities of the classes, or the predicted numbers.
    """
    gold, texts, outcome.split = task.examples[split].labels, task.rows.splits[split], split
    outcome.rows = rows.tolist()
    for row in outcome.rows:
        cells = texts[row]
        words = " ".join(filter(None, (cells["text"], cells["pair"]))).split() or ["_"]
        sides = ([], [])
        if classes is not None:
            span = (0, len(words))
            sides = ([(*span, task.labels[int(gold[row])])], [(*span, classes[row])])
        outcome.sentences.append(Sentence(words, *sides))
    if classes is None:
        outcome.numbers = np.stack([gold[rows], numbers[rows]], axis=1).astype(float)
    else:
        outcome.probabilities = numbers[rows]
        outcome.is_right = np.array([one.gold == one.predicted for one in outcome.sentences])


def _apply(
    outcome: Outcome, task: Tagging | Classification, split: str, sample: int, device: str | None
) -> None:
    """Predict a random part of a split; keep probabilities and, if there are none, predictions."""
    is_tagging, examples = isinstance(task, Tagging), task.examples[split]
    total = len(examples.sentence_offsets) - 1 if is_tagging else len(examples)
    is_all = not outcome.sentences  # that there is to show
    sample *= 4 if is_all else 1
    chosen = np.sort(np.random.default_rng(0).permutation(total)[:sample])
    ids = _windows_of(examples, chosen) if is_tagging else chosen
    values, probabilities = _predict(outcome, task, split, ids, device)
    if is_tagging:
        gold = examples.references
        known = np.flatnonzero((gold >= 0) & (probabilities >= 0))
        outcome.probabilities = probabilities[known]
        outcome.is_right = values[known] == gold[known]
        if outcome.has_spans:
            outcome.in_span = values[known] != task.model_config.label2id.get("O")
        if not outcome.sentences:
            names, offsets = task.model_config.id2label, examples.sentence_offsets
            outcome.rows = chosen.tolist()
            for row in task.corpus.splits[split].select(chosen):
                at = offsets[chosen[len(outcome.sentences)]]
                predicted = [names[i] for i in values[at : at + len(row["tokens"])].tolist()]
                sentence = _sentence(row["tokens"], row["tags"], predicted, outcome.task)
                outcome.sentences.append(sentence)
            outcome.split = split
    else:
        rows = chosen[examples.has_label[chosen]]
        classes = [task.labels[int(value)] for value in values] if task.labels else None
        _take_rows(outcome, task, split, rows, classes, probabilities if task.labels else values)
    if len(chosen) < total:
        what = "all this is" if is_all else "calibration is measured"
        outcome.notes.append(
            f"{what} on {len(chosen):,} of {total:,} {'sentences' if is_tagging else 'rows'} of "
            f"the {split} data, drawn at random (--sample)"
        )


def _windows_of(examples: object, sentences: np.ndarray) -> np.ndarray:
    """The windows whose words lie in these sentences."""
    sentence_of = np.searchsorted(
        examples.sentence_offsets, examples.word_offsets[:-1], side="right"
    )
    return np.flatnonzero(np.isin(sentence_of - 1, sentences))


@torch.inference_mode()
def _predict(
    outcome: Outcome,
    task: Tagging | Classification,
    split: str,
    ids: np.ndarray,
    device: str | None,
) -> tuple[np.ndarray, np.ndarray]:
    """Label id (or number) and probability of every word or row; probability -1 where not asked."""
    examples, is_tagging = task.examples[split], isinstance(task, Tagging)
    number = len(examples.references) if is_tagging else len(examples)
    values, probabilities = np.zeros(number), np.full(number, -1.0)
    device = torch.device(
        device or torch.accelerator.current_accelerator(check_available=True) or "cpu"
    )
    model = task.build_model().to(device).eval()
    precision = AUTOCAST.get(outcome.record.get("environment", {}).get("mixed_precision"))
    # Batches of one length: what an architecture makes of padding plays no part.
    plan = plan_evaluation(examples.lengths[ids], batch_size=BATCH_SIZE, equal_lengths=True)
    # One context for all batches: it casts the weights once.
    with torch.autocast(device.type, precision, enabled=precision is not None):
        for batch_ids in (ids[chosen] for chosen in plan):
            batch = examples.collate(batch_ids)
            del batch["labels"]
            logits = model(**{k: v.to(device) for k, v in batch.items()}).logits.float().cpu()
            places = batch_ids
            if is_tagging:
                counts = examples.num_units[batch_ids]
                rows, places = (
                    np.repeat(np.arange(len(batch_ids)), counts),
                    places_of(examples, batch_ids),
                )
                logits = logits[rows, examples.first_sub_token[places].astype(np.int64)]
            elif not task.labels:
                values[places] = logits.flatten().numpy()
                continue
            best, ids_of_best = logits.softmax(-1).max(-1)
            values[places], probabilities[places] = ids_of_best.numpy(), best.numpy()
    return values, probabilities
