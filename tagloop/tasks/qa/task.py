"""Extractive question answering: where in a context the answer begins and ends. SQuAD style.

python train_loop.py --task_name qa --train_file train.json ...  # docs/tasks.md
"""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from transformers import AutoModelForQuestionAnswering, PreTrainedConfig, PreTrainedTokenizerFast
from transformers.modeling_outputs import QuestionAnsweringModelOutput

from tagloop.batches.examples import IGNORE_INDEX
from tagloop.batches.packing import MicroBatch
from tagloop.data.rows import Rows, load_rows
from tagloop.errors import InputError
from tagloop.files import whole_file
from tagloop.models.model import load_model, load_model_config, max_input_length
from tagloop.models.tokenizers import load_tokenizer
from tagloop.options.config import Config
from tagloop.sample.questions import build_sample_questions
from tagloop.streams import visible
from tagloop.tasks.card_facts import CardFacts
from tagloop.tasks.qa.card import describe_card
from tagloop.tasks.qa.columns import QuestionReader, choose_columns
from tagloop.tasks.qa.decoding import Decoded, choice_of, decode_questions
from tagloop.tasks.qa.encoding import END, START, USUAL_LENGTH, QuestionWindows, load_windows
from tagloop.tasks.qa.scores import scores_of_answers, scores_v1, scores_v2
from tagloop.tasks.task import LOSS, Metric, Scores, choose_metric, needed_splits, sizes_of
from tagloop.tasks.tokenizer_task import TokenizerTask, unknown_line

HEAD = AutoModelForQuestionAnswering
PREFIXES = {"validation": "eval", "test": "predict", "predict": "predict"}  # of files, by split
KINDS = ("predictions", "nbest_predictions", "null_odds")
PREDICTION_FILES = tuple(
    f"{prefix}_{kind}.json" for prefix in ("eval", "predict") for kind in KINDS
)
FACTS = {
    "several": "questions have a context of several windows",
    "misplaced": "answers do not stand at their place: they are scored, but not learned",
    "cut": "windows have an answer of which the tokenizer's offsets lose characters",
}


