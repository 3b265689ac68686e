"""Tagging: a tag for every word."""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from transformers import AutoModelForTokenClassification, PreTrainedConfig, PreTrainedTokenizerFast
from transformers.modeling_outputs import TokenClassifierOutput

from tagloop.batches.examples import IGNORE_INDEX
from tagloop.batches.forward import places_of
from tagloop.batches.packing import MicroBatch
from tagloop.data.sources import SPLITS
from tagloop.data.splitting import detect_way
from tagloop.data.words import schemes
from tagloop.data.words.corpus import Corpus, load_corpus
from tagloop.errors import InputError
from tagloop.models.class_loss import CROSS_ENTROPY, ClassLoss, build_class_loss
from tagloop.models.heads import unknown_labels
from tagloop.models.model import load_model, load_model_config, max_input_length
from tagloop.models.tokenizers import load_tokenizer
from tagloop.options.config import Config
from tagloop.streams import visible
from tagloop.tasks.card_facts import CardFacts
from tagloop.tasks.tagging.alignment import resolve_stride
from tagloop.tasks.tagging.card import describe_card
from tagloop.tasks.tagging.context import check_context, context_text, recorded_context
from tagloop.tasks.tagging.decoding import DECODINGS, build_legal, decode, decode_legal
from tagloop.tasks.tagging.kinds import KINDS, read_choices
from tagloop.tasks.tagging.predictions import (
    gold_probabilities,
    logits_of_words,
    to_tags,
    write_predictions,
)
from tagloop.tasks.tagging.windows import Windows, load_windows
from tagloop.tasks.task import (
    LOSS,
    Metric,
    Scores,
    TokenizerTask,
    choose_metric,
    needed_splits,
)

