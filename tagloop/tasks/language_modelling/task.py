"""Language modelling: the next sub-token of a text, or hidden sub-tokens of a text.

python train_loop.py --task_name clm --train_file texts.jsonl ...  # docs/tasks.md
"""

import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from transformers import (
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    PreTrainedConfig,
    PreTrainedTokenizerFast,
)
from transformers.modeling_outputs import CausalLMOutput

from tagloop.batches.examples import IGNORE_INDEX
from tagloop.batches.packing import MicroBatch
from tagloop.data.rows import Rows
from tagloop.errors import InputError
from tagloop.files import write_text
from tagloop.models.model import load_model, load_model_config, max_input_length
from tagloop.models.token_loss import token_losses
from tagloop.models.tokenizers import load_tokenizer
from tagloop.options.config import Config
from tagloop.sample.model import (
    begin_with_cls,
    build_sample_decoder_config,
    build_sample_masked_config,
)
from tagloop.streams import visible
from tagloop.tasks.card_facts import CardFacts
from tagloop.tasks.language_modelling.card import describe_card
from tagloop.tasks.language_modelling.encoding import CausalRows, Cutting, TextRows, encode_texts
from tagloop.tasks.language_modelling.masking import MaskedRows
from tagloop.tasks.language_modelling.options import CAUSAL
from tagloop.tasks.language_modelling.texts import line_end, read_texts
from tagloop.tasks.task import (
    LOSS,
    Metric,
    Scores,
    TokenizerTask,
    choose_metric,
    needed_splits,
)

LONGEST = 1024  # Sub-tokens of a row unless the user asks for more, as in transformers' scripts.
PREDICTION_FILES = ("predictions.tsv",)
COLUMNS = ("targets", "loss", "perplexity", "accuracy")  # of this file
METRICS = [Metric("perplexity", lower_is_better=True), Metric("accuracy"), LOSS]
HEADS = {True: AutoModelForCausalLM, False: AutoModelForMaskedLM}


