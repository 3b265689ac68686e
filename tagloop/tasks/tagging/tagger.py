"""Tags new text with a trained model: tags of words, and entities.

    tagger = load_tagger("runs/mine")
    tagger(["Ann Lee lives in Oslo."])[0].entities
    tagger([["Ann", "Lee", "lives"]])[0].tags

The tags are equal to the predictions of the training run. They are equal to those of
`transformers.pipeline(..., aggregation_strategy="first")` if the pipeline splits the text into the
same words.
"""

from collections.abc import Callable, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForTokenClassification, PreTrainedTokenizerFast

from tagloop.batches.forward import evaluation_batches, forward_batches, places_of
from tagloop.data.documents.neighbours import Context
from tagloop.data.documents.reading import Entity, Tagged, listed
from tagloop.data.splitting import WAYS, WordsWay, find_words, split_text
from tagloop.data.words import schemes
from tagloop.errors import InputError
from tagloop.models import onnx_model
from tagloop.models.model import max_input_length
from tagloop.models.tokenizers import load_tokenizer, probe_template
from tagloop.models.trained import load_trained, read_record, require_finite_weights, require_texts
from tagloop.options.config import Config
from tagloop.processes.devices import autocast_of, choose_device, padding_multiple
from tagloop.tasks import TASKS
from tagloop.tasks.tagging.alignment import resolve_stride
from tagloop.tasks.tagging.decoding import DECODINGS, build_legal, decode, decode_legal
from tagloop.tasks.tagging.encoding import build_encoder
from tagloop.tasks.tagging.kinds import KINDS
from tagloop.tasks.tagging.predictions import logits_of_words
from tagloop.tasks.tagging.windows import Windows
from tagloop.wording import first_line

DIGITS = 4  # A probability has so many decimals; further decimals depend on the padding.
# The values in config.json that a training run of this task writes.
RECORD: dict[str, Callable[[Any], bool]] = {
    "task": lambda value: value in TASKS,
    "words": lambda value: value in WAYS,
    "max_length": lambda value: type(value) is int and value > 0,
    "stride": lambda value: value is None or (type(value) is int and value >= 0),
    "decoding": lambda value: value in DECODINGS,
    "context_tokens": lambda value: type(value) is int and value >= 0,
    "unmarked_split": lambda value: value in ("error", "document"),
    "document_column_name": lambda value: value is None or isinstance(value, str),
}


