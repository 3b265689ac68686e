"""What the tasks have in common that have a tokenizer and a configuration of their model."""

import copy
import json
from typing import Any, ClassVar

import numpy as np
from torch import nn
from transformers import PreTrainedConfig, PreTrainedTokenizerFast

from tagloop.batches.examples import Examples
from tagloop.models.tokenizers import tokenizer_digest
from tagloop.options.config import Config


class TokenizerTask:
    """The members of a `Task` that follow from its tokenizer and its model's configuration.

    A subclass has these two as the attributes `tokenizer` and `model_config`, and `config`,
    `examples` and `fingerprints`.
    """

    config: Config
    tokenizer: PreTrainedTokenizerFast
    model_config: PreTrainedConfig
    examples: dict[str, Examples]
    fingerprints: dict[str, str]
    written_splits: ClassVar[tuple[str, ...]] = ("test", "predict")

    @property
    def processors(self) -> list[PreTrainedTokenizerFast]:
        return [self.tokenizer]

    @property
    def identity(self) -> dict:
        """The part of a run's identity that a task knows: training data, tokenizer and model."""
        learned = [split for split in ("train", "validation") if split in self.examples]
        return {
            "data": {split: self.fingerprints[split] for split in learned},
            "tokenizer": tokenizer_digest(self.tokenizer),
            "model": describe_model(self.model_config),
        }

    def complete(self, split: str, predictions: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The predictions as they are: each needs its own example only."""
        return predictions

    def record(self, model: nn.Module, **facts: Any) -> None:
        """Write into the model's config.json what predict.py needs to apply the model.

        Args:
            facts: JSON values by name; the name of the task is added.
        """
        # The configuration is copied, because the identity describes the original one.
        model.config = copy.copy(model.config)
        model.config.tagloop = {"task": self.config.task_name, **facts}


def describe_model(model_config: PreTrainedConfig) -> dict:
    """The architecture and the labels as JSON values, without paths and versions."""
    facts = model_config.to_dict()
    facts = {k: v for k, v in facts.items() if k not in ("_name_or_path", "transformers_version")}
    return json.loads(json.dumps(facts, default=str))


def unknown_line(num_unknown: int, num_sub_tokens: int) -> tuple[str, str]:
    """The line of the header about sub-tokens of a split that the tokenizer does not know."""
    share = num_unknown / max(num_sub_tokens, 1)
    return "", f"{share:.1%} of the sub-tokens are unknown to the tokenizer"