@dataclass(frozen=True)
class LanguageModelling(TokenizerTask):
    """See `tagloop.tasks.task.Task`. An example is a text, a part of a long text, or a block."""

    config: Config
    rows: Rows
    tokenizer: PreTrainedTokenizerFast
    model_config: PreTrainedConfig
    examples: dict[str, TextRows]
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

    def build_model(self) -> nn.Module:
        model = load_model(
            self.config, HEADS[self.is_causal], self.model_config, self.tokenizer, self.warnings
        )
        if self.is_causal and sees_ahead(model, next(iter(self.examples.values()))):
            raise InputError(
                f"{self.config.names_of_model}: {type(model).__name__} is an encoder, whose "
                f"sub-tokens see those after them, so --task_name {CAUSAL} would learn to copy; "
                "name a decoder, or set is_decoder in config.json"
            )
        if "train" in self.examples:  # predict.py reads these values from config.json.
            self.record(
                model,
                max_length=self.examples["train"].max_length,
                text_column=self.rows.columns["text"],
            )
        return model

    def losses(self, outputs: CausalLMOutput, batch: MicroBatch) -> Tensor:
        return token_losses(outputs.logits, batch.labels)

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
        number, text_of_row = len(batch.example_ids), self.examples[split].text_of_row
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
        if loss is None:
            return Scores({}, {})
        targets = self.examples[split].target_weights.sum()
        values = {
            "perplexity": perplexity_of(loss),
            "accuracy": float(predictions["right"].sum() / targets),
        }
        if self.unigram is not None:
            counts = self.examples[split].target_counts(len(self.unigram))
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
        counts = self.examples["train"].target_counts(num_ids_of(self.tokenizer)) + 1
        return np.log(counts / counts.sum())

    def write(self, folder: Path, split: str, predictions: dict[str, np.ndarray]) -> None:
        """predictions.tsv: a line for every text, or for every block; the first line has names.

        Loss and perplexity are means over the targets of the text. A text without targets has the
        number 0 alone.
        """
        examples = self.examples[split]
        columns = (examples.target_weights, predictions["loss"], predictions["right"])
        lines = ["\t".join(COLUMNS)]
        for targets, loss, right in zip(*map(examples.sum_texts, columns), strict=True):
            if not targets:
                lines.append("0\t\t\t")
                continue
            mean = loss / targets
            cells = f"{mean:.4f}\t{perplexity_of(mean):.5g}\t{right / targets:.4f}"
            lines.append(f"{targets:.0f}\t{cells}")
        write_text(folder / "predictions.tsv", "\n".join([*lines, ""]))

    def describe(self) -> list[tuple[str, str]]:
        lines = []
        for split, rows in self.examples.items():
            facts, kind = self.facts[split], "rows" if rows.packable else "blocks"
            lines.append(
                (
                    split,
                    f"{rows.num_texts:,} texts, {len(rows.input_ids):,} sub-tokens, {len(rows):,} "
                    f"{kind} of up to {int(rows.lengths.max()):,} sub-tokens, "
                    f"{rows.target_weights.sum():,.0f} targets",
                )
            )
            if facts["blank"]:
                lines.append(("", f"{facts['blank']:,} texts are blank and left out"))
            if facts.get("long"):
                lines.append(
                    ("", f"{facts['long']:,} texts are longer than a row; none is cut off")
                )
            share = facts["unknown"] / max(len(rows.input_ids), 1)
            lines.append(("", f"{share:.1%} of the sub-tokens are unknown to the tokenizer"))
        lines.append(("rows", self._describe_rows()))
        first = visible(next(iter(self.rows.splits.values()))[0]["text"] or "")
        return [*lines, ("columns", str(self.rows.columns)), ("first text", first[:200])]

    def _describe_rows(self) -> str:
        examples = next(iter(self.examples.values()))
        if examples.packable:
            text = "a text is a row, and sees no other text"
        else:
            text = "all texts are joined and cut into blocks, so a text sees those before it"
        if not self.is_causal:
            share = f"{self.config.mlm_probability:.0%}"
            return f"{text}; {share} of each row are hidden, in every evaluation the same"
        if ends_texts(self.config, self.tokenizer):
            return f"{text}; each text ends with {self.tokenizer.eos_token}"
        return f"{text}; no end-of-text token is added"

    def card(self) -> CardFacts:
        sizes = {name: text for name, text in self.describe() if name in self.examples}
        return describe_card(self.config.task_name, self.tokenizer.mask_token, sizes)


def load_task(config: Config, *, pad_to_multiple_of: int) -> LanguageModelling:
    """Texts, tokenizer and rows of the splits that the options need.

    Raises:
        InputError: bad data, or a model or tokenizer that cannot learn this task.
    """
    rows = read_texts(config)
    metric = choose_metric(config, METRICS)
    is_causal = config.task_name == CAUSAL
    tokenizer = load_own_tokenizer(config, rows)
    head = HEADS[is_causal]
    model_config = load_model_config(
        config, head, tokenizer,
        build_sample=build_sample_decoder_config if is_causal else build_sample_masked_config,
    )  # fmt: skip
    vars(model_config).pop("tagloop", None)  # of the run that made this model
    if model_config.is_encoder_decoder:
        raise InputError(
            f"{config.names_of_model}: {model_config.model_type} has an encoder and a decoder, and "
            f"--task_name {config.task_name} learns one of them alone; name another model"
        )
    length = row_length(config, model_config, tokenizer)
    in_blocks = bool(config.block_size) if is_causal else not config.line_by_line
    warnings = list(rows.warnings)
    examples, facts = {}, {}
    for split, dataset in needed_splits(config, rows.splits).items():
        cutting = Cutting(
            length,
            in_blocks=in_blocks,
            with_special=not is_causal,
            line_end=line_end(config, split),
            last_id=tokenizer.eos_token_id if ends_texts(config, tokenizer) else None,
        )
        arrays, facts[split] = encode_texts(
            dataset, rows.fingerprints[split], tokenizer, cutting,
            num_workers=config.preprocessing_num_workers or 1,
        )  # fmt: skip
        arrays |= {
            "pad_token_id": tokenizer.pad_token_id or 0,
            "special_ids": tokenizer.all_special_ids,
            "max_length": length,
            "pad_to_max_length": config.pad_to_max_length,
            "pad_to_multiple_of": pad_to_multiple_of,
        }
        examples[split] = (
            CausalRows(**arrays)
            if is_causal
            else MaskedRows(
                **arrays,
                mask_token_id=tokenizer.mask_token_id,
                is_special=special_ids_of(tokenizer),
                probability=config.mlm_probability,
            )
        )
        if split == "train" and not examples[split].target_weights.any():
            raise InputError("train: no text has two sub-tokens, so there is nothing to learn")
    return LanguageModelling(
        config, rows, tokenizer, model_config, examples, facts, metric, warnings
    )