@dataclass(frozen=True)
class QuestionAnswering(TokenizerTask):
    """See `tagloop.tasks.task.Task`. An example is a window of a question and its context."""

    config: Config
    rows: Rows
    tokenizer: PreTrainedTokenizerFast
    model_config: PreTrainedConfig
    examples: dict[str, QuestionWindows]
    metric: Metric
    warnings: list[str]
    prediction_files: ClassVar[tuple[str, ...]] = PREDICTION_FILES
    written_splits: ClassVar[tuple[str, ...]] = ("validation", "test", "predict")

    @property
    def fingerprints(self) -> dict[str, str]:
        return self.rows.fingerprints

    def build_model(self) -> nn.Module:
        model = load_model(
            self.config,
            HEAD,
            self.model_config,
            self.tokenizer,
            self.warnings,
            has_labels=True,
            examples=self.examples.values(),
        )
        # A bias adds the same number to the logits of all sub-tokens, and a softmax over the
        # sub-tokens does not see that number. Its gradient is the rounding of a zero, from which
        # AdamW would take full steps that differ from cut to cut.
        if getattr(getattr(model, "qa_outputs", None), "bias", None) is not None:
            model.qa_outputs.bias.requires_grad_(False)
        if "train" in self.examples:  # predict.py reads these values from config.json.
            self.record(
                model,
                max_length=self.examples["train"].max_length,
                doc_stride=self.config.doc_stride,
                max_answer_length=self.config.max_answer_length,
                # A threshold for models that may give no answer; None for the others.
                null_threshold=str(self.config.null_score_diff_threshold)
                if self.config.version_2_with_negative
                else None,
            )
        return model

    def losses(self, outputs: QuestionAnsweringModelOutput, batch: MicroBatch) -> Tensor:
        """The losses of all begins and ends: [2 * windows that are learned from].

        The softmax goes over all sub-tokens of a window, as in transformers' own loss, and over no
        padding cell; there padding cells count, so that loss depends on the width of its batch.
        """
        labels = batch.unpack(batch.labels, IGNORE_INDEX)
        is_padding, found = labels == IGNORE_INDEX, []
        for bit, logits in ((START, outputs.start_logits), (END, outputs.end_logits)):
            scores = batch.unpack(logits)
            scores = scores.masked_fill(is_padding, torch.finfo(scores.dtype).min).log_softmax(-1)
            found.append(-scores[(labels & bit > 0) & ~is_padding])
        return torch.cat(found)

    def predict(
        self,
        model: nn.Module,
        batch: MicroBatch,
        outputs: QuestionAnsweringModelOutput,
        losses: Tensor,
        split: str,
    ) -> dict[str, Tensor]:
        """`start_logit` and `end_logit`, float32 [sub-tokens of the windows of the batch] each."""
        is_own = batch.labels != IGNORE_INDEX  # a batch without examples has IGNORE_INDEX only
        return {
            "start_logit": outputs.start_logits.float()[is_own],
            "end_logit": outputs.end_logits.float()[is_own],
        }

    def score(self, split: str, predictions: dict[str, np.ndarray], loss: float | None) -> Scores:
        """The official scores, in percent, and the F1 of a trivial baseline.

        The baseline gives no answer to any question or, if every question has one, the context.
        """
        golds = self._golds(split)
        known = [row for row, gold in enumerate(golds) if gold is not None]
        if not known:
            return Scores({}, {})
        rows = [(d.answer.text, d.best.text, d.null_odds) for d in self._decode(split, predictions)]
        found, best, odds = zip(*(rows[row] for row in known), strict=True)
        golds = [golds[row] for row in known]
        if self.config.version_2_with_negative:
            values = scores_v2(golds, found, best, odds)
            trivial = [""] * len(golds)
        else:
            values = scores_v1(golds, found)
            contexts = self.rows.splits[split]["context"]
            trivial = [contexts[row] or "" for row in known]
        baseline = scores_of_answers(golds, trivial, v2=self.config.version_2_with_negative)["f1"]
        return Scores(values | {"baseline_f1": 100.0 * sum(baseline) / len(baseline)}, {})

    def write(self, folder: Path, split: str, predictions: dict[str, np.ndarray]) -> None:
        """The answers, the best possible answers and the null odds of all questions, by id."""
        kinds = KINDS if self.config.version_2_with_negative else KINDS[:2]
        ids = ids_of(self.rows, split)
        with ExitStack() as stack:
            files = [
                stack.enter_context(whole_file(folder / f"{PREFIXES[split]}_{kind}.json"))
                for kind in kinds
            ]
            before = "{\n"
            for id_, decoded in zip(ids, self._decode(split, predictions), strict=True):
                n_best = [
                    {
                        "text": one.text,
                        "start_logit": one.start_logit,
                        "end_logit": one.end_logit,
                        "probability": probability,
                    }
                    for one, probability in decoded.n_best()
                ]
                values = (decoded.answer.text, n_best, decoded.null_odds)
                for file, value in zip(files, values, strict=False):
                    text = json.dumps(value, indent=4, ensure_ascii=False).replace("\n", "\n    ")
                    file.write(f"{before}    {json.dumps(id_, ensure_ascii=False)}: {text}")
                before = ",\n"
            for file in files:
                file.write("\n}\n")

    def describe(self) -> list[tuple[str, str]]:
        lines = []
        for split, windows in self.examples.items():
            lines.append(
                (
                    split,
                    f"{len(windows.row_offsets) - 1:,} questions, {len(windows):,} windows of up to"
                    f" {int(windows.lengths.max())} sub-tokens",
                )
            )
            facts = windows.facts
            lines.append(unknown_line(facts["unknown"], facts["sub_tokens"]))
            lines += [
                ("", f"{facts[fact]:,} {text}") for fact, text in FACTS.items() if facts[fact]
            ]
            if split != "predict" and self.config.version_2_with_negative:
                lines.append(("", f"{facts['without_answer']:,} questions have no answer"))
            if split != "predict" and facts["unlabelled"]:
                text = f"{facts['unlabelled']:,} questions have no gold answer"
                lines.append(("", f"{text}: neither trained nor scored"))
        first = next(iter(self.rows.splits.values()))[0]
        texts = [] if first["answers"] is None else json.loads(first["answers"])["text"]
        shown = f"{first['question']} | {texts[0] if texts else 'no answer'} | {first['context']}"
        return [*lines, ("columns", self.rows.columns_line), ("first row", visible(shown[:200]))]

    def card(self) -> CardFacts:
        return describe_card(sizes_of(self), has_negatives=self.config.version_2_with_negative)

    def _decode(self, split: str, predictions: dict[str, np.ndarray]) -> Iterator[Decoded]:
        choice = choice_of(self.config)
        contexts = self.rows.splits[split]["context"]
        logits = predictions["start_logit"], predictions["end_logit"]
        return decode_questions(self.examples[split], contexts, *logits, choice)

    def _golds(self, split: str) -> list[list[str] | None]:
        """The gold answers of every question; None where nobody knows them."""
        cells = self.rows.splits[split]["answers"][:]
        golds = [None if cell is None else json.loads(cell)["text"] for cell in cells]
        if self.config.version_2_with_negative:
            return golds
        return [gold or None for gold in golds]


