"""Summarizes new texts with a trained model.

    predictor = load_predictor("runs/mine")
    predictor(["A long text."])[0].values  # {"summary_text": "A text."}

The summaries are those that the training run would predict, and those of `generate` in
transformers with the saved folder.
"""

from collections.abc import Sequence
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModelForSeq2SeqLM

from tagloop.batches.examples import SubTokenRows, to_tensors
from tagloop.batches.forward import evaluation_batches
from tagloop.data.documents.reading import (
    ContentReader,
    NamedValues,
    listed_texts,
    reader_of_columns,
)
from tagloop.errors import InputError
from tagloop.models.generation import generate_ids
from tagloop.models.tokenizers import load_tokenizer
from tagloop.models.trained import load_trained, read_record
from tagloop.options.config import FIELDS, Config
from tagloop.processes.devices import autocast_of, choose_device, padding_multiple
from tagloop.tasks.summarization.columns import USUAL
from tagloop.tasks.summarization.encoding import PairEncoder
from tagloop.tasks.summarization.task import decode, row_lengths
from tagloop.tasks.task import Task

FORMATS = ("jsonl", "csv", "tsv", "txt")
SPLITS_WORDS = False


def _is_size(value: object) -> bool:
    return type(value) is int and value > 1


# The values in config.json that a training run of this task writes.
RECORD = {
    "source_prefix": lambda value: isinstance(value, str),
    "max_source_length": _is_size,
    "max_length": _is_size,
    "text_column": lambda value: isinstance(value, str),
}


class Predictor:
    """Summarizes texts; load_predictor builds a predictor."""

    kind = None  # The predictions are no tags of words.

    def __init__(
        self,
        model: torch.nn.Module,
        encoder: PairEncoder,
        *,
        max_length: int,
        batch_size: int,
        mixed_precision: str,
        equal_lengths: bool,
    ):
        self.model, self.encoder, self.tokenizer = model, encoder, encoder.tokenizer
        self.max_length, self.batch_size = max_length, batch_size
        self.equal_lengths = equal_lengths
        self.mixed_precision = mixed_precision

    @torch.inference_mode()
    def __call__(self, inputs: str | Sequence[str]) -> list[NamedValues]:
        """Summarize one text or several; the batches are those of texts of similar length."""
        texts = listed_texts(inputs)
        if not texts:
            return []
        tokenizer, device = self.tokenizer, self.model.device
        ids, _ = self.encoder.encode_sources(texts)
        rows = SubTokenRows(
            input_ids=np.fromiter(chain.from_iterable(ids), np.int32),
            offsets=np.cumsum([0, *map(len, ids)]),
            pad_token_id=tokenizer.pad_token_id,
            max_length=self.encoder.max_source_length,
            pad_to_max_length=False,
            pad_to_multiple_of=padding_multiple(device, self.mixed_precision),
        )
        found: list[str] = [""] * len(texts)
        with autocast_of(device, self.mixed_precision):
            for numbers in evaluation_batches(
                rows, batch_size=self.batch_size, equal_lengths=self.equal_lengths
            ):
                batch = to_tensors(rows.pad_inputs(numbers))
                generated = generate_ids(
                    self.model,
                    {name: tensor.to(device) for name, tensor in batch.items()},
                    num_examples=len(numbers),
                    max_new_tokens=self.max_length - 1,
                    pad_token_id=tokenizer.pad_token_id,
                )
                summaries = decode(tokenizer, generated.cpu().numpy())
                for number, summary in zip(numbers.tolist(), summaries, strict=True):
                    found[number] = summary
        return [NamedValues({"summary_text": summary}, {}) for summary in found]


def example_input(task: Task) -> str:
    """What the console shows as the first use of predict.py after a training: its arguments."""
    return '--text "Write a text here."'


def content_reader(folder: Path) -> ContentReader:
    """The reader of the text of a row: the column of the training data, else a usual name.

    Raises:
        InputError: config.json of the folder cannot be read.
    """
    trained = read_record(folder, RECORD).get("text_column")
    usual = dict.fromkeys(source for source, _ in USUAL)
    return reader_of_columns([[trained] if trained else [], *([name] for name in usual)])


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
        InputError: the folder has no saved model, or the model writes no text.
    """
    folder = Path(folder)
    record = read_record(folder, RECORD)
    model = load_trained(folder, AutoModelForSeq2SeqLM, head="", targets="summaries")
    tokenizer = load_tokenizer(Config(model_name_or_path=str(folder)), [], pre_split=False)
    if tokenizer.pad_token_id is None:
        raise InputError(f"{folder}: the tokenizer has no padding token; put back its files")
    limit, _ = row_lengths(Config(max_target_length=2), model.config)  # Nothing is learned here.
    encoder = PairEncoder(
        tokenizer,
        prefix=record.get("source_prefix", ""),
        max_source_length=record.get("max_source_length") or limit,
        max_target_length=2,
    )
    own = model.generation_config.max_length
    return Predictor(
        model.to(choose_device(device)),
        encoder,
        max_length=record.get("max_length") or own or FIELDS["max_target_length"].default,
        batch_size=batch_size,
        mixed_precision=mixed_precision,
        equal_lengths=bool(record.get("equal_lengths")),
    )
