"""Summarization: an encoder-decoder reads a text and writes a shorter one.

python train_loop.py --task_name summarization --train_file pairs.jsonl ...  # docs/tasks.md
"""

from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedTokenizerFast
from transformers.modeling_outputs import Seq2SeqLMOutput

from tagloop.batches.examples import SubTokenRows
from tagloop.batches.packing import MicroBatch
from tagloop.batches.pairs import PairRows
from tagloop.data.rows import Rows
from tagloop.errors import InputError
from tagloop.files import write_text
from tagloop.models.encoder_decoder import load_encoder_decoder, load_encoder_decoder_config
from tagloop.models.generation import generate_ids
from tagloop.models.token_loss import token_losses
from tagloop.models.tokenizers import load_tokenizer
from tagloop.options.config import Config
from tagloop.sample.model import build_sample_encoder_decoder_config, end_with_sep
from tagloop.streams import visible
from tagloop.tasks.card_facts import CardFacts
from tagloop.tasks.summarization.card import describe_card
from tagloop.tasks.summarization.columns import is_pair, read_pairs
from tagloop.tasks.summarization.encoding import PairEncoder, encode_pairs
from tagloop.tasks.summarization.options import USUAL_SOURCE
from tagloop.tasks.summarization.scores import (
    ROUGES,
    first_sentence,
    is_blind,
    percent,
    require_rouge,
    rouge_of,
)
from tagloop.tasks.task import LOSS, Metric, Scores, choose_metric, needed_splits, sizes_of
from tagloop.tasks.tokenizer_task import TokenizerTask, unknown_line

PREDICTION_FILES = ("generated_predictions.txt",)
FACTS = {
    "cut_sources": "texts lose their end, see --max_source_length",
    "cut_targets": "summaries lose their end in learning, see --max_target_length",
    "unpaired": "rows lack a text or a summary: neither learned nor scored",
}
# Settings of a checkpoint's generation_config.json that change what it writes.
SETTINGS = (
    "min_length", "min_new_tokens", "length_penalty", "no_repeat_ngram_size", "early_stopping",
    "repetition_penalty", "forced_bos_token_id",
)  # fmt: skip
LOOKED_AT = 100  # references, to find out whether ROUGE can see their letters