def load_own_tokenizer(config: Config, rows: Rows) -> PreTrainedTokenizerFast:
    """The tokenizer of a run; on the built-in sample it learns from the texts.

    Raises:
        InputError: no such tokenizer, or one without what the task needs.
    """
    sample = rows.splits["train"]["text"] if config.uses_sample_model else []
    tokenizer = load_tokenizer(config, map(str.split, sample), pre_split=False)
    if config.task_name != CAUSAL and tokenizer.mask_token_id is None:
        raise InputError(
            f"tokenizer {tokenizer.name_or_path}: it has no mask token, so nothing can be hidden; "
            f"name the model of an encoder, or learn with --task_name {CAUSAL}"
        )
    if config.task_name == CAUSAL and config.uses_sample_model:
        begin_with_cls(tokenizer)
    if config.append_eos and tokenizer.eos_token_id is None:
        raise InputError(f"--append_eos: tokenizer {tokenizer.name_or_path} has no such token")
    return tokenizer


def ends_texts(config: Config, tokenizer: PreTrainedTokenizerFast) -> bool:
    """True if every text gets the tokenizer's end-of-text token, which it does not add itself."""
    if config.task_name != CAUSAL or tokenizer.eos_token_id is None:
        return False
    wanted = not config.block_size if config.append_eos is None else config.append_eos
    ids = tokenizer("a").input_ids
    return wanted and not (ids and ids[-1] in tokenizer.all_special_ids)


def row_length(
    config: Config, model_config: PreTrainedConfig, tokenizer: PreTrainedTokenizerFast
) -> int:
    """The number of sub-tokens of a row, at most.

    Raises:
        InputError: the options ask for more than the model takes.
    """
    head = HEADS[config.task_name == CAUSAL]
    limit = max_input_length(config, head, model_config, tokenizer)
    if config.block_size and config.block_size > limit:
        raise InputError(
            f"--block_size {config.block_size}: the model takes at most {limit} sub-tokens; give "
            "at most so many"
        )
    return config.block_size or config.max_length or min(limit, LONGEST)


def num_ids_of(tokenizer: PreTrainedTokenizerFast) -> int:
    """The number of ids of a tokenizer, those included that have no token."""
    return max(tokenizer.get_vocab().values()) + 1


def special_ids_of(tokenizer: PreTrainedTokenizerFast) -> np.ndarray:
    """True for the ids that are never hidden and never drawn, bool [num_ids].

    The unknown token is one of them, as it stands for no certain word that could be learned.
    """
    is_special = np.zeros(num_ids_of(tokenizer), dtype=bool)
    is_special[tokenizer.all_special_ids] = True
    known = np.fromiter(tokenizer.get_vocab().values(), np.int64)
    is_special[np.setdiff1d(np.arange(len(is_special)), known)] = True
    return is_special


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
