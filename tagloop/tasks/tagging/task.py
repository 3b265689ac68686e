"""Tagging: a tag for every word. The first task, and what the others are measured by."""

import copy
import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers import AutoModelForTokenClassification, PreTrainedConfig, PreTrainedTokenizerFast
from transformers.modeling_outputs import TokenClassifierOutput

from tagloop.batches.examples import IGNORE_INDEX
from tagloop.data.sources import SPLITS
from tagloop.data.splitting import detect_way
from tagloop.data.words.corpus import Corpus, load_corpus
from tagloop.errors import InputError
from tagloop.models.model import load_model, load_model_config, max_input_length
from tagloop.models.tokenizers import load_tokenizer
from tagloop.options.config import Config
from tagloop.streams import visible
from tagloop.tasks.tagging.kinds import read_choices
from tagloop.tasks.tagging.predictions import sub_tokens_of_words, to_tags, write_predictions
from tagloop.tasks.tagging.windows import Windows, load_windows
from tagloop.tasks.task import choose_metric, identify, needed_splits

SPAN_METRICS = (
    "f1", "precision", "recall", "accuracy", "strict_f1", "strict_precision", "strict_recall",
    "loss",
)  # fmt: skip
POS_METRICS = ("accuracy", "macro_f1", "loss")
FACTS = {
    "words_without_sub_tokens": "words are nothing to the tokenizer; they count as unknown tokens",
    "words_shortened": "words are longer than a window; their first sub-tokens stand for them",
    "sentences_cut": "sentences are longer than a window; every word is predicted once",
}


@dataclass(frozen=True)
class Tagging:
    """See `tagloop.tasks.task.Task`. An example is a window, its predicted values are label ids."""

    config: Config
    corpus: Corpus
    tokenizer: PreTrainedTokenizerFast
    model_config: PreTrainedConfig
    examples: dict[str, Windows]
    best_metric: str

    @property
    def warnings(self) -> list[str]:
        return self.corpus.warnings

    @property
    def fingerprints(self) -> dict[str, str]:
        return self.corpus.fingerprints

    @property
    def identity(self) -> dict:
        return identify(self.fingerprints, self.examples, self.tokenizer, self.model_config)

    def build_model(self) -> nn.Module:
        train = self.examples.get("train")
        num_labels = len(self.model_config.id2label)
        model = load_model(
            self.config,
            AutoModelForTokenClassification,
            self.model_config,
            self.tokenizer,
            train.label_counts(num_labels) if train is not None else None,
            self.warnings,
        )
        if train is not None:  # what tagging of new text needs to know; saved in config.json
            model.config = copy.copy(model.config)  # the identity describes the other one
            model.config.tagloop = {
                "task": self.config.task_name,
                "words": detect_way(self.corpus.splits["train"]["tokens"]),
                "max_length": train.max_length,
                "stride": self.config.stride,
            }
        return model

    def losses(self, outputs: TokenClassifierOutput, labels: Tensor) -> Tensor:
        return cross_entropy(
            outputs.logits.flatten(0, 1),
            labels.flatten(),
            ignore_index=IGNORE_INDEX,
            reduction="none",
        )

    def predict(self, outputs: TokenClassifierOutput, split: str, ids: np.ndarray) -> Tensor:
        """A label id for every word that the windows own, int16: it holds any id."""
        rows, columns = sub_tokens_of_words(self.examples[split], ids)
        best = outputs.logits[torch.from_numpy(rows), torch.from_numpy(columns)].argmax(-1)
        return best.to(torch.int16)

    def score(self, split: str, predictions: np.ndarray) -> dict:
        # Half a second that most never need.
        from tagloop.tasks.tagging.scores import TokenScores, type_scores

        task, predicted = self.config.task_name, self._tags(split, predictions)
        gold = self._tags(split, self.examples[split].references)
        scores = TokenScores().compute(
            predictions=predicted,
            references=gold,
            task=task,
            entity_level=self.config.return_entity_level_metrics,
        )
        return scores | {"types": type_scores(predicted, gold, task)}

    def write(self, folder: Path, split: str, predictions: np.ndarray) -> None:
        write_predictions(folder, self.corpus.splits[split], self._tags(split, predictions))

    def describe(self) -> list[tuple[str, str]]:
        first = self.corpus.splits[next(iter(self.examples))]
        lines = [("read", first_sentence(itertools.islice(first, 100)))]
        taken = {split: self.corpus.columns[split] for split in self.examples}
        if len(set(taken.values())) == 1:
            lines.append(("", next(iter(taken.values()))))
        else:
            lines += [("", f"{split}: {columns}") for split, columns in taken.items()]
        for split, windows in self.examples.items():
            lines.append(
                (
                    split,
                    f"{len(self.corpus.splits[split]):,} sentences, "
                    f"{len(windows.references):,} words, {len(windows):,} windows of up to "
                    f"{int(windows.lengths.max())} sub-tokens",
                )
            )
            lines += [("", f"{count:,} {FACTS[f]}") for f, count in windows.facts.items() if count]
            without = int((windows.references == IGNORE_INDEX).sum())
            if without and split != "predict":
                share = without / len(windows.references)
                text = f"{without:,} words ({share:.1%}) have no gold tag"
                lines.append(("", f"{text}: neither trained nor scored"))
        labels = list(self.model_config.id2label.values())
        scheme = self.corpus.scheme and f" (read as {self.corpus.scheme}, trained as IOB2)"
        shown = ", ".join(labels[:9]) + (", ..." if len(labels) > 9 else "")
        return [*lines, ("labels", f"{len(labels)}: {shown}{scheme or ''}")]

    def _tags(self, split: str, label_ids: np.ndarray) -> list[list[str | None]]:
        offsets = self.examples[split].sentence_offsets
        return to_tags(label_ids, offsets, self.model_config.id2label)


