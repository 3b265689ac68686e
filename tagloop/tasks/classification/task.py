"""Text classification and regression: one or two texts a row, one class or number. GLUE style.

python train_loop.py --task_name classification --train_file train.csv ...  # docs/new_task.md
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from sklearn.metrics import (
    accuracy_score,
    f1_score,
    matthews_corrcoef,
    precision_recall_fscore_support,
)
from torch import Tensor, nn
from torch.nn.functional import mse_loss
from transformers import (
    AutoModelForSequenceClassification,
    PreTrainedConfig,
    PreTrainedTokenizerFast,
)
from transformers.modeling_outputs import SequenceClassifierOutput

from tagloop.batches.packing import MicroBatch
from tagloop.data.labels import labels_alike
from tagloop.data.rows import Rows, load_rows
from tagloop.errors import InputError
from tagloop.files import write_text
from tagloop.models.class_loss import CROSS_ENTROPY, ClassLoss, build_class_loss
from tagloop.models.heads import unknown_labels
from tagloop.models.model import load_model, load_model_config, max_input_length
from tagloop.models.tokenizers import load_tokenizer
from tagloop.options.class_loss import ClassLossOptions
from tagloop.options.config import Config
from tagloop.sample.corpus import build_sample_texts
from tagloop.tasks.card_facts import CardFacts
from tagloop.tasks.classification.card import describe_card
from tagloop.tasks.classification.columns import choose_columns
from tagloop.tasks.classification.encoding import LabelledRows, encode_texts
from tagloop.tasks.classification.labels import (
    are_numbered,
    as_named,
    choose_classes,
    labels_of_rows,
)
from tagloop.tasks.task import LOSS, Metric, Scores, choose_metric, needed_splits, sizes_of
from tagloop.tasks.tokenizer_task import TokenizerTask, unknown_line
from tagloop.wording import shown

USUAL_CLASSES = 100  # A small file may have as many classes as texts.
PREDICTION_FILES = ("predictions.tsv",)
# With two classes f1 is that of the second class.
CLASS_METRICS = ("accuracy", "f1", "macro_f1", "matthews")
METRICS_OF_CLASSES = [*map(Metric, CLASS_METRICS), LOSS]
METRICS_OF_NUMBERS = [Metric("pearson"), Metric("mse", lower_is_better=True), LOSS]


@dataclass(frozen=True)
class Classification(TokenizerTask):
    """See `tagloop.tasks.task.Task`. An example is a row; without labels its target is a number.

    `unknown` are classes of the data that the model does not know: a row of such a class is missed.
    `class_loss` is the loss of training and of evaluations, if there are classes.
    """

    config: Config
    rows: Rows
    labels: list[str]
    tokenizer: PreTrainedTokenizerFast
    model_config: PreTrainedConfig
    examples: dict[str, LabelledRows]
    metric: Metric
    warnings: list[str]
    unknown: Sequence[str] = ()
    class_loss: ClassLoss = CROSS_ENTROPY
    prediction_files: ClassVar[tuple[str, ...]] = PREDICTION_FILES

    @property
    def fingerprints(self) -> dict[str, str]:
        return self.rows.fingerprints

    @property
    def identity(self) -> dict:
        return super().identity | self.class_loss.identity(self.model_config.id2label)

    def build_model(self) -> nn.Module:
        model = load_model(
            self.config,
            AutoModelForSequenceClassification,
            self.model_config,
            self.tokenizer,
            self.warnings,
            has_labels=True,
            label_counts=count_classes(self.labels, self.examples),
            examples=self.examples.values(),
        )
        if "train" in self.examples:  # predict.py reads these values from config.json.
            self.record(
                model,
                max_length=self.examples["train"].max_length,
                text_column=self.rows.columns["text"],
                pair_column=self.rows.columns.get("pair"),
            )
        return model

    def losses(self, outputs: SequenceClassifierOutput, batch: MicroBatch) -> Tensor:
        """The loss of every row, [rows]; of numbers the squared errors, [rows with a label]."""
        labels = batch.labels
        if self.labels:
            return self.class_loss(outputs.logits, labels)
        known = ~labels.isnan()
        return mse_loss(outputs.logits.flatten()[known], labels[known], reduction="none")

    def predict(
        self,
        model: nn.Module,
        batch: MicroBatch,
        outputs: SequenceClassifierOutput,
        losses: Tensor,
        split: str,
    ) -> dict[str, Tensor]:
        """For every row `class`, int32, and `probability`, float32; or `number`, float32.

        A run of --folds predicts `gold_probability`, float32, beside a class, too.
        """
        logits = outputs.logits[: len(batch.example_ids)].float()
        if not self.labels:
            return {"number": logits.flatten()}
        shares = logits.softmax(-1)
        probability, best = shares.max(-1)
        predicted = {"class": best.to(torch.int32), "probability": probability}
        if self.config.fold is not None:  # The report on --folds finds label errors by it.
            examples = self.examples[split]
            labels = examples.labels[batch.example_ids]
            known = torch.from_numpy(examples.is_learned[batch.example_ids])
            ids = torch.from_numpy(labels).where(known, 0).to(shares.device)
            gold = shares.gather(-1, ids[:, None])[:, 0]
            predicted["gold_probability"] = gold * known.to(shares.device)
        return predicted

    def score(self, split: str, predictions: dict[str, np.ndarray], loss: float | None) -> Scores:
        """Scores from 0 to 1, Matthews' coefficient from -1 to 1; of numbers `pearson` and `mse`.

        Rows without a label are not scored.
        """
        examples = self.examples[split]
        gold = examples.labels[examples.has_label]
        found = predictions["class" if self.labels else "number"][examples.has_label]
        if not len(gold):
            return Scores({}, {})
        if not self.labels:
            defined = np.ptp(gold) > 0 and np.ptp(found) > 0
            pearson = float(np.corrcoef(gold, found)[0, 1]) if defined else 0.0
            return Scores({"pearson": pearson, "mse": float(np.square(gold - found).mean())}, {})
        several = len({*gold, *found}) > 1  # Of one class alone the coefficient is not defined.
        classes = [*self.labels, *self.unknown]
        ids = np.arange(len(classes))
        columns = precision_recall_fscore_support(gold, found, labels=ids, zero_division=0)
        names = ("precision", "recall", "f1", "number")
        types = zip(classes, zip(*columns, strict=True), strict=True)
        second, micro = columns[2][1], f1_score(gold, found, average="micro", zero_division=0)
        values = {
            "accuracy": accuracy_score(gold, found),
            "f1": second if len(self.labels) == 2 else micro,
            "macro_f1": f1_score(gold, found, average="macro", zero_division=0),
            "matthews": matthews_corrcoef(gold, found) if several else 0.0,
        }
        by_class = {
            label: {name: v.item() for name, v in zip(names, values, strict=True)}
            for label, values in types
        }
        return Scores(values, by_class)

    def write(self, folder: Path, split: str, predictions: dict[str, np.ndarray]) -> None:
        """predictions.tsv: for every row a line with its class and probability, or its number."""
        if self.labels:
            pairs = zip(predictions["class"], predictions["probability"], strict=True)
            names = [" ".join(label.split()) for label in self.labels]  # A row stays one line.
            lines = [f"{names[best]}\t{probability:.6f}" for best, probability in pairs]
        else:
            lines = [f"{value:.6g}" for value in predictions["number"]]
        write_text(folder / "predictions.tsv", "\n".join([*lines, ""]))

    def describe(self) -> list[tuple[str, str]]:
        lines = []
        for split, rows in self.examples.items():
            lines.append((split, f"{len(rows):,} rows"))
            without = int((~rows.has_label).sum())
            if without and split != "predict":
                lines.append(("", f"{without:,} rows have no label: neither trained nor scored"))
            lines.append(unknown_line(rows.num_unknown, len(rows.input_ids)))
        first = json.dumps(next(iter(self.rows.splits.values()))[0], ensure_ascii=False)[:200]
        lines += [("columns", self.rows.columns_line), ("first row", first)]
        return [*lines, ("labels", ", ".join(self.labels)[:200] or "a number")]

    def card(self) -> CardFacts:
        of_pairs = bool(self.rows.columns.get("pair"))
        return describe_card(self.labels, sizes_of(self), of_pairs=of_pairs)


def load_task(config: Config, *, pad_to_multiple_of: int) -> Classification:
    """Load rows, labels, tokenizer, and the encoded texts of the splits that the options need.

    Args:
        pad_to_multiple_of: the number of columns of a batch is a multiple of this number.

    Raises:
        InputError: the data is bad, or the options do not fit the data.
    """
    rows = load_rows(config, lambda *table: choose_columns(config, *table), build_sample_texts)
    found = as_named(config, labels_of_rows(rows))
    labels = choose_classes(config, found)
    check_variety(rows, found.classes if found else [])
    metric = choose_metric(config, METRICS_OF_CLASSES if labels else METRICS_OF_NUMBERS)
    sample = rows.splits["train"]["text"] if config.uses_sample_model else []
    tokenizer = load_tokenizer(config, map(str.split, sample), pre_split=False)
    head = AutoModelForSequenceClassification
    model_config = load_model_config(config, head, tokenizer, labels or ["LABEL_0"])
    vars(model_config).pop("tagloop", None)  # The run that made this model wrote it.
    if labels and len(model_config.id2label) == 1:
        raise InputError(
            f"all labels are {shown(model_config.id2label[0])}, and one class alone cannot be "
            "learned; add rows of another class, or name another column with --label_column_name"
        )
    # A decoder finds the end of a row by this id.
    model_config.pad_token_id = tokenizer.pad_token_id
    examples, warnings = {}, list(rows.warnings)
    label2id, unknown = dict(model_config.label2id) if labels else None, []
    if labels and found is not None:
        label2id, unknown = ids_of_labels(model_config, found.classes, warnings)
    for split, dataset in needed_splits(config, rows.splits).items():
        examples[split], cut = encode_texts(
            dataset, rows.fingerprints[split], tokenizer,
            lambda cell: rows.value_of(cell, "label", label2id),
            num_classes=len(model_config.id2label) if labels else None,
            has_pairs=rows.columns.get("pair") is not None,
            max_length=max_input_length(config, head, model_config, tokenizer),
            pad_to_max_length=config.pad_to_max_length, pad_to_multiple_of=pad_to_multiple_of,
            num_workers=config.preprocessing_num_workers or 1,
        )  # fmt: skip
        if cut:
            warnings.append(f"{split}: {cut:,} texts lost their end; the model takes no more")
    labels = list(model_config.id2label.values()) if labels else []
    if labels and "train" in examples:
        warnings += labels_alike({"": labels}) + unlearned(labels, examples)
    class_loss = CROSS_ENTROPY
    if labels:
        class_loss = build_class_loss(config, labels, lambda: count_classes(labels, examples))
    else:
        refuse_class_options(config)
    return Classification(
        config,
        rows,
        labels,
        tokenizer,
        model_config,
        class_loss.weigh(examples),
        metric,
        warnings,
        unknown,
        class_loss,
    )


def ids_of_labels(
    model_config: PreTrainedConfig, classes: list[str], warnings: list[str]
) -> tuple[dict[str, int], list[str]]:
    """The id of every class of the model and of the data, and the classes of the data alone.

    Args:
        classes: of the data.
        warnings: gains a sentence about classes that the model does not know.
    """
    label2id = dict(model_config.label2id)
    if are_numbered(list(label2id), classes):
        return label2id | {str(number): number for number in label2id.values()}, []
    classes = [name for name in classes if name in label2id or name != "-1"]
    unknown = unknown_labels(model_config, classes, warnings)
    return label2id | {name: len(label2id) + n for n, name in enumerate(unknown)}, unknown


def count_classes(labels: list[str], examples: dict[str, LabelledRows]) -> np.ndarray | None:
    """The targets of every class in the training data; None without classes or training data."""
    if not labels or "train" not in examples:
        return None
    train = examples["train"]
    return np.bincount(train.labels[train.is_learned], minlength=len(labels))


def refuse_class_options(config: Config) -> None:
    """Raise InputError if an option is given that is for classes, as the labels are numbers."""
    for name in ClassLossOptions.__dataclass_fields__:
        if getattr(config, name):
            raise InputError(f"--{name}: is for classes, and the labels of this data are numbers")


def unlearned(labels: list[str], examples: dict[str, LabelledRows]) -> list[str]:
    """A warning for every split with classes that the training split does not have."""
    learned = {*examples["train"].labels[examples["train"].has_label]}
    warnings = []
    for split, rows in examples.items():
        others = sorted({*rows.labels[rows.has_label]} - learned)
        if others and split != "predict":
            names = ", ".join(labels[other] for other in others if other < len(labels))
            warnings.append(
                f"{split}: classes that the training split does not have, and no model can learn: "
                f"{names}"
            )
    return warnings


def check_variety(rows: Rows, labels: list[str]) -> None:
    """Refuse a column of texts, or of numbers of rows, that was taken for the classes.

    Raises:
        InputError: there are as many classes as texts.
    """
    if len(labels) > USUAL_CLASSES:
        texts = {text for dataset in rows.whole.values() for text in dataset.unique("text")}
        if len(labels) >= len(texts):
            raise InputError(
                f"{len(labels):,} different classes for {len(texts):,} different texts; is another "
                "column meant? See --text_column_name and --label_column_name"
            )
