"""Answers questions about contexts with a trained model.

    predictor = load_predictor("runs/mine")
    predictor([("Who left?", "Ann left.")])[0].values
    # {"predicted_answer": "Ann", "answer_start": 0, "answer_end": 3, "score": 0.98}

The answers are equal to the predictions of the training run.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from transformers import AutoModelForQuestionAnswering, PreTrainedTokenizerFast

from tagloop.batches.examples import IGNORE_INDEX
from tagloop.batches.forward import evaluation_batches, forward_batches, places_of
from tagloop.data.documents.reading import Content, ContentReader, NamedValues, listed
from tagloop.errors import InputError
from tagloop.models.model import max_input_length
from tagloop.models.tokenizers import load_tokenizer
from tagloop.models.trained import load_trained, read_record
from tagloop.options.config import FIELDS, Config
from tagloop.processes.devices import autocast_of, choose_device, padding_multiple
from tagloop.tasks.qa.decoding import Choice, Decoded, decode_questions
from tagloop.tasks.qa.encoding import (
    FACTS,
    USUAL_LENGTH,
    QuestionEncoder,
    QuestionWindows,
    windows_of_arrays,
)
from tagloop.tasks.task import Task
from tagloop.wording import require_whole, shown

FORMATS = ("jsonl", "csv", "tsv")
SPLITS_WORDS = False
DIGITS = 4  # A probability has so many decimals; further decimals depend on the padding.
HEAD = AutoModelForQuestionAnswering


def _is_size(value: Any) -> bool:
    return type(value) is int and value > 0


def _is_threshold(value: Any) -> bool:
    try:
        return value is None or (isinstance(value, str) and math.isfinite(float(value)))
    except ValueError:
        return False


# The values in config.json that a training run of this task writes.
RECORD = {
    "max_length": _is_size,
    "doc_stride": lambda value: type(value) is int and value >= 0,
    "max_answer_length": _is_size,
    "null_threshold": _is_threshold,
}


class Predictor:
    """Answers questions about contexts; load_predictor builds a predictor."""

    kind = None  # The predictions are no tags of words.

    def __init__(
        self,
        model: torch.nn.Module,
        tokenizer: PreTrainedTokenizerFast,
        choice: Choice,
        *,
        max_length: int,
        doc_stride: int,
        batch_size: int,
        mixed_precision: str,
        equal_lengths: bool,
    ):
        self.model, self.tokenizer, self.choice = model, tokenizer, choice
        self.max_length, self.doc_stride = max_length, doc_stride
        self.equal_lengths = equal_lengths
        self.batch_size, self.mixed_precision = batch_size, mixed_precision

    @torch.inference_mode()
    def __call__(self, inputs: Sequence[Content]) -> list[NamedValues]:
        """Answer questions. The needed memory grows with the number of questions.

        Args:
            inputs: pairs of a question and its context.

        Returns:
            For every question `predicted_answer`, `answer_start` and `answer_end` (characters of
            the context; None without an answer) and `score`, the probability among the best
            answers; and as `more` the best answers. The answer of a question that has none is "".

        Raises:
            InputError: an input is no such pair, or a question leaves its context no room.
        """
        inputs = listed(inputs)
        if not inputs:
            return []
        if any(len(item) != 2 or not isinstance(item[1], str) for item in map(_parts, inputs)):
            raise InputError(
                "a text alone cannot be answered; give --file with rows that have a question and "
                'a context: {"question": "Who left?", "context": "Ann left."}'
            )
        windows, device = self._encode(inputs), self.model.device
        logits = np.zeros((2, int(windows.offsets[-1])), np.float32)
        batches = evaluation_batches(
            windows, batch_size=self.batch_size, equal_lengths=self.equal_lengths
        )
        with autocast_of(device, self.mixed_precision):
            for batch, outputs in forward_batches(self.model, windows, batches, device):
                is_own, places = batch.labels != IGNORE_INDEX, places_of(windows, batch.example_ids)
                for row, name in enumerate(("start_logits", "end_logits")):
                    logits[row, places] = outputs[name].float()[is_own].cpu().numpy()
        contexts = [context for _, context in inputs]
        return [
            _named(decoded)
            for decoded in decode_questions(windows, contexts, *logits, choice=self.choice)
        ]

    def _encode(self, inputs: Sequence[Content]) -> QuestionWindows:
        nothing = [None] * len(inputs)
        questions, contexts = zip(*inputs, strict=True)
        columns = {
            "id": nothing,
            "question": list(questions),
            "context": list(contexts),
            "answers": nothing,
        }
        table = pa.table(columns, schema=pa.schema(dict.fromkeys(columns, pa.string())))
        encoder = QuestionEncoder(self.tokenizer, self.max_length, self.doc_stride, False)
        arrays, facts = encoder.encode(table)
        for name in ("offsets", "row_offsets"):
            arrays[name] = np.concatenate([[0], arrays[name].cumsum()])
        return windows_of_arrays(
            arrays,
            dict.fromkeys(FACTS, 0) | facts,
            self.tokenizer,
            max_length=self.max_length,
            pad_to_max_length=False,
            pad_to_multiple_of=padding_multiple(self.model.device, self.mixed_precision),
        )


def _named(decoded: Decoded) -> NamedValues:
    answer, n_best = decoded.answer, decoded.n_best()
    share = next((probability for one, probability in n_best if one == answer), 0.0)
    return NamedValues(
        {
            "predicted_answer": answer.text,
            "answer_start": answer.start if answer.text else None,
            "answer_end": answer.end if answer.text else None,
            "score": round(share, DIGITS),
        },
        {
            "n_best": [
                {"text": one.text, "score": round(probability, DIGITS)}
                for one, probability in n_best
            ]
        },
        [(answer.start, answer.end)] if answer.text else [],
    )


def _parts(item: Content) -> Sequence[Any]:
    return [item] if isinstance(item, str) else item


def example_input(task: Task) -> str:
    """What the console shows as the first use of predict.py after a training: its arguments."""
    return f"--file FILE.{FORMATS[0]}"


def content_reader(folder: Path) -> ContentReader:
    """The reader of the question and the context of a row."""

    def content_of(row: dict[str, Any], column: str | None, place: str) -> Content:
        if column:
            raise InputError(
                "--text_column_name: not for a model that answers questions; its columns are "
                "called question and context"
            )
        for name in ("question", "context"):
            if name not in row:
                raise InputError(
                    f"{place}: no column {name!r}; its columns are {', '.join(row) or 'none'}"
                )
            if not isinstance(row[name], str):
                raise InputError(f"{place}: {name} holds {shown(row[name])}, which is no text")
            require_whole(row[name], place)
        return row["question"], row["context"]

    return content_of


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
        batch_size: the number of the longest windows that go through the model at once.
        device: None takes a GPU if the machine has one, else the CPU.
        mixed_precision: "no" (float32), "bf16" or "fp16".

    Raises:
        InputError: the folder has no saved model, or the model has no trained head.
    """
    folder = Path(folder)
    record = read_record(folder, RECORD)
    model = load_trained(folder, HEAD, head="QuestionAnswering", targets="answers")
    config = Config(model_name_or_path=str(folder))
    tokenizer = load_tokenizer(config, [], pre_split=False)
    limit = max_input_length(config, HEAD, model.config, tokenizer)
    threshold = record.get("null_threshold")
    defaults = {name: FIELDS[name].default for name in ("doc_stride", "max_answer_length")}
    choice = Choice(
        n_best_size=FIELDS["n_best_size"].default,
        max_answer_length=record.get("max_answer_length", defaults["max_answer_length"]),
        version_2_with_negative=threshold is not None,
        null_score_diff_threshold=float(threshold or 0),
    )
    return Predictor(
        model.to(choose_device(device)),
        tokenizer,
        choice,
        max_length=min(record.get("max_length") or USUAL_LENGTH, limit),
        doc_stride=record.get("doc_stride", defaults["doc_stride"]),
        batch_size=batch_size,
        mixed_precision=mixed_precision,
        equal_lengths=bool(record.get("equal_lengths")),
    )