@dataclass(frozen=True)
class Summarization(TokenizerTask):
    """See `tagloop.tasks.task.Task`. An example is a text and its summary.

    Attributes:
        facts: for every split what `encode_pairs` counted.
        generation: settings of the model that change what it writes, by name; known after
            `build_model`.
    """

    config: Config
    rows: Rows
    tokenizer: PreTrainedTokenizerFast
    model_config: PreTrainedConfig
    examples: dict[str, PairRows]
    facts: dict[str, dict[str, int]]
    metric: Metric
    warnings: list[str]
    generation: dict[str, Any] = field(default_factory=dict)
    prediction_files: ClassVar[tuple[str, ...]] = PREDICTION_FILES

    @property
    def fingerprints(self) -> dict[str, str]:
        return self.rows.fingerprints

    @property
    def max_length(self) -> int:
        """Sub-tokens of a generated summary, at most; the start of the decoder counts."""
        return self.config.generation_max_length or evaluated_length(self.config)

    def build_model(self) -> nn.Module:
        model = load_encoder_decoder(
            self.config, self.model_config, self.tokenizer, self.warnings,
            self.examples.values(), num_beams=self.config.num_beams, max_length=self.max_length,
        )  # fmt: skip
        settings = model.generation_config.to_diff_dict()
        self.generation.update({k: settings[k] for k in SETTINGS if settings.get(k)})
        self.generation["num_beams"] = model.generation_config.num_beams or 1
        fewest = self.generation.get("min_length", 0)
        if self.config.predict_with_generate and fewest >= self.max_length:
            self.warnings.append(
                f"generation_config.json of the model asks for {fewest} sub-tokens at least, and a "
                f"summary may have {self.max_length}: none will have an end; give "
                f"--generation_max_length {2 * fewest}"
            )
        if "train" in self.examples:  # predict.py reads these values from config.json.
            self.record(
                model,
                source_prefix=self.config.source_prefix or "",
                max_source_length=self.examples["train"].source.max_length,
                max_length=self.max_length,
                text_column=self.rows.columns["source"],
            )
        return model

    def losses(self, outputs: Seq2SeqLMOutput, batch: MicroBatch) -> Tensor:
        """The loss of every target, [rows, columns of the targets]; 0 in padding cells."""
        return token_losses(outputs.logits, batch.labels)

    def predict(
        self,
        model: nn.Module,
        batch: MicroBatch,
        outputs: Seq2SeqLMOutput,
        losses: Tensor,
        split: str,
    ) -> dict[str, Tensor]:
        """For every pair `loss`, float32, summed over its targets, and `ids`, int32.

        The ids are those of the generated sub-tokens, [pairs, max_length - 1], padded; they are
        left out without --predict_with_generate.
        """
        number = len(batch.example_ids)
        found = {"loss": losses[:number].sum(1).float()}
        if self.config.predict_with_generate:
            found["ids"] = generate_ids(
                model,
                {name: batch.inputs[name] for name in ("input_ids", "attention_mask")},
                num_examples=number,
                max_new_tokens=self.max_length - 1,
                pad_token_id=self.tokenizer.pad_token_id,
            )
        return found

    def score(self, split: str, predictions: dict[str, np.ndarray], loss: float | None) -> Scores:
        """ROUGE in percent against the whole references, and that of a trivial baseline.

        The baseline is the first sentence of every text. `gen_len` is the mean number of generated
        sub-tokens, the end included.
        """
        if loss is None or "ids" not in predictions:
            return Scores({}, {})
        rows = self.rows.splits[split][:]
        pairs = zip(rows["source"], rows["target"], strict=True)
        known = [number for number, pair in enumerate(pairs) if is_pair(*pair)]
        golds = [rows["target"][number] for number in known]
        found = decode(self.tokenizer, predictions["ids"])
        values = percent(rouge_of(golds, [found[number] for number in known]))
        leads = [first_sentence(rows["source"][number]) for number in known]
        baseline = percent(rouge_of(golds, leads))
        values |= {f"baseline_{name}": baseline[name] for name in ("rouge1", "rougeL")}
        lengths = generated_lengths(predictions["ids"], self.end_ids)
        return Scores(values | {"gen_len": round(float(lengths.mean()), 4)}, {})

    @property
    def end_ids(self) -> list[int]:
        """The ids that end a summary."""
        end = self.model_config.eos_token_id
        end = self.tokenizer.eos_token_id if end is None else end
        return end if isinstance(end, list) else [-1 if end is None else end]

    def write(self, folder: Path, split: str, predictions: dict[str, np.ndarray]) -> None:
        """generated_predictions.txt: a line for every row; spaces stand for line breaks."""
        if "ids" in predictions:
            texts = decode(self.tokenizer, predictions["ids"])
            lines = [" ".join(text.splitlines()) for text in texts]
            write_text(folder / "generated_predictions.txt", "\n".join([*lines, ""]))

    def describe(self) -> list[tuple[str, str]]:
        lines = []
        for split, pairs in self.examples.items():
            facts = self.facts[split]
            sizes = [f"{rows.lengths.mean():.0f}" for rows in (pairs.source, pairs.target)]
            lines.append(
                (
                    split,
                    f"{len(pairs):,} pairs, texts of {sizes[0]} and summaries of {sizes[1]} "
                    f"sub-tokens (mean), {pairs.target_weights.sum():,.0f} targets",
                )
            )
            lines.append(unknown_line(facts["unknown"], facts["sub_tokens"]))
            for name, text in FACTS.items():
                if facts[name] and not (name == "unpaired" and split == "predict"):
                    lines.append(("", f"{facts[name]:,} {text}"))
        if self.config.predict_with_generate:
            lines += [("generation", self._describe_generation())]
        first = next(iter(self.rows.splits.values()))[0]
        shown = f"{first['target'] or 'no summary'} | {first['source'] or 'no text'}"
        return [*lines, ("columns", self.rows.columns_line), ("first row", visible(shown[:200]))]

    def _describe_generation(self) -> str:
        beams = self.generation.get("num_beams", 1)
        text = "greedy" if beams == 1 else f"{beams} beams"
        text += f", up to {self.max_length - 1} sub-tokens"
        others = [f"{name} {value}" for name, value in self.generation.items() if name in SETTINGS]
        if others:
            text += f"; of the model: {', '.join(others)}"
        if {"validation", "test"} & self.examples.keys():
            text += f"; rouge-score {version('rouge-score')} with stemming"
        return text

    def card(self) -> CardFacts:
        return describe_card(sizes_of(self), self.config.source_prefix or "")


def evaluated_length(config: Config) -> int:
    """Sub-tokens of a summary whose loss is evaluated, at most."""
    return config.val_max_target_length or config.max_target_length


def decode(tokenizer: PreTrainedTokenizerFast, ids: np.ndarray) -> list[str]:
    """The texts of generated sub-tokens, without special ones and blanks around.

    Args:
        ids: int32 [num_texts, max_length].
    """
    return [text.strip() for text in tokenizer.batch_decode(ids, skip_special_tokens=True)]