class Tagger:
    """Tags texts and sentences of words; load_tagger builds a tagger.

    Args:
        words: how a text is split into words.
        task: of `KINDS`.
        max_length: sub-tokens in a window, special tokens included.
        stride: as `resolve_stride` takes it.
        legal: bool [num_labels + 1, num_labels + 1], which label may follow which, as `build_legal`
            makes it; None: every word gets its likeliest label.
        context: what a window sees of its document; None: its own sentence alone.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        tokenizer: PreTrainedTokenizerFast,
        *,
        words: WordsWay,
        task: str,
        max_length: int,
        stride: int | None,
        batch_size: int,
        mixed_precision: str,
        equal_lengths: bool,
        legal: torch.Tensor | None = None,
        context: Context | None = None,
    ):
        self.model, self.tokenizer, self.legal = model, tokenizer, legal
        self.words, self.task, self.kind = words, task, KINDS[task]
        self.max_length, self.batch_size = max_length, batch_size
        self.equal_lengths = equal_lengths
        self.mixed_precision, self.context = mixed_precision, context
        self.labels = [model.config.id2label[index] for index in range(model.config.num_labels)]
        is_onnx = isinstance(model, onnx_model.OnnxModel)
        self.num_embeddings = None if is_onnx else len(model.get_input_embeddings().weight)
        self.template = probe_template(tokenizer)
        budget = max_length - self.template.num_special
        self.encoder = build_encoder(
            tokenizer,
            self.template,
            label2id={},
            budget=budget,
            stride=resolve_stride(stride, budget),
            label_all_tokens=False,
            context_tokens=context.tokens if context else 0,
        )

    def __call__(
        self,
        inputs: str | Sequence[str | Sequence[str]],
        documents: Sequence[Any] | None = None,
    ) -> list[Tagged]:
        """Tag texts.

        The needed memory grows with the number of inputs, so a long file should be given in parts.

        Args:
            inputs: one text; or a list in which each entry is a text, the words of a sentence, or a
                pair of a text and its words.
            documents: the name or number of the document of every input, for a model that was
                trained with --context_tokens: inputs that follow each other, with equal values, see
                each other. A value of None, or no list, is a document of its own.

        Returns:
            Words, tags, probabilities and entities of every input.

        Raises:
            InputError: there are not as many documents as inputs; or as `listed` raises it.
        """
        inputs = listed(inputs)
        numbers = _numbered([None] * len(inputs) if documents is None else documents)
        if len(numbers) != len(inputs):
            raise InputError(
                f"documents: {len(numbers):,} for {len(inputs):,} inputs; give one for each"
            )
        sentences = [self._split(item) for item in inputs]
        label_ids, scores = self._label([tokens for _, tokens, _ in sentences], numbers)
        results, start = [], 0
        for text, tokens, offsets in sentences:
            end = start + len(tokens)
            tags = [self.labels[index] for index in label_ids[start:end].tolist()]
            probabilities = scores[start:end].tolist()
            spans = self._spans(tags)
            entities = _entities(text, spans, probabilities, offsets)
            rounded = [round(score, DIGITS) for score in probabilities]
            places = [(first, end) for first, end, _ in spans]
            results.append(Tagged(text, tokens, tags, rounded, entities, places))
            start = end
        return results

    def _split(self, item: Any) -> tuple[str, list[str], list[tuple[int, int]]]:
        """The text, the words, and the characters (start, end) of every word in the text."""
        if isinstance(item, str):
            offsets = split_text(item, self.words)
            return item, [item[start:end] for start, end in offsets], offsets
        if isinstance(item, tuple) and len(item) == 2 and not isinstance(item[1], str):
            text, tokens = item[0], list(item[1])
            offsets = find_words(text, tokens)
            if offsets is not None:
                return text, tokens, offsets
        else:
            tokens = list(item)
        text, end, offsets = " ".join(tokens), 0, []
        for token in tokens:
            offsets.append((end, end + len(token)))
            end += len(token) + 1
        return text, tokens, offsets

    @torch.inference_mode()
    def _label(
        self, sentences: list[list[str]], documents: list[int]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Label ids of all words, int64 [num_words], and their probabilities, float32."""
        num_words = sum(map(len, sentences))
        label_ids, scores = np.zeros(num_words, np.int64), np.zeros(num_words, np.float32)
        if num_words == 0:
            return label_ids, scores
        windows, device = self._windows(sentences, documents), self.model.device
        all_logits = torch.zeros(num_words if self.legal is not None else 0, len(self.labels))
        batches = evaluation_batches(
            windows, batch_size=self.batch_size, equal_lengths=self.equal_lengths
        )
        with autocast_of(device, self.mixed_precision):
            for batch, outputs in forward_batches(self.model, windows, batches, device):
                places = places_of(windows, batch.example_ids)
                logits = logits_of_words(windows, batch, outputs.logits)
                if self.legal is not None:
                    all_logits[torch.from_numpy(places)] = logits.float().cpu()
                    continue
                counts = torch.from_numpy(windows.num_units[batch.example_ids])
                best, probabilities = decode(self.model, logits, counts)
                label_ids[places] = best.cpu().numpy()
                scores[places] = probabilities.cpu().numpy()
        if self.legal is not None:
            counts = torch.tensor([*map(len, sentences)])
            best, probabilities = decode_legal(all_logits, counts, self.legal)
            return best.numpy(), probabilities.numpy()
        return label_ids, scores

    def _windows(self, sentences: list[list[str]], documents: list[int]) -> Windows:
        arrays, facts = self.encoder.encode_words(sentences, documents)
        highest, rows = arrays["input_ids"].max(initial=0), self.num_embeddings
        if rows is not None and highest >= rows:
            raise InputError(
                f"the tokenizer gives the id {highest:,}, and the model has {rows:,} embeddings: "
                "they belong to two models; put back the files that were saved together"
            )
        return Windows(
            **arrays,
            facts=facts,
            template=self.template,
            pad_token_id=self.tokenizer.pad_token_id or 0,
            max_length=self.max_length,
            pad_to_max_length=False,
            pad_to_multiple_of=padding_multiple(self.model.device, self.mixed_precision),
        )

    def _spans(self, tags: list[str]) -> list[tuple[int, int, str]]:
        """First word, end (exclusive) and type of every span; none for tags that mark no spans."""
        if self.task == "pos":
            return []
        scheme = schemes.scheme_of_labels([*self.model.config.id2label.values()])
        return schemes.spans(schemes.to_iob2(tags, scheme) if scheme else tags)