SPAN_METRICS = (
    "f1", "precision", "recall", "accuracy", "strict_f1", "strict_precision", "strict_recall",
)  # fmt: skip
POS_METRICS = ("accuracy", "macro_f1")
PREDICTION_FILES = ("predictions.txt", "predictions.conll")
FACTS = {
    "words_without_sub_tokens": "words are nothing to the tokenizer; they count as unknown tokens",
    "words_shortened": "words are longer than a window; their first sub-tokens stand for them",
    "sentences_cut": "sentences are longer than a window; every word is predicted once",
}


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
        num_labels = len(self.model_config.id2label)
        model = load_model(
            self.config,
            AutoModelForTokenClassification,
            self.model_config,
            self.tokenizer,
            self.warnings,
            examples=self.examples.values(),
            has_labels=True,
            label_counts=train.label_counts(num_labels) if train is not None else None,
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
        if self.config.fold is not None:  # for the likely label errors of --folds
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
        tags = self._tags(split, predictions["label"])
        write_predictions(folder, self.corpus.splits[split], tags)

    def describe(self) -> list[tuple[str, str]]:
        first = self.corpus.splits[next(iter(self.examples))]
        lines = [("read", first_sentence(itertools.islice(first, 100)))]
        columns_of = {split: self.corpus.columns[split] for split in self.examples}
        if len(set(columns_of.values())) == 1:
            lines.append(("", next(iter(columns_of.values()))))
        else:
            lines += [("", f"{split}: {columns}") for split, columns in columns_of.items()]
        for split, windows in self.examples.items():
            lines.append(
                (
                    split,
                    f"{len(self.corpus.splits[split]):,} sentences, "
                    f"{len(windows.references):,} words, {len(windows):,} windows of up to "
                    f"{int(windows.lengths.max())} sub-tokens",
                )
            )
            facts = windows.facts
            share = facts["words_unknown"] / max(facts["words"], 1)
            lines.append(("", f"{share:.1%} of the words hold something unknown to the tokenizer"))
            lines += [("", f"{facts[f]:,} {text}") for f, text in FACTS.items() if facts[f]]
            without = int((windows.references == IGNORE_INDEX).sum())
            if without and split != "predict":
                share = without / len(windows.references)
                text = f"{without:,} words ({share:.1%}) have no gold tag"
                lines.append(("", f"{text}: neither trained nor scored"))
        if self.config.context_tokens:
            marks = [self.corpus.documents[split] or "splits" for split in self.examples]
            told = ", ".join(dict.fromkeys(marks))
            lines.append(("context", f"{context_text(self.config)}; documents by {told}"))
        labels = list(self.model_config.id2label.values())
        scheme = self.corpus.scheme and f" (read as {self.corpus.scheme}, trained as IOB2)"
        shown = ", ".join(labels[:9]) + (", ..." if len(labels) > 9 else "")
        lines.append(("labels", f"{len(labels)}: {shown}{scheme or ''}"))
        if self.legal is not None:
            lines.append(("", "predicted in a legal order (--decoding legal)"))
        return lines

    def card(self) -> CardFacts:
        sizes = {name: text for name, text in self.describe() if name in self.examples}
        labels = list(self.model_config.id2label.values())
        context = context_text(self.config) if self.config.context_tokens else None
        return describe_card(self.config.task_name, labels, sizes, context)

    def _tags(self, split: str, label_ids: np.ndarray) -> list[list[str | None]]:
        offsets = self.examples[split].sentence_offsets
        tags = dict(enumerate([*self.model_config.id2label.values(), *self.unknown]))
        return to_tags(label_ids, offsets, tags)


def first_sentence(rows: Iterable[dict], width: int = 88) -> str:
    """The first sentence with a tag, as it was read, so that the user notices a wrong column.

    Args:
        rows: sentences with `tokens` and `tags`.
        width: the number of characters that the result may have.

    >>> first_sentence([{"tokens": ["EU", "said", "so"], "tags": ["B-ORG", "O", None]}])
    'EU/B-ORG said/O so'
    """
    rows = list(rows)
    row = next((row for row in rows if any(row["tags"])), rows[0])
    pairs = zip(row["tokens"], row["tags"], strict=True)
    text = visible(" ".join(f"{word}/{tag}" if tag else word for word, tag in pairs))
    return text if len(text) <= width else text[: width - 4].rpartition(" ")[0] + " ..."


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
    earlier = vars(model_config).pop("tagloop", None)  # of the run that made this model
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
    if class_loss.weights is not None:
        examples = {
            split: replace(windows, class_weights=class_loss.weights)
            for split, windows in examples.items()
        }
    return Tagging(
        config, corpus, tokenizer, model_config, examples, metric, unknown, legal, class_loss
    )


def choose_decoding(config: Config, earlier: object) -> str:
    """How labels become tags: as --decoding says, else as the model was trained, else "best".

    Args:
        earlier: what the run that made the model recorded in its config.json; None: no such run.
    """
    recorded = earlier.get("decoding") if isinstance(earlier, dict) else None
    if not KINDS[config.task_name].has_spans:
        return "best"
    return config.decoding or (recorded if recorded in DECODINGS else "best")


def refuse_other_schemes(config: Config, labels: list[str]) -> None:
    """Refuse a model whose spans have ends of their own (E-, S-, L-, U-): data is read as IOB2.

    Raises:
        InputError: the labels of the model are those of such a scheme.
    """
    scheme = schemes.scheme_of_labels(labels) if KINDS[config.task_name].has_spans else None
    if scheme is not None:
        raise InputError(
            f"{config.model_name_or_path}: the labels of this model ({', '.join(labels[:9])}) are "
            f"{scheme}, and only IOB2 (B-, I-) is trained and scored here; predict.py finds the "
            "entities of this model; to train, name the model that it was made from"
        )


def refuse_plain_tags(config: Config, predicted: list[list[str]]) -> None:
    """Refuse predictions that are no spans, as of a model with the label X or [CLS].

    Raises:
        InputError: a tag is neither O nor begins with B- or I-.
    """
    for tag in sorted(set(itertools.chain.from_iterable(predicted))):
        if tag != "O" and tag[:2] not in ("B-", "I-"):
            raise InputError(
                f"{config.model_name_or_path}: the model predicts the tag {tag!r}, which is no tag "
                "of spans (O, B-, I-), so there is no F1; train a new head "
                "(--ignore_mismatched_sizes), or score plain tags with --task_name pos"
            )


def known_metrics(config: Config, labels: list[str]) -> list[Metric]:
    """The names of the scores that an evaluation of these labels has; the first is the default."""
    known = list(POS_METRICS if config.task_name == "pos" else SPAN_METRICS)
    if config.return_entity_level_metrics and config.task_name == "pos":
        known += [f"{tag}_f1" for tag in labels]
    elif config.return_entity_level_metrics:
        types = sorted({tag[2:] for tag in labels if tag != "O"})
        known += [f"{type_}_{score}" for type_ in types for score in ("f1", "precision", "recall")]
    return [*map(Metric, known), LOSS]
