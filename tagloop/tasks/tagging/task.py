"""Tagging: a tag for every word."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from transformers import AutoModelForTokenClassification, PreTrainedConfig, PreTrainedTokenizerFast
from transformers.modeling_outputs import TokenClassifierOutput

from tagloop.batches.forward import places_of
from tagloop.batches.packing import MicroBatch
from tagloop.data.sources import SPLITS
from tagloop.data.splitting import detect_way
from tagloop.data.words.corpus import Corpus, load_corpus
from tagloop.errors import InputError
from tagloop.models.class_loss import CROSS_ENTROPY, ClassLoss, build_class_loss
from tagloop.models.heads import unknown_labels
from tagloop.models.model import load_model, load_model_config, max_input_length
from tagloop.models.tokenizers import load_tokenizer
from tagloop.options.config import Config
from tagloop.tasks.card_facts import CardFacts
from tagloop.tasks.tagging.alignment import resolve_stride
from tagloop.tasks.tagging.card import describe_card
from tagloop.tasks.tagging.context import check_context, context_text, recorded_context
from tagloop.tasks.tagging.decoding import build_legal, choose_decoding, decode, decode_legal
from tagloop.tasks.tagging.header import header_lines
from tagloop.tasks.tagging.kinds import KINDS, read_choices
from tagloop.tasks.tagging.labels import known_metrics, refuse_other_schemes, refuse_plain_tags
from tagloop.tasks.tagging.predictions import (
    gold_probabilities,
    logits_of_words,
    to_tags,
    write_predictions,
)
from tagloop.tasks.tagging.windows import Windows, load_windows
from tagloop.tasks.task import Metric, Scores, choose_metric, needed_splits, sizes_of
from tagloop.tasks.tokenizer_task import TokenizerTask

PREDICTION_FILES = ("predictions.txt", "predictions.conll")


@dataclass(frozen=True)
class Tagging(TokenizerTask):
    """See `tagloop.tasks.task.Task`. An example is a window; each of its own words is predicted.

    `unknown` are tags of the data that the model does not know: a word that has one is missed.
    `legal` says which label may follow which (`build_legal`); None: --decoding best. `class_loss`
    is the loss of training and of evaluations.
    """

    config: Config
    corpus: Corpus
    tokenizer: PreTrainedTokenizerFast
    model_config: PreTrainedConfig
    examples: dict[str, Windows]
    metric: Metric
    unknown: Sequence[str] = ()
    legal: Tensor | None = None
    class_loss: ClassLoss = CROSS_ENTROPY
    prediction_files: ClassVar[tuple[str, ...]] = PREDICTION_FILES

    @property
    def labels(self) -> list[str]:
        """The labels of the model, in the order of their ids."""
        return list(self.model_config.id2label.values())

    @property
    def warnings(self) -> list[str]:
        return self.corpus.warnings

    @property
    def fingerprints(self) -> dict[str, str]:
        return self.corpus.fingerprints

    @property
    def identity(self) -> dict:
        return super().identity | self.class_loss.identity(self.model_config.id2label)

    def build_model(self) -> nn.Module:
        train = self.examples.get("train")
        model = load_model(
            self.config,
            AutoModelForTokenClassification,
            self.model_config,
            self.tokenizer,
            self.warnings,
            examples=self.examples.values(),
            has_labels=True,
            label_counts=train.label_counts(len(self.labels)) if train is not None else None,
        )
        if train is not None:  # predict.py reads these values from config.json.
            budget = train.max_length - train.template.num_special
            self.record(
                model,
                words=detect_way(self.corpus.splits["train"]["tokens"]),
                max_length=train.max_length,
                stride=resolve_stride(self.config.stride, budget),
                **({} if self.legal is None else {"decoding": "legal"}),
                **recorded_context(self.config),
            )
        return model

    def losses(self, outputs: TokenClassifierOutput, batch: MicroBatch) -> Tensor:
        """The loss of every sub-token, [rows * columns]; 0 where there is no target."""
        return self.class_loss(outputs.logits.flatten(0, 1), batch.labels.flatten())

    def predict(
        self,
        model: nn.Module,
        batch: MicroBatch,
        outputs: TokenClassifierOutput,
        losses: Tensor,
        split: str,
    ) -> dict[str, Tensor]:
        """Predict `label`, int16 [own words of the batch], and `probability`, float32.

        The label of a word is that of its first sub-token, as `decode` decides it. With --decoding
        legal, predict `logits`, float32 [own words of the batch, num_labels], for `complete`.
        A run of --folds predicts `gold_probability`, float32, too.
        """
        windows = self.examples[split]
        logits = logits_of_words(windows, batch, outputs.logits)
        if self.legal is not None:
            return {"logits": logits.float()}
        counts = torch.from_numpy(windows.num_units[batch.example_ids])
        label_ids, probabilities = decode(model, logits, counts)
        predicted = {"label": label_ids.to(torch.int16), "probability": probabilities}
        if self.config.fold is not None:  # The report on --folds finds label errors by it.
            references = windows.references[places_of(windows, batch.example_ids)]
            predicted["gold_probability"] = gold_probabilities(logits, references)
        return predicted

    def complete(self, split: str, predictions: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """With --decoding legal, `label` and `probability` of all words, sentence by sentence."""
        if self.legal is None:
            return predictions
        counts = torch.from_numpy(np.diff(self.examples[split].sentence_offsets))
        logits = torch.from_numpy(predictions["logits"])
        label_ids, probabilities = decode_legal(logits, counts, self.legal)
        found = {"label": label_ids.numpy().astype(np.int16), "probability": probabilities.numpy()}
        if self.config.fold is not None:
            references = self.examples[split].references
            found["gold_probability"] = gold_probabilities(logits, references).numpy()
        return found

    def score(self, split: str, predictions: dict[str, np.ndarray], loss: float | None) -> Scores:
        """Precision, recall and F1 of spans, or of plain tags accuracy and macro F1; from 0 to 1.

        Raises:
            InputError: the model predicts tags that are no spans, and the task has spans.
        """
        # This import takes half a second, which most commands never need.
        from tagloop.tasks.tagging.scores import TokenScores, type_scores

        task, predicted = self.config.task_name, self._tags(split, predictions["label"])
        gold = self._tags(split, self.examples[split].references)
        if KINDS[task].has_spans:
            refuse_plain_tags(self.config, predicted)
        scores = TokenScores().compute(
            predictions=predicted,
            references=gold,
            task=task,
            entity_level=self.config.return_entity_level_metrics,
        )
        return Scores(scores, type_scores(predicted, gold, task))

    def write(self, folder: Path, split: str, predictions: dict[str, np.ndarray]) -> None:
        """predictions.txt and predictions.conll; see `write_predictions`."""
        tags = self._tags(split, predictions["label"])
        write_predictions(folder, self.corpus.splits[split], tags)

    def describe(self) -> list[tuple[str, str]]:
        is_legal = self.legal is not None
        return header_lines(self.config, self.corpus, self.examples, self.labels, is_legal=is_legal)

    def card(self) -> CardFacts:
        context = context_text(self.config) if self.config.context_tokens else None
        sizes, is_legal = sizes_of(self), self.legal is not None
        return describe_card(self.config.task_name, self.labels, sizes, context, is_legal=is_legal)

    def _tags(self, split: str, label_ids: np.ndarray) -> list[list[str | None]]:
        offsets = self.examples[split].sentence_offsets
        tags = dict(enumerate([*self.labels, *self.unknown]))
        return to_tags(label_ids, offsets, tags)


def load_task(config: Config, *, pad_to_multiple_of: int) -> Tagging:
    """Load corpus, tokenizer, labels, and the windows of the splits that the options need.

    Args:
        pad_to_multiple_of: the number of columns of a batch is a multiple of this number.

    Raises:
        InputError: the data is bad, or the options do not fit the data.
    """
    corpus = load_corpus(config, read_choices(config), SPLITS)
    metric = choose_metric(config, known_metrics(config, corpus.labels))
    tokenizer = load_tokenizer(
        config, corpus.splits["train"]["tokens"] if config.uses_sample_model else [], pre_split=True
    )
    head = AutoModelForTokenClassification
    model_config = load_model_config(config, head, tokenizer, corpus.labels)
    earlier = vars(model_config).pop("tagloop", None)  # The run that made this model wrote it.
    refuse_other_schemes(config, list(model_config.label2id))
    unknown = unknown_labels(model_config, corpus.labels, corpus.warnings)
    max_length = max_input_length(config, head, model_config, tokenizer)
    check_context(config, corpus, max_length, earlier)
    examples = {
        split: load_windows(
            dataset,
            corpus.fingerprints[split],
            tokenizer,
            model_config.label2id,
            max_length=max_length,
            stride=config.stride,
            label_all_tokens=config.label_all_tokens,
            pad_to_max_length=config.pad_to_max_length,
            pad_to_multiple_of=pad_to_multiple_of,
            num_workers=config.preprocessing_num_workers or 1,
            unknown=unknown,
            context_tokens=config.context_tokens,
        )
        for split, dataset in needed_splits(config, corpus.splits).items()
    }
    for split, windows in examples.items():
        if len(windows) == 0:
            raise InputError(f"the {split} split has no words")
    labels, legal, train = list(model_config.id2label.values()), None, examples.get("train")
    if choose_decoding(config, earlier) == "legal":
        legal = build_legal(labels, config.names_of_model)
    class_loss = build_class_loss(
        config, labels, lambda: train.label_counts(len(labels)) if train is not None else None
    )
    examples = class_loss.weigh(examples)
    return Tagging(
        config, corpus, tokenizer, model_config, examples, metric, unknown, legal, class_loss
    )