def _numbered(documents: Sequence[Any]) -> list[int]:
    """A number for each document, another one wherever a value is None or not as before.

    >>> _numbered(["a", "a", None, None, "a"])
    [0, 0, 1, 2, 3]
    """
    pairs = zip(documents, [None, *documents], strict=False)
    begins = [value is None or value != before for value, before in pairs]
    return [number - 1 for number in accumulate(begins)]


def _entities(
    text: str,
    spans: list[tuple[int, int, str]],
    scores: list[float],
    offsets: list[tuple[int, int]],
) -> list[Entity]:
    entities = []
    for first, end, label in spans:
        begin, stop = offsets[first][0], offsets[end - 1][1]
        score = round(sum(scores[first:end]) / (end - first), DIGITS)
        entities.append(
            Entity(start=begin, end=stop, label=label, text=text[begin:stop], score=score)
        )
    return entities


def load_tagger(
    folder: str | Path,
    *,
    words: WordsWay | None = None,
    batch_size: int = 32,
    device: str | torch.device | None = None,
    mixed_precision: str = "no",
) -> Tagger:
    """Load a tagger from the folder of a training run, of export.py, or of another trained model.

    Args:
        folder: the folder of the model.
        words: how running text is split into words. None takes the way that config.json names,
            because the words of the training data look like this; without a name it is
            "punctuation".
        batch_size: the number of the longest windows that go through the model at once.
        device: None takes a GPU if the machine has one, else the CPU.
        mixed_precision: "no" (float32), "bf16" or "fp16".

    Raises:
        InputError: the folder has no saved model, the model has no trained head, its tokenizer
            does not keep words apart, or its labels cannot follow each other legally.
    """
    folder = Path(folder)
    record = read_record(folder, RECORD)
    model, tokenizer = _load_model(folder)
    shortest = tokenizer.num_special_tokens_to_add() + 1
    if record.get("max_length", shortest) < shortest:
        raise InputError(
            f"{folder / 'config.json'}: tagloop.max_length {record['max_length']} leaves no room "
            f"for a word beside {shortest - 1} special tokens; put back the number of the training"
        )
    model.to(choose_device(device)).eval()
    tags = list(model.config.id2label.values())
    marks_spans = all(tag == "O" or schemes.is_span_tag(tag) for tag in tags)
    return Tagger(
        model,
        tokenizer,
        words=words or record.get("words") or "punctuation",
        task=record.get("task") or ("ner" if marks_spans else "pos"),
        max_length=record.get("max_length")
        or max_input_length(Config(), AutoModelForTokenClassification, model.config, tokenizer),
        stride=record.get("stride"),
        batch_size=batch_size,
        mixed_precision=mixed_precision,
        equal_lengths=bool(record.get("equal_lengths")),
        legal=build_legal(tags, str(folder)) if record.get("decoding") == "legal" else None,
        context=_context(record),
    )


def _load_model(folder: Path) -> tuple[torch.nn.Module, PreTrainedTokenizerFast]:
    """The model of a folder, which may be an ONNX file, and its tokenizer."""
    try:
        tokenizer = load_tokenizer(Config(model_name_or_path=str(folder)), [], pre_split=True)
        if not (folder / onnx_model.NAME).is_file():  # Only export.py writes this file.
            head = AutoModelForTokenClassification
            return load_trained(folder, head, head="TokenClass", targets="tags"), tokenizer
        model = onnx_model.load_onnx(folder)
        require_finite_weights(folder, model)
        require_texts(folder, model)
    except InputError:
        raise
    except Exception as error:  # Damaged files raise all kinds of errors.
        reason = first_line(error)
        raise InputError(f"{folder}: not a model that predicts tags: {reason}") from error
    return model, tokenizer


def _context(record: dict[str, Any]) -> Context | None:
    """What the model was trained to see beside a sentence, from the record in config.json."""
    if not record.get("context_tokens"):
        return None
    return Context(
        record["context_tokens"],
        unmarked_is_document=record.get("unmarked_split") == "document",
        column=record.get("document_column_name"),
    )
