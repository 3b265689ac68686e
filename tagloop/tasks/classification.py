"""Text classification and regression: one or two texts a row, one class or number. GLUE style.

    python train_loop.py --task_name classification --train_file train.csv ...

The second task, and the worked example of docs/new_task.md.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss
from transformers import AutoModelForSequenceClassification, PreTrainedConfig
from transformers.modeling_outputs import SequenceClassifierOutput

from tagloop.config import Config
from tagloop.data.rows import Rows, load_rows
from tagloop.data.tables import Table
from tagloop.errors import InputError
from tagloop.files import write_text
from tagloop.sample.corpus import build_sample_texts
from tagloop.tasks.task import choose_metric
from tagloop.training import models
from tagloop.training.examples import IGNORE_INDEX, LabelledRows
from tagloop.training.texts import encode_texts

TEXTS = ("sentence1 sentence2", "premise hypothesis", "question sentence", "text", "sentence")
METRICS = ("accuracy", "f1", "macro_f1", "matthews", "loss")  # f1 of two classes: of the second


@dataclass(frozen=True)
class Classification:
    """See `tagloop.tasks.task.Task`. An example is a row; without labels its target is a number."""

    config: Config
    rows: Rows
    labels: list[str]
    tokenizer: models.PreTrainedTokenizerFast
    model_config: PreTrainedConfig
    examples: dict[str, LabelledRows]
    best_metric: str
    warnings: list[str]

    @property
    def identity(self) -> dict:
        learned = [split for split in ("train", "validation") if split in self.examples]
        prints = {split: self.rows.fingerprints[split] for split in learned}
        return models.identify(prints, self.tokenizer, self.model_config)

    def build_model(self) -> nn.Module:
        head, counts = AutoModelForSequenceClassification, None
        if self.labels and "train" in self.examples:
            train = self.examples["train"]
            counts = np.bincount(train.labels[train.has_label], minlength=len(self.labels))
        return models.load_model(self.config, head, self.model_config, self.tokenizer, counts)

    def losses(self, outputs: SequenceClassifierOutput, labels: Tensor) -> Tensor:
        if self.labels:
            return cross_entropy(
                outputs.logits, labels, ignore_index=IGNORE_INDEX, reduction="none"
            )
        known = ~labels.isnan()
        return mse_loss(outputs.logits.flatten()[known], labels[known], reduction="none")

    def predict(self, outputs: SequenceClassifierOutput, split: str, ids: np.ndarray) -> Tensor:
        """A class and its probability for every row, or a number; float32."""
        logits = outputs.logits[: len(ids)].float()
        if not self.labels:
            return logits.flatten()
        probability, best = logits.softmax(-1).max(-1)
        return torch.stack([best.float(), probability], -1).flatten()

    def score(self, split: str, predictions: np.ndarray) -> dict[str, float]:
        examples = self.examples[split]
        gold = examples.labels[examples.has_label]
        found = predictions[:: examples.num_values][examples.has_label]
        if not self.labels:
            defined = len(gold) > 1 and np.ptp(gold) > 0 and np.ptp(found) > 0
            return {"pearson": float(np.corrcoef(gold, found)[0, 1]) if defined else 0.0}
        if not len(gold):
            return dict.fromkeys(METRICS[:-1], 0.0)
        average = "binary" if len(self.labels) == 2 else "micro"
        return {
            "accuracy": float(accuracy_score(gold, found)),
            "f1": float(f1_score(gold, found, average=average, zero_division=0)),
            "macro_f1": float(f1_score(gold, found, average="macro", zero_division=0)),
            "matthews": float(matthews_corrcoef(gold, found)),
        }

    def write(self, folder: Path, split: str, predictions: np.ndarray) -> None:
        """predictions.tsv: a line a row, the class and its probability, or the number."""
        lines = [f"{value:.6g}" for value in predictions]
        if self.labels:
            pairs = predictions.reshape(-1, 2)
            lines = [f"{self.labels[int(best)]}\t{p:.6f}" for best, p in pairs]
        write_text(folder / "predictions.tsv", "\n".join([*lines, ""]))

    def describe(self) -> list[tuple[str, str]]:
        lines = [(split, f"{len(texts):,} rows") for split, texts in self.examples.items()]
        read = ", ".join(f"{name} = {column}" for name, column in self.rows.columns.items())
        first = json.dumps(next(iter(self.rows.splits.values()))[0], ensure_ascii=False)
        labels = f"{len(self.labels)}: {', '.join(self.labels)}" if self.labels else "a number"
        return [*lines, ("columns", read), ("first row", first[:200]), ("labels", labels[:200])]


def load_classification(config: Config, *, pad_to_multiple_of: int) -> Classification:
    """Rows, label list, tokenizer and encoded texts of the splits that the options need.

    Raises:
        InputError: bad data, or options that do not fit it.
    """
    rows = load_rows(config, lambda *table: choose_columns(config, *table), build_sample_texts)
    labels = find_labels(rows)
    metric = choose_metric(config, METRICS if labels else ("pearson", "loss"))
    sample = rows.splits["train"]["text"] if config.uses_sample_model else []
    tokenizer = models.load_tokenizer(config, map(str.split, sample), pre_split=False)
    head = AutoModelForSequenceClassification
    model_config = models.load_model_config(config, head, labels or ["LABEL_0"], tokenizer)
    model_config.pad_token_id = tokenizer.pad_token_id  # decoders find a row's end by it

    def read_label(cell: str) -> int | float | None:
        name = name_of(cell, rows)
        return name and (model_config.label2id[name] if labels else float(name))

    needed = {"train": config.do_train, "validation": config.do_eval}
    examples, warnings = {}, list(rows.warnings)
    for split, dataset in rows.splits.items():
        if needed.get(split, config.do_predict):
            examples[split], cut = encode_texts(
                dataset, rows.fingerprints[split], tokenizer,
                read_label, num_values=2 if labels else 1,
                max_length=models.max_input_length(config, head, model_config, tokenizer),
                pad_to_max_length=config.pad_to_max_length, pad_to_multiple_of=pad_to_multiple_of,
            )  # fmt: skip
            warnings += [f"{split}: {cut:,} texts lost their end; the model takes no more"] * (
                cut > 0
            )
    labels = list(model_config.id2label.values()) if labels else []
    return Classification(config, rows, labels, tokenizer, model_config, examples, metric, warnings)


def name_of(cell: str | None, rows: Rows) -> str | None:
    """The class that a cell names; None for no label (empty, or -1 as GLUE's test splits)."""
    names = rows.class_names.get("label")
    cell = (cell or "").strip()
    return names[int(cell)] if names and cell != "-1" else None if cell in ("", "-1") else cell


def find_labels(rows: Rows) -> list[str]:
    """The classes of all splits, in order; none if the label column holds real numbers."""
    if "label" in rows.class_names:
        return rows.class_names["label"]
    cells = {cell for dataset in rows.whole.values() for cell in dataset.unique("label")}
    found = {name for cell in cells if (name := name_of(cell, rows)) is not None}
    if not found:
        raise InputError("no row has a label; give --label_column_name")
    try:
        numbers = {name: float(name) for name in found}
    except ValueError:
        return sorted(found)
    return sorted(found, key=numbers.get) if all(n.is_integer() for n in numbers.values()) else []


def choose_columns(config: Config, table: Table, split: str) -> dict[str, str | None]:
    """Which columns hold text, its pair and the label: as given, else by GLUE's usual names."""
    usual = next((pair.split() for pair in TEXTS if {*pair.split()} <= {*table.columns}), [])
    text, pair = (*usual, None, None)[:2]
    if config.text_column_name:
        text, pair = config.text_column_name, None
    label = config.label_column_name or next(
        (n for n in ("label", "labels") if n in table.columns), None
    )
    chosen = {"text": text, "pair": config.text_pair_column_name or pair, "label": label}
    if split == "predict" and label not in table.columns:
        chosen["label"] = None
    missing = [n for n, c in chosen.items() if c not in table.columns and (c or n == "text")]
    if missing or (chosen["label"] is None and split != "predict"):
        raise InputError(
            f"{split}: which column holds the {(missing or ['label'])[0]}? There are {', '.join(table.columns)}; "
            "give --text_column_name, --text_pair_column_name or --label_column_name"
        )
    return chosen
