"""Continues new texts, or fills their gaps, with a trained model.

    predictor = load_predictor("runs/mine")
    predictor(["It rained"])[0].values  # {"generated_text": "It rained all day."}

The answers are those of transformers' pipelines "text-generation", with the most probable sub-token
at every step, and "fill-mask"; a T5 fills sentinels with what `generate` gives.
"""

import re
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from tagloop.data.documents.reading import (
    ContentReader,
    NamedValues,
    listed_texts,
    reader_of_columns,
)
from tagloop.errors import InputError
from tagloop.models.generation import generate_ids
from tagloop.models.model import max_input_length
from tagloop.models.tokenizers import load_tokenizer
from tagloop.models.trained import load_trained, read_record
from tagloop.options.config import Config
from tagloop.processes.devices import autocast_of, choose_device
from tagloop.tasks import task_of
from tagloop.tasks.language_modelling.language_model import HEADS
from tagloop.tasks.language_modelling.options import CAUSAL, MASKED, SPANS
from tagloop.tasks.language_modelling.special_tokens import SENTINEL, find_sentinels, missing_token
from tagloop.tasks.tokenizer_task import TokenizerTask
from tagloop.wording import shown

FORMATS = ("jsonl", "csv", "tsv", "txt")
SPLITS_WORDS = False
NEW_TOKENS = 50  # Sub-tokens that are put behind a text, at most.
IS_SENTINEL = re.compile(SENTINEL.format(r"\d+"))
BEST = 5  # Words that are named for a gap.
DIGITS = 4  # A probability has so many decimals; further decimals depend on the padding.
# The values in config.json that a training run of this task writes.
RECORD = {
    "max_length": lambda value: type(value) is int and value > 0,
    "text_column": lambda value: isinstance(value, str),
}


class Predictor:
    """Predicts for texts; load_predictor builds a predictor.

    Attributes:
        max_length: sub-tokens that the model takes at once.
    """

    kind = None  # The predictions are no tags of words.

    def __init__(
        self,
        model: torch.nn.Module,
        tokenizer: PreTrainedTokenizerFast,
        *,
        max_length: int,
        batch_size: int,
        mixed_precision: str,
    ):
        self.model, self.tokenizer = model, tokenizer
        self.max_length, self.batch_size = max_length, batch_size
        self.mixed_precision = mixed_precision

    @torch.inference_mode()
    def __call__(self, inputs: str | Sequence[str]) -> list[NamedValues]:
        """Predict for one text or for several. Texts of one length are computed together."""
        texts = listed_texts(inputs)
        found: list[NamedValues | None] = [None] * len(texts)
        ids = [self._encode(text) for text in texts]
        device = self.model.device
        with autocast_of(device, self.mixed_precision):
            for numbers in batches_of_one_length([len(each) for each in ids], self.batch_size):
                rows = torch.tensor([ids[number] for number in numbers], device=device)
                answers = self._answer(rows, [texts[number] for number in numbers])
                for number, answer in zip(numbers, answers, strict=True):
                    found[number] = answer
        return found

    def _encode(self, text: str) -> list[int]:
        raise NotImplementedError

    def _answer(self, rows: Tensor, texts: list[str]) -> list[NamedValues]:
        """The answers for rows of sub-tokens, int64 [rows, columns], which no padding is in."""
        raise NotImplementedError


def _unread_gap(text: str, max_length: int) -> InputError:
    return InputError(
        f"{shown(text)}: has a gap after the {max_length} sub-tokens that the model reads; "
        "shorten the text before the gap"
    )


