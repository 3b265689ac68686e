"""Predicts the class, or the number, of new texts with a trained model.

    predictor = load_predictor("runs/mine")
    predictor(["It rained all day."])[0].values  # {"predicted_label": "weather", "score": 0.98}

The answers are equal to the predictions of the training run.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from transformers import AutoModelForSequenceClassification, PreTrainedTokenizerFast

from tagloop.batches.forward import evaluation_batches, forward_batches
from tagloop.data.documents.reading import (
    Content,
    ContentReader,
    NamedValues,
    listed,
    reader_of_columns,
)
from tagloop.errors import InputError
from tagloop.models.model import max_input_length
from tagloop.models.tokenizers import load_tokenizer
from tagloop.models.trained import load_trained, read_record
from tagloop.options.config import Config
from tagloop.processes.devices import autocast_of, choose_device, padding_multiple
from tagloop.tasks.classification.columns import TEXTS
from tagloop.tasks.classification.encoding import LabelledRows, TextEncoder
from tagloop.tasks.task import Task
from tagloop.wording import shown

FORMATS = ("jsonl", "csv", "tsv", "txt")
SPLITS_WORDS = False
HAS_MEAN = True  # Several models predict by the mean of their probabilities.
DIGITS = 4  # A probability has so many decimals; further decimals depend on the padding.
HEAD = AutoModelForSequenceClassification
# The values in config.json that a training run of this task writes.
RECORD = {
    "max_length": lambda value: type(value) is int and value > 0,
    "text_column": lambda value: isinstance(value, str),
    "pair_column": lambda value: value is None or isinstance(value, str),
}


class Predictor:
    """Predicts for texts, or pairs of texts; load_predictor builds a predictor."""

    kind = None  # The predictions are no tags of words.

    def __init__(
        self,
        model: torch.nn.Module,
        tokenizer: PreTrainedTokenizerFast,
        *,
        max_length: int,
        batch_size: int,
        mixed_precision: str,
        equal_lengths: bool,
        takes_pairs: bool,
        learned_pairs: bool,
    ):
        self.takes_pairs = takes_pairs
        self.learned_pairs = learned_pairs
        self.model, self.tokenizer = model, tokenizer
        self.max_length, self.batch_size = max_length, batch_size
        self.equal_lengths = equal_lengths
        self.mixed_precision = mixed_precision
        self.labels = [model.config.id2label[index] for index in range(model.config.num_labels)]

    @torch.inference_mode()
    def __call__(self, inputs: str | Sequence[Content]) -> list[NamedValues]:
        """Predict for texts. The end of a text that is too long for the model has no influence.

        The needed memory grows with the number of inputs, so a long file should be given in parts.

        Args:
            inputs: one text; or a list in which each entry is a text or a pair of texts.

        Returns:
            For every input `predicted_label` and `score`, the probability of this class, and as
            `more` the probabilities of all classes; of a regression `predicted_number` alone.

        Raises:
            InputError: an input is no text and no pair, or not what the model was trained with.
        """
        inputs = listed(inputs)
        if not inputs:
            return []
        rows, device = self._encode(inputs), self.model.device
        logits = np.zeros((len(inputs), len(self.labels)), np.float32)
        batches = evaluation_batches(
            rows, batch_size=self.batch_size, equal_lengths=self.equal_lengths
        )
        with autocast_of(device, self.mixed_precision):
            for batch, outputs in forward_batches(self.model, rows, batches, device):
                logits[batch.example_ids] = outputs.logits.float().cpu().numpy()
        if len(self.labels) == 1:
            return [NamedValues({"predicted_number": float(f"{n:.6g}")}, {}) for (n,) in logits]
        scores = torch.from_numpy(logits).softmax(-1)
        return [self._named(row) for row in scores.tolist()]

    def _named(self, scores: list[float]) -> NamedValues:
        best = int(np.argmax(scores))
        rounded = [round(score, DIGITS) for score in scores]
        return NamedValues(
            {"predicted_label": self.labels[best], "score": rounded[best]},
            {"scores": dict(zip(self.labels, rounded, strict=True))},
        )

    def _encode(self, inputs: Sequence[Content]) -> LabelledRows:
        pairs = [(item, None) if isinstance(item, str) else tuple(item) for item in inputs]
        for number, pair in enumerate(pairs):
            if len(pair) != 2 or (pair[1] is not None and not self.takes_pairs):
                wanted = "a text or a pair of texts" if self.takes_pairs else "one text"
                raise InputError(
                    f"inputs[{number}] holds {shown(inputs[number])}; this model reads {wanted}"
                )
        # A row must not depend on its neighbours. Beside pairs, a text was learned with an empty
        # second one.
        has_pairs = self.learned_pairs or any(second is not None for _, second in pairs)
        encoder = TextEncoder(self.tokenizer, self.max_length, has_pairs)
        texts, seconds = zip(*pairs, strict=True)
        schema = pa.schema({"text": pa.string(), "pair": pa.string()})
        table = pa.table({"text": texts, "pair": seconds}, schema=schema)
        arrays, _ = encoder.encode(table)
        arrays["offsets"] = np.concatenate([[0], arrays["offsets"].cumsum()])
        if "token_type_ids" not in self.tokenizer.model_input_names:
            arrays["type_ids"] = None
        nothing = np.zeros(len(inputs), dtype=bool)
        return LabelledRows(
            **arrays,
            labels=np.zeros(len(inputs), np.int64),
            has_label=nothing,
            is_learned=nothing,
            pad_token_id=self.tokenizer.pad_token_id or 0,
            max_length=self.max_length,
            pad_to_max_length=False,
            pad_to_multiple_of=padding_multiple(self.model.device, self.mixed_precision),
        )


def example_input(task: Task) -> str:
    """What the console shows as the first use of predict.py after a training: its arguments."""
    if task.rows.columns.get("pair"):
        return f"--file FILE.{FORMATS[0]}"
    return '--text "Write a text here."'


def content_reader(folder: Path) -> ContentReader:
    """The reader of the text, or of the pair of texts, of a row.

    A row has its texts in the columns of the training data, else in columns with usual names.

    Args:
        folder: the folder of the model; its config.json names the columns of the training data.

    Raises:
        InputError: config.json cannot be read.
    """
    record = read_record(folder, RECORD)
    trained = [name for name in (record.get("text_column"), record.get("pair_column")) if name]
    return reader_of_columns([trained, *(names.split() for names in TEXTS)])


def load_predictor(
    folder: str | Path,
    *,
    batch_size: int = 32,
    device: str | torch.device | None = None,
    mixed_precision: str = "no",
) -> Predictor:
    """Load a predictor from the folder of a training run, or of another trained model.

    Args:
        folder: the folder of the model.
        batch_size: the number of the longest texts that go through the model at once.
        device: None takes a GPU if the machine has one, else the CPU.
        mixed_precision: "no" (float32), "bf16" or "fp16".

    Raises:
        InputError: the folder has no saved model, or the model has no trained head.
    """
    folder = Path(folder)
    record = read_record(folder, RECORD)
    model = load_trained(folder, HEAD, head="SequenceClass", targets="classes")
    config = Config(model_name_or_path=str(folder), task_name="classification")
    tokenizer = load_tokenizer(config, [], pre_split=False)
    limit = max_input_length(config, HEAD, model.config, tokenizer)
    return Predictor(
        model.to(choose_device(device)),
        tokenizer,
        max_length=min(record.get("max_length") or limit, limit),
        batch_size=batch_size,
        mixed_precision=mixed_precision,
        equal_lengths=bool(record.get("equal_lengths")),
        # Another program that trained a model left no record of its data.
        takes_pairs="text_column" not in record or record.get("pair_column") is not None,
        learned_pairs=record.get("pair_column") is not None,
    )