def first_sentence(rows: Iterable[dict], width: int = 88) -> str:
    """The first sentence with a tag as it was read, cut to a line: a wrong column shows at once.

    >>> first_sentence([{"tokens": ["EU", "said", "so"], "tags": ["B-ORG", "O", None]}])
    'EU/B-ORG said/O so'
    """
    rows = list(rows)
    row = next((row for row in rows if any(row["tags"])), rows[0])
    pairs = zip(row["tokens"], row["tags"], strict=True)
    text = visible(" ".join(f"{word}/{tag}" if tag else word for word, tag in pairs))
    return text if len(text) <= width else text[: width - 4].rpartition(" ")[0] + " ..."


def load_task(config: Config, *, pad_to_multiple_of: int) -> Tagging:
    """Corpus, tokenizer, label list and windows of the splits that the options need.

    Raises:
        InputError: bad data, or options that do not fit it.
    """
    corpus = load_corpus(config, read_choices(config), SPLITS)
    best_metric = choose_metric(config, known_metrics(config, corpus.labels))
    tokenizer = load_tokenizer(
        config, corpus.splits["train"]["tokens"] if config.uses_sample_model else [], pre_split=True
    )
    head = AutoModelForTokenClassification
    model_config = load_model_config(config, head, corpus.labels, tokenizer)
    vars(model_config).pop("tagloop", None)  # of the run that made this model
    max_length = max_input_length(config, head, model_config, tokenizer)
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
        )
        for split, dataset in needed_splits(config, corpus.splits).items()
    }
    for split, windows in examples.items():
        if len(windows) == 0:
            raise InputError(f"the {split} split has no words")
    return Tagging(config, corpus, tokenizer, model_config, examples, best_metric)


def known_metrics(config: Config, labels: list[str]) -> list[str]:
    """The scores that an evaluation of these labels has, the default first."""
    known = list(POS_METRICS if config.task_name == "pos" else SPAN_METRICS)
    if config.return_entity_level_metrics and config.task_name == "pos":
        known += [f"{tag}_f1" for tag in labels]
    elif config.return_entity_level_metrics:
        types = sorted({tag[2:] for tag in labels if tag != "O"})
        known += [f"{type_}_{score}" for type_ in types for score in ("f1", "precision", "recall")]
    return known