class Continuation(Predictor):
    """Gives every text with its most probable continuation as `generated_text`."""

    def _encode(self, text: str) -> list[int]:
        """The last sub-tokens of a text, with room for new ones; without a token for its end."""
        ids = self.tokenizer(text, verbose=False).input_ids
        while ids and ids[-1] in (self.tokenizer.sep_token_id, self.tokenizer.eos_token_id):
            ids.pop()
        ids = ids[-max(1, self.max_length - NEW_TOKENS) :]
        begin = self.tokenizer.bos_token_id, self.tokenizer.eos_token_id
        return ids or [next((token_id for token_id in begin if token_id is not None), 0)]

    def _answer(self, rows: Tensor, texts: list[str]) -> list[NamedValues]:
        generated = self.model.generate(
            rows,
            attention_mask=torch.ones_like(rows),
            do_sample=False,
            num_beams=1,
            max_new_tokens=min(NEW_TOKENS, max(1, self.max_length - rows.shape[1])),
            pad_token_id=self.tokenizer.pad_token_id,
        )
        answers = []
        for text, before, after in zip(texts, rows, generated, strict=True):
            start = self.tokenizer.decode(before, skip_special_tokens=True)
            whole = self.tokenizer.decode(after, skip_special_tokens=True)
            answers.append(NamedValues({"generated_text": text + whole[len(start) :]}, {}))
        return answers


class Filling(Predictor):
    """Gives every text with its gaps filled as `sequence`, and `score`, the lowest probability.

    `more` has, for every gap, the most probable sub-tokens as `fillings`. The end of a text that is
    too long for the model stays as it is.
    """

    def _encode(self, text: str) -> list[int]:
        return self._read(text)[0]

    def _read(self, text: str) -> tuple[list[int], str]:
        """The sub-tokens that the model reads of a text, and the rest of the text.

        Raises:
            InputError: a gap is in the rest.
        """
        read = self.tokenizer(
            text,
            truncation=True,
            max_length=self.max_length,
            return_offsets_mapping=True,
            verbose=False,
        )
        rest = ""
        if len(read.input_ids) == self.max_length:
            rest = text[max(end for _, end in read.offset_mapping) :]
            rest = rest if rest.strip() else ""
            if self.tokenizer.mask_token in rest:
                raise _unread_gap(text, self.max_length)
        return read.input_ids, rest

    def _answer(self, rows: Tensor, texts: list[str]) -> list[NamedValues]:
        logits = self.model(rows, attention_mask=torch.ones_like(rows)).logits
        answers = []
        for text, ids, scores in zip(texts, rows, logits, strict=True):
            gaps = (ids == self.tokenizer.mask_token_id).nonzero().flatten()
            if not len(gaps):
                answers.append(NamedValues({"sequence": text, "score": None}, {"fillings": []}))
                continue
            best = scores[gaps].float().softmax(-1).topk(BEST)
            filled = ids.clone()
            filled[gaps] = best.indices[:, 0]
            fillings = [
                [
                    {"token_str": self.tokenizer.decode([token_id]), "score": round(share, DIGITS)}
                    for token_id, share in zip(*each, strict=True)
                ]
                for each in zip(best.indices.tolist(), best.values.tolist(), strict=True)
            ]
            sequence = self.tokenizer.decode(filled, skip_special_tokens=True) + self._read(text)[1]
            lowest = round(float(best.values[:, 0].min()), DIGITS)
            answers.append(
                NamedValues({"sequence": sequence, "score": lowest}, {"fillings": fillings})
            )
        return answers


