"""T5's task: an encoder-decoder writes the hidden spans of a text, each behind its sentinel."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from transformers.modeling_outputs import Seq2SeqLMOutput

from tagloop.batches.examples import IGNORE_INDEX
from tagloop.batches.packing import MicroBatch
from tagloop.models.encoder_decoder import load_encoder_decoder
from tagloop.models.target_logits import accept_target_cells
from tagloop.tasks.language_modelling.encoding import TextRows
from tagloop.tasks.language_modelling.language_model import (
    METRICS,
    LanguageModelling,
    perplexity_of,
)
from tagloop.tasks.language_modelling.spans import SpanRows
from tagloop.tasks.task import Metric, Scores

METRICS_OF_SPANS = [
    *METRICS,
    Metric("text_perplexity", lower_is_better=True),
    Metric("text_accuracy"),
]


@dataclass(frozen=True)
class SpanCorruption(LanguageModelling):
    """See `tagloop.tasks.task.Task`. An example is a text, a part of a long text, or a block."""

    examples: dict[str, SpanRows]

    def texts_of(self, split: str) -> TextRows:
        return self.examples[split].texts

    def build_model(self) -> nn.Module:
        model = load_encoder_decoder(
            self.config,
            self.model_config,
            self.tokenizer,
            self.warnings,
            self.examples.values(),
        )
        accept_target_cells(model, self.examples)
        self.record_reading(model)
        return model

    def predict(
        self,
        model: nn.Module,
        batch: MicroBatch,
        outputs: Seq2SeqLMOutput,
        losses: Tensor,
        split: str,
    ) -> dict[str, Tensor]:
        """As for every language model, and the same sums over the sub-tokens of text alone.

        Their names are `text_loss`, `text_right` and `text_targets`: sentinels and ends are left
        out, which a model knows as soon as it knows how a target is built.
        """
        examples, number = self.examples[split], len(batch.example_ids)
        given = torch.tensor([IGNORE_INDEX, examples.end_id, *examples.sentinel_ids.tolist()])
        labels = batch.labels[:number]
        is_text = ~torch.isin(labels, given.to(labels.device))
        right = (outputs.logits[:number].argmax(-1) == labels) & is_text
        found = super().predict(model, batch, outputs, losses, split)
        return found | {
            "text_loss": (losses[:number] * is_text).sum(1).float(),
            "text_right": right.sum(1).to(torch.int32),
            "text_targets": is_text.sum(1).to(torch.int32),
        }

    def score(self, split: str, predictions: dict[str, np.ndarray], loss: float | None) -> Scores:
        """Perplexity and accuracy of all targets, and those of the sub-tokens of text.

        `unigram_perplexity` is the baseline of `text_perplexity`.
        """
        scores = super().score(split, predictions, loss)
        number = int(predictions["text_targets"].sum())
        if loss is None or not number:
            return scores
        text_loss = round(float(predictions["text_loss"].sum(dtype=np.float64)) / number, 5)
        values = {
            "text_perplexity": perplexity_of(text_loss),
            "text_accuracy": float(predictions["text_right"].sum() / number),
        }
        return Scores(scores.values | values, {})