def generated_lengths(ids: np.ndarray, end_ids: list[int]) -> np.ndarray:
    """How many sub-tokens were generated for every text, the end included, int64 [num_texts].

    Args:
        ids: int32 [num_texts, max_length].

    >>> generated_lengths(np.array([[5, 1, 0, 0], [5, 6, 7, 8]]), [1])
    array([2, 4])
    """
    is_end = np.isin(ids, end_ids)
    return (is_end.cumsum(axis=1) - is_end == 0).sum(axis=1)


def load_task(config: Config, *, pad_to_multiple_of: int) -> Summarization:
    """Load pairs, tokenizer, and the examples of the splits that the options need.

    Args:
        pad_to_multiple_of: the number of columns of a batch is a multiple of this number.

    Raises:
        InputError: the data is bad, the model is no encoder-decoder, or a package is missing.
    """
    rows = read_pairs(config)
    known = [*map(Metric, ROUGES)] if config.predict_with_generate else []
    metric = choose_metric(config, [*known, LOSS])
    splits = needed_splits(config, rows.splits)
    if config.predict_with_generate and {"validation", "test"} & splits.keys():
        require_rouge()
    sample = rows.splits["train"] if config.uses_sample_model else []
    words = (f"{row['source']} {row['target']}".split() for row in sample)
    tokenizer = load_tokenizer(config, words, pre_split=False)
    if config.uses_sample_model:
        end_with_sep(tokenizer)
    model_config = load_encoder_decoder_config(
        config, tokenizer, build_sample_encoder_decoder_config
    )
    max_source, max_target = row_lengths(config, model_config)
    examples, facts, warnings = {}, {}, list(rows.warnings)
    for split, dataset in splits.items():
        target_length = max_target if split == "train" else evaluated_length(config)
        encoder = PairEncoder(tokenizer, config.source_prefix or "", max_source, target_length)
        arrays, facts[split] = encode_pairs(
            dataset, rows.fingerprints[split], encoder,
            num_workers=config.preprocessing_num_workers or 1,
        )  # fmt: skip
        parts = {
            name: SubTokenRows(
                input_ids=arrays[f"{name}_ids"],
                offsets=arrays[f"{name}_offsets"],
                pad_token_id=tokenizer.pad_token_id,
                max_length=length,
                pad_to_max_length=config.pad_to_max_length,
                pad_to_multiple_of=pad_to_multiple_of,
            )
            for name, length in (("source", max_source), ("target", target_length))
        }
        examples[split] = PairRows(**parts, start_id=model_config.decoder_start_token_id)
        if split == "train" and not examples[split].target_weights.any():
            raise InputError("train: no row has a text and a summary, so there is nothing to learn")
        if split in ("validation", "test") and config.predict_with_generate:
            golds = [gold for gold in dataset[:LOOKED_AT]["target"] if gold]
            if is_blind(golds):
                warnings.append(
                    f"{split}: most summaries have no letter a to z and no digit, and ROUGE sees "
                    "nothing else; --metric_for_best_model loss does not need ROUGE"
                )
    warnings += warnings_of(config, model_config, tokenizer)
    return Summarization(config, rows, tokenizer, model_config, examples, facts, metric, warnings)


def row_lengths(config: Config, model_config: PreTrainedConfig) -> tuple[int, int]:
    """Sub-tokens of a text and of a summary to learn, at most.

    Raises:
        InputError: the options ask for more than the model has positions.
    """
    positions = getattr(model_config, "max_position_embeddings", None)
    limits = [
        getattr(model_config, f"max_{part}_position_embeddings", None) or positions or 0
        for part in ("encoder", "decoder")
    ]
    # A relative position has no limit. T5 has no other ones.
    source, target = (limit if limit > 0 else 1 << 30 for limit in limits)
    generated = config.generation_max_length or evaluated_length(config)
    for name, length, limit in (
        ("max_source_length", config.max_source_length or 0, source),
        ("max_target_length", config.max_target_length, target),
        ("val_max_target_length", evaluated_length(config), target),
        ("generation_max_length", generated, target),
    ):
        if length > limit:
            raise InputError(
                f"--{name} {length}: the model has {limit} positions there; give at most so many"
            )
    return config.max_source_length or min(USUAL_SOURCE, source), config.max_target_length


def warnings_of(
    config: Config, model_config: PreTrainedConfig, tokenizer: PreTrainedTokenizerFast
) -> list[str]:
    """Sentences about a prefix that the model may want, and about summaries without an end."""
    found = []
    own = getattr(model_config, "task_specific_params", None) or {}
    prefix = (own.get(config.task_name) or {}).get("prefix")
    if prefix and config.source_prefix is None:
        found.append(
            f"the model was trained with texts that begin with {prefix!r}; --source_prefix puts it "
            "there"
        )
    ids = tokenizer(text_target=["a"]).input_ids[0]
    if not ids or ids[-1] not in tokenizer.all_special_ids:
        found.append(
            "the tokenizer puts no token at the end of a summary, so the model never learns to end"
        )
    return found