class SpanFilling(Predictor):
    """Gives every text with its sentinels filled as `sequence`; `more` has them as `fillings`.

    A filling is empty if the model wrote nothing for this sentinel.
    """

    @cached_property
    def sentinels(self) -> dict[int, str]:
        """The names of the sentinels by their ids."""
        ids = find_sentinels(self.tokenizer).tolist()
        return {token_id: SENTINEL.format(number) for number, token_id in enumerate(ids)}

    def _encode(self, text: str) -> list[int]:
        """The first sub-tokens of a text, and the end."""
        ids = self.tokenizer(text, add_special_tokens=False, verbose=False).input_ids
        if any(token_id in self.sentinels for token_id in ids[self.max_length - 1 :]):
            raise _unread_gap(text, self.max_length)
        return [*ids[: self.max_length - 1], self.tokenizer.eos_token_id]

    def _answer(self, rows: Tensor, texts: list[str]) -> list[NamedValues]:
        written = generate_ids(
            self.model,
            {"input_ids": rows, "attention_mask": torch.ones_like(rows)},
            num_examples=len(rows),
            max_new_tokens=NEW_TOKENS + rows.shape[1],
            num_beams=1,
            pad_token_id=self.tokenizer.pad_token_id,
        )
        answers = []
        for text, ids in zip(texts, written.tolist(), strict=True):
            spans, fillings = self._spans_of(ids), []

            def fill(sentinel: re.Match, spans=spans, fillings=fillings) -> str:
                fillings.append(spans.get(sentinel[0], ""))
                return fillings[-1]

            sequence = IS_SENTINEL.sub(fill, text)
            answers.append(NamedValues({"sequence": sequence}, {"fillings": fillings}))
        return answers

    def _spans_of(self, ids: list[int]) -> dict[str, str]:
        """What a model wrote behind every sentinel, up to another one or to the end.

        What stands behind a sentinel that is written again belongs to the same gap.
        """
        spans: dict[str, list[int]] = {}
        span: list[int] = []
        for token_id in ids:
            if token_id == self.tokenizer.eos_token_id:
                break
            if token_id in self.sentinels:
                span = spans.setdefault(self.sentinels[token_id], [])
            else:
                span.append(token_id)
        return {
            sentinel: self.tokenizer.decode(span, skip_special_tokens=True).strip()
            for sentinel, span in spans.items()
        }


def batches_of_one_length(lengths: list[int], size: int) -> Iterator[list[int]]:
    """Batches of numbers of texts of one length, so that no text is padded.

    Args:
        lengths: sub-tokens of every text.
        size: texts in a batch, at most.

    >>> [*batches_of_one_length([3, 1, 3, 3], 2)]
    [[1], [0, 2], [3]]
    """
    by_length: dict[int, list[int]] = {}
    for number, length in enumerate(lengths):
        by_length.setdefault(length, []).append(number)
    for _, numbers in sorted(by_length.items()):
        yield from (numbers[start : start + size] for start in range(0, len(numbers), size))


def example_input(task: TokenizerTask) -> str:
    """What the console shows as the first use of predict.py after a training: its arguments."""
    gaps = {MASKED: task.tokenizer.mask_token, SPANS: SENTINEL.format(0)}
    gap = gaps.get(task.config.task_name)
    return f'--text "Write a text with a gap: {gap}."' if gap else '--text "Begin a text here"'


def content_reader(folder: Path) -> ContentReader:
    """The reader of the text of a row: the column of the training data, else `text`.

    Raises:
        InputError: config.json of the folder cannot be read.
    """
    trained = read_record(folder, RECORD).get("text_column")
    return reader_of_columns([[trained] if trained else [], ["text"]])


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
        batch_size: texts that go through the model at once, at most.
        device: None takes a GPU if the machine has one, else the CPU.
        mixed_precision: "no" (float32), "bf16" or "fp16".

    Raises:
        InputError: the folder has no saved model, or the model has no trained head.
    """
    folder = Path(folder)
    task_name, record = task_of(folder), read_record(folder, RECORD)
    auto_class, head = HEADS[task_name], "ConditionalGeneration" if task_name == SPANS else "LM"
    model = load_trained(folder, auto_class, head=head, targets="sub-tokens")
    config = Config(model_name_or_path=str(folder), task_name=task_name)
    tokenizer = load_tokenizer(config, [], pre_split=False)
    if missing := missing_token(task_name, tokenizer):
        raise InputError(f"{folder}: the tokenizer lacks {missing[0]}: a text can have no gaps")
    limit = max_input_length(config, auto_class, model.config, tokenizer)
    kind = {CAUSAL: Continuation, MASKED: Filling, SPANS: SpanFilling}[task_name]
    return kind(
        model.to(choose_device(device)),
        tokenizer,
        max_length=limit if task_name == CAUSAL else min(record.get("max_length") or limit, limit),
        batch_size=batch_size,
        mixed_precision=mixed_precision,
    )