def ids_of(rows: Rows, split: str) -> list[str]:
    """The id of every question of a split; the number of its row, from 0, for one without id.

    Raises:
        InputError: two questions have the same id.
    """
    ids = rows.splits[split]["id"][:]
    ids = [str(row) if id_ is None else id_ for row, id_ in enumerate(ids)]
    seen: dict[str, int] = {}
    for row, id_ in enumerate(ids):
        if (first := seen.setdefault(id_, row)) != row:
            raise InputError(
                f"{split}[{row}]: the id {id_} is that of {split}[{first}], too; answers are "
                "written by id, so every question needs its own"
            )
    return ids


def load_task(config: Config, *, pad_to_multiple_of: int) -> QuestionAnswering:
    """Rows, tokenizer and the windows of the splits that the options need.

    Raises:
        InputError: bad data, or options that do not fit it.
    """
    rows = load_rows(
        config, choose_columns, build_sample_questions,
        QuestionReader(config.misaligned), [config.misaligned],
    )  # fmt: skip
    known = ["exact", "f1"] if config.version_2_with_negative else ["exact_match", "f1"]
    groups = [f"{group}_{name}" for group in ("HasAns", "NoAns", "best") for name in known]
    known = ["f1", known[0], *(groups if config.version_2_with_negative else [])]
    metric = choose_metric(config, [*map(Metric, known), LOSS])
    sample = rows.splits["train"] if config.uses_sample_model else []
    sentences = (f"{row['question']} {row['context']}".split() for row in sample)
    tokenizer = load_tokenizer(config, sentences, pre_split=False)
    model_config = load_model_config(config, HEAD, tokenizer)
    vars(model_config).pop("tagloop", None)  # The run that made this model wrote it.
    if model_config.num_labels != 2:  # The head scores two things: begin and end.
        model_config.num_labels = 2
    max_length = max_input_length(config, HEAD, model_config, tokenizer)
    if config.max_length is None:
        max_length = min(max_length, USUAL_LENGTH)
    examples, warnings = {}, list(rows.warnings)
    for split, dataset in needed_splits(config, rows.splits).items():
        if split != "train":
            ids_of(rows, split)
        examples[split] = load_windows(
            dataset, rows.fingerprints[split], tokenizer,
            max_length=max_length, doc_stride=config.doc_stride,
            learns_null=config.version_2_with_negative,
            pad_to_max_length=config.pad_to_max_length, pad_to_multiple_of=pad_to_multiple_of,
            num_workers=config.preprocessing_num_workers or 1,
        )  # fmt: skip
        windows = examples[split]
        if split == "train" and not windows.target_weights.any():
            raise InputError("train: no question has an answer to learn; see --check_data")
        without = windows.facts["without_answer"]
        if without and not config.version_2_with_negative and split != "predict":
            warnings.append(
                f"{split}: {without:,} questions have no answer; --version_2_with_negative learns "
                "and scores them"
            )
    return QuestionAnswering(config, rows, tokenizer, model_config, examples, metric, warnings)
