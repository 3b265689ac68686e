"""A language model as the loop knows it: the next sub-token of a text, or hidden ones.

`LanguageModelling` is the task of a decoder and of an encoder, and the base of SpanCorruption.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from transformers import (
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSeq2SeqLM,
    PreTrainedConfig,
    PreTrainedTokenizerFast,
)
from transformers.modeling_outputs import CausalLMOutput

from tagloop.batches.examples import IGNORE_INDEX
from tagloop.batches.packing import TARGET_CELLS, MicroBatch
from tagloop.data.rows import Rows
from tagloop.errors import InputError
from tagloop.files import write_text
from tagloop.models.model import load_model
from tagloop.models.target_logits import accept_target_cells
from tagloop.models.token_loss import token_losses
from tagloop.options.config import Config
from tagloop.streams import visible
from tagloop.tasks.card_facts import CardFacts
from tagloop.tasks.language_modelling.card import describe_card
from tagloop.tasks.language_modelling.encoding import TextRows
from tagloop.tasks.language_modelling.options import CAUSAL, MASKED, SPANS
from tagloop.tasks.language_modelling.special_tokens import ends_texts, num_ids_of
from tagloop.tasks.task import LOSS, Metric, Scores, sizes_of
from tagloop.tasks.tokenizer_task import TokenizerTask, unknown_line

PREDICTION_FILES = ("predictions.tsv",)
COLUMNS = ("targets", "loss", "perplexity", "accuracy")  # of this file
METRICS = [Metric("perplexity", lower_is_better=True), Metric("accuracy"), LOSS]
HEADS = {
    CAUSAL: AutoModelForCausalLM,
    MASKED: AutoModelForMaskedLM,
    SPANS: AutoModelForSeq2SeqLM,
}


@dataclass(frozen=True)
class LanguageModelling(TokenizerTask):
    """See `tagloop.tasks.task.Task`. An example is a text, a part of a long text, or a block."""

    config: Config
    rows: Rows
    tokenizer: PreTrainedTokenizerFast
    model_config: PreTrainedConfig
    examples: dict[str, Any]
    facts: dict[str, dict[str, int]]
    metric: Metric
    warnings: list[str]
    prediction_files: ClassVar[tuple[str, ...]] = PREDICTION_FILES

    @property
    def fingerprints(self) -> dict[str, str]:
        return self.rows.fingerprints

    @property
    def is_causal(self) -> bool:
        """True if a sub-token is predicted from those before it."""
        return self.config.task_name == CAUSAL

    def texts_of(self, split: str) -> TextRows:
        """The rows of text that the examples of a split are, or are made of."""
        return self.examples[split]

    def build_model(self) -> nn.Module:
        model = load_model(
            self.config,
            HEADS[self.config.task_name],
            self.model_config,
            self.tokenizer,
            self.warnings,
            examples=self.examples.values(),
        )
        if self.is_causal and sees_ahead(model, next(iter(self.examples.values()))):
            raise InputError(
                f"{self.config.names_of_model}: {type(model).__name__} is an encoder, whose "
                f"sub-tokens see those after them, so --task_name {CAUSAL} would learn to copy; "
                "name a decoder, or set is_decoder in config.json"
            )
        accept_target_cells(model, self.examples)
        self.record_reading(model)
        return model

    def record_reading(self, model: nn.Module) -> None:
        """Write into config.json how a training run read its texts, for predict.py."""
        if "train" in self.examples:
            self.record(
                model,
                max_length=self.examples["train"].max_length,
                text_column=self.rows.columns["text"],
            )

    def losses(self, outputs: CausalLMOutput, batch: MicroBatch) -> Tensor:
        """The loss of every target, [num_targets], if the model computed their logits alone.

        Otherwise the loss of every sub-token, [rows, columns]; 0 where there is no target.
        """
        cells = batch.inputs.get(TARGET_CELLS)
        if cells is None or outputs.logits.ndim > 2:
            return token_losses(outputs.logits, batch.labels)
        return token_losses(outputs.logits, batch.labels.flatten()[cells], every=True)

    def predict(
        self,
        model: nn.Module,
        batch: MicroBatch,
        outputs: CausalLMOutput,
        losses: Tensor,
        split: str,
    ) -> dict[str, Tensor]:
        """For every row `loss`, float32, summed over its targets, and numbers, int32.

        `targets` is how many targets the row has, `right` how many of them have the largest logit,
        and `text` the number of the text, or of the block.
        """
        number, text_of_row = len(batch.example_ids), self.texts_of(split).text_of_row
        right = outputs.logits.argmax(-1) == batch.labels
        is_target = batch.labels != IGNORE_INDEX
        ids = batch.example_ids if text_of_row is None else text_of_row[batch.example_ids]
        return {
            "loss": losses[:number].sum(1).float(),
            "right": right[:number].sum(1).to(torch.int32),
            "targets": is_target[:number].sum(1).to(torch.int32),
            "text": torch.from_numpy(ids.astype(np.int32)).to(batch.labels.device),
        }

    def score(self, split: str, predictions: dict[str, np.ndarray], loss: float | None) -> Scores:
        """Perplexity and accuracy, a share from 0 to 1, over all targets of the split.

        `unigram_perplexity` is a baseline: that of the frequencies in the training data.
        """
        if loss is None:
            return Scores({}, {})
        targets = self.examples[split].target_weights.sum()
        values = {
            "perplexity": perplexity_of(loss),
            "accuracy": float(predictions["right"].sum() / targets),
        }
        if self.unigram is not None:
            counts = self.texts_of(split).target_counts(len(self.unigram))
            unigram_loss = -float(counts @ self.unigram / max(counts.sum(), 1))
            values["unigram_perplexity"] = round(perplexity_of(unigram_loss), 4)
        return Scores(values, {})

    @cached_property
    def unigram(self) -> np.ndarray | None:
        """The baseline: the logarithm of the share of every id among the targets of training.

        Every id counts once more than it is there, so that none has a share of 0.

        Returns:
            float64 [num_ids]; None without training data.
        """
        if "train" not in self.examples:
            return None
        counts = self.texts_of("train").target_counts(num_ids_of(self.tokenizer)) + 1
        return np.log(counts / counts.sum())

    def write(self, folder: Path, split: str, predictions: dict[str, np.ndarray]) -> None:
        """predictions.tsv: a line for every text, or for every block; the first line has names.

        Loss and perplexity are means over the targets of the text. A text without targets has the
        number 0 alone.
        """
        weights, sum_texts = self.examples[split].target_weights, self.texts_of(split).sum_texts
        columns = (weights, predictions["loss"], predictions["right"])
        lines = ["\t".join(COLUMNS)]
        for targets, loss, right in zip(*map(sum_texts, columns), strict=True):
            if not targets:
                lines.append("0\t\t\t")
                continue
            mean = loss / targets
            cells = f"{mean:.4f}\t{perplexity_of(mean):.5g}\t{right / targets:.4f}"
            lines.append(f"{targets:.0f}\t{cells}")
        write_text(folder / "predictions.tsv", "\n".join([*lines, ""]))

    def describe(self) -> list[tuple[str, str]]:
        lines = []
        for split, examples in self.examples.items():
            facts, rows = self.facts[split], self.texts_of(split)
            kind = "blocks" if rows.text_of_row is None else "rows"
            lines.append(
                (
                    split,
                    f"{rows.num_texts:,} texts, {len(rows.input_ids):,} sub-tokens, {len(rows):,} "
                    f"{kind} of up to {int(rows.lengths.max()):,} sub-tokens, "
                    f"{examples.target_weights.sum():,.0f} targets",
                )
            )
            if facts["blank"]:
                lines.append(("", f"{facts['blank']:,} texts are blank and left out"))
            if facts.get("long"):
                lines.append(
                    ("", f"{facts['long']:,} texts are longer than a row; none is cut off")
                )
            lines.append(unknown_line(facts["unknown"], len(rows.input_ids)))
        lines.append(("rows", self._describe_rows()))
        first = visible(next(iter(self.rows.splits.values()))[0]["text"] or "")
        return [*lines, ("columns", self.rows.columns_line), ("first text", first[:200])]

    def _describe_rows(self) -> str:
        if self.texts_of(next(iter(self.examples))).text_of_row is not None:
            text = "a text is a row, and sees no other text"
        else:
            text = "all texts are joined and cut into blocks, so a text sees those before it"
        if not self.is_causal:
            share = f"{self.config.mlm_probability:.0%}"
            spans = f"in spans of {self.config.mean_noise_span_length:g} on average, "
            spans = spans if self.config.task_name == SPANS else ""
            return f"{text}; {share} of each row are hidden, {spans}in every evaluation the same"
        if ends_texts(self.config, self.tokenizer):
            return f"{text}; each text ends with {self.tokenizer.eos_token}"
        return f"{text}; no end-of-text token is added"

    def card(self) -> CardFacts:
        return describe_card(self.config.task_name, self.tokenizer.mask_token, sizes_of(self))


def perplexity_of(loss: float) -> float:
    """The exponential of a loss in nats, as far as a float can hold it.

    >>> round(perplexity_of(1.0), 4)
    2.7183
    """
    return math.exp(min(loss, 700.0))


@torch.no_grad()
def sees_ahead(model: nn.Module, examples: TextRows) -> bool:
    """True if the outputs for a sub-token change with the sub-tokens after it.

    Args:
        model: in float32, on the CPU.
    """
    ids = torch.from_numpy(np.array(examples.input_ids[:8], dtype=np.int64))[None]
    if ids.shape[1] < 2:
        return False
    other = ids.clone()
    other[0, -1] = int(ids[0, 0]) if ids[0, -1] != ids[0, 0] else (int(ids[0, 0]) + 1) % 2
    was_training = model.training
    first, second = (model.eval()(input_ids=each).logits[0, :-1] for each in (ids, other))
    model.train(was_training)
    return not torch.allclose(first, second, atol=1e-6 * float(first.abs().max()))
