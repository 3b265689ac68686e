"""Speech recognition: what is said in a recording. Whisper and models like it.

python train_loop.py --task_name speech --train_file train.csv ...  # docs/tasks.md
"""

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from transformers import (
    AutoModelForSpeechSeq2Seq,
    PreTrainedConfig,
    PreTrainedTokenizerFast,
    WhisperFeatureExtractor,
)
from transformers.modeling_outputs import Seq2SeqLMOutput

from tagloop.batches.examples import SubTokenRows
from tagloop.batches.packing import MicroBatch
from tagloop.data.rows import Rows
from tagloop.errors import InputError
from tagloop.files import write_text
from tagloop.models.encoder_decoder import load_encoder_decoder, load_encoder_decoder_config
from tagloop.models.generation import generate_ids
from tagloop.models.token_loss import token_losses
from tagloop.models.tokenizers import load_tokenizer, require_known
from tagloop.options.config import Config
from tagloop.sample.model import build_sample_whisper_config, build_sample_whisper_tokenizer
from tagloop.streams import visible
from tagloop.tasks.card_facts import CardFacts
from tagloop.tasks.speech.card import describe_card
from tagloop.tasks.speech.columns import read_recordings
from tagloop.tasks.speech.encoding import (
    Heard,
    RecordingRows,
    load_sounds,
    load_transcripts,
)
from tagloop.tasks.speech.prompts import (
    check_extractor,
    load_extractor,
    prompt_length,
    require_room,
    set_prompt,
    settle_prompt,
    suppressed_ids,
)
from tagloop.tasks.speech.scores import character_errors, normalize, rate_of, word_errors
from tagloop.tasks.speech.texts import decode_texts, shape_text
from tagloop.tasks.task import LOSS, Metric, Scores, choose_metric, needed_splits, sizes_of
from tagloop.tasks.tokenizer_task import TokenizerTask

HEAD = AutoModelForSpeechSeq2Seq
PREDICTION_FILES = ("generated_predictions.txt",)
METRICS = [Metric(name, lower_is_better=True) for name in ("wer", "cer", "wer_normalized")]
NO_TEXT = "without a transcript"  # This is a reason why a row is no example.


@dataclass(frozen=True)
class Speech(TokenizerTask):
    """See `tagloop.tasks.task.Task`. An example is a recording with its transcript."""

    config: Config
    rows: Rows
    tokenizer: PreTrainedTokenizerFast
    extractor: WhisperFeatureExtractor
    model_config: PreTrainedConfig
    examples: dict[str, RecordingRows]
    metric: Metric
    warnings: list[str]
    prediction_files: ClassVar[tuple[str, ...]] = PREDICTION_FILES

    @property
    def fingerprints(self) -> dict[str, str]:
        return {split: rows.sounds["fingerprint"] for split, rows in self.examples.items()}

    @property
    def processors(self) -> list[Any]:
        return [self.tokenizer, self.extractor]

    @property
    def identity(self) -> dict:
        facts = self.extractor.to_dict()
        kept = ("feature_size", "sampling_rate", "hop_length", "chunk_length", "n_fft")
        return super().identity | {"extractor": {name: facts[name] for name in kept}}

    def build_model(self) -> nn.Module:
        model = load_encoder_decoder(
            self.config, self.model_config, self.tokenizer, self.warnings,
            self.examples.values(), HEAD,
            num_beams=self.config.num_beams,
            max_length=self.max_new_tokens,  # Whisper adds the length of the prompt.
        )  # fmt: skip
        if self.config.model_name_or_path is None:  # The defaults are those of one vocabulary.
            model.generation_config.suppress_tokens = None
            model.generation_config.begin_suppress_tokens = None
        settle_prompt(model, self.tokenizer)
        if getattr(model.config, "apply_spec_augment", False):
            model.config.apply_spec_augment = False
            self.warnings.append("apply_spec_augment of the model is off: see docs/tasks.md")
        self._warn_of_suppressed(model)
        if self.config.freeze_encoder:
            model.get_encoder().requires_grad_(False)
        if "train" in self.examples:  # predict.py reads these values from config.json.
            self.record(model, max_new_tokens=self.max_new_tokens, num_beams=self.config.num_beams)
        return model

    @property
    def max_new_tokens(self) -> int:
        """Sub-tokens that are generated behind the prompt, at most."""
        longest = self.model_config.max_target_positions
        return min(self.config.generation_max_length or longest, longest) - prompt_length(
            self.tokenizer
        )

    def _warn_of_suppressed(self, model: nn.Module) -> None:
        barred = suppressed_ids(model)
        for split, rows in self.examples.items():
            met = np.isin(rows.target.input_ids, barred) if barred else np.zeros(0, bool)
            if met.any():
                ids = np.unique(rows.target.input_ids[met])
                names = ", ".join(map(repr, self.tokenizer.batch_decode([[i] for i in ids[:8]])))
                self.warnings.append(
                    f"{split}: {met.sum():,} sub-tokens of the transcripts ({names}) are among "
                    "the suppress_tokens of the model's generation_config.json, so the model "
                    "never writes them"
                )

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
        """`ids`, int32 [num_examples, max_new_tokens], the generated sub-tokens; and `row`, int32.

        `row` is the number of the recording's row in the split. `ids` is left out without
        --predict_with_generate.
        """
        rows = self.examples[split].rows[batch.example_ids].astype(np.int32)
        found = {"row": torch.from_numpy(rows).to(batch.labels.device)}
        if not self.config.predict_with_generate:
            return found
        ids = generate_ids(
            model,
            {"input_features": batch.inputs["input_features"]},
            num_examples=len(batch.example_ids),
            max_new_tokens=self.max_new_tokens,
            num_beams=self.config.num_beams,
            pad_token_id=self.tokenizer.pad_token_id,
        )
        return found | {"ids": ids}

    def score(self, split: str, predictions: dict[str, np.ndarray], loss: float | None) -> Scores:
        """Error rates as fractions; see scores.py.

        `baseline_wer` is that of writing the most frequent word of the training data every time.
        """
        texts = self.references(split)
        known = [at for at, text in enumerate(texts) if text is not None]
        if not known or "ids" not in predictions:
            return Scores({}, {})
        texts = [texts[at] for at in known]
        found = self.decode(predictions["ids"])
        found = [found[at] for at in known]
        values = {
            "wer": rate_of(word_errors(texts, found)),
            "cer": rate_of(character_errors(texts, found)),
            "wer_normalized": rate_of(word_errors(map(normalize, texts), map(normalize, found))),
        }
        if self.usual_word is not None:
            values["baseline_wer"] = rate_of(word_errors(texts, [self.usual_word] * len(texts)))
        return Scores(values, {})

    @cached_property
    def usual_word(self) -> str | None:
        """The most frequent word of the training data; None without training data."""
        if "train" not in self.examples:
            return None
        counts = Counter(word for text in self.references("train") for word in (text or "").split())
        return min(counts, key=lambda word: (-counts[word], word), default=None)

    def references(self, split: str) -> list[str | None]:
        """The transcripts of all examples; None where nobody knows it."""
        cells = self.rows.splits[split]["text"][:]
        lower_case = self.config.do_lower_case
        kept = (cells[row] for row in self.examples[split].rows)
        return [None if text is None else shape_text(text, lower_case) for text in kept]

    def decode(self, ids: np.ndarray) -> list[str]:
        """The texts of generated sub-tokens.

        Args:
            ids: int32 [num_examples, max_new_tokens].
        """
        return decode_texts(self.tokenizer, ids)

    def write(self, folder: Path, split: str, predictions: dict[str, np.ndarray]) -> None:
        """generated_predictions.txt: a line for every row; empty for a row that is no example."""
        if "ids" not in predictions:
            return
        lines = [""] * self.examples[split].num_rows
        for row, text in zip(
            self.examples[split].rows, self.decode(predictions["ids"]), strict=True
        ):
            lines[row] = text
        write_text(folder / PREDICTION_FILES[0], "".join(f"{line}\n" for line in lines))

    def describe(self) -> list[tuple[str, str]]:
        lines = []
        rate = self.extractor.sampling_rate
        for split, rows in self.examples.items():
            facts = rows.sounds
            lines.append(
                (
                    split,
                    f"{len(rows):,} recordings, {facts['seconds']:,.0f} s, "
                    f"{rows.num_words.sum():,} words, {rows.target_weights.sum():,.0f} targets",
                )
            )
            lines += [
                ("", f"{number:,} recordings are left out: {why}")
                for why, number in rows.left_out.items()
            ]
            others = {own: n for own, n in facts["rates"].items() if int(own) != rate}
            if others:
                rates = ", ".join(f"{n:,} of {own} Hz" for own, n in others.items())
                lines.append(("", f"resampled to {rate:,} Hz: {rates}"))
            mixed = sum(n for own, n in facts["channels"].items() if int(own) > 1)
            if mixed:
                lines.append(
                    ("", f"{mixed:,} recordings have several channels: their mean is heard")
                )
            if facts["silent"]:
                lines.append(("", f"{facts['silent']:,} recordings are silent; see --check_data"))
            if rows.num_empty:
                text = f"{rows.num_empty:,} transcripts are empty: nothing is said there"
                lines.append(("", text))
        first = next(iter(self.examples.values()))
        example = first.target.input_ids[: first.target.offsets[1]]
        if len(example):
            shown = self.tokenizer.decode(example, skip_special_tokens=False)
            lines.append(("labels", visible(shown[:200])))
        if self.config.do_lower_case:
            lines.append(("transcripts", "in lower case (--no_do_lower_case keeps them)"))
        audio, text = self.rows.columns["file"], self.rows.columns.get("text")
        return [*lines, ("columns", f"recordings {audio!r}, transcripts {text!r}")]

    def card(self) -> CardFacts:
        return describe_card(sizes_of(self), lower_case=self.config.do_lower_case)


def load_task(config: Config, *, pad_to_multiple_of: int) -> Speech:
    """Load recordings, processors, and the examples of the splits that the options need.

    Args:
        pad_to_multiple_of: the number of columns of the targets is a multiple of this number.

    Raises:
        InputError: the data is bad, or the model cannot learn this task.
    """
    rows = read_recordings(config)
    scores = METRICS if config.predict_with_generate else []
    metric = choose_metric(config, [*scores, LOSS])
    tokenizer = load_own_tokenizer(config, rows)
    model_config = load_encoder_decoder_config(
        config,
        tokenizer,
        lambda own: build_sample_whisper_config(own, load_extractor(config)),
        HEAD,
    )
    extractor = load_extractor(config)
    check_extractor(config.names_of_model, extractor, model_config)
    examples, warnings = {}, list(rows.warnings)
    for split, dataset in needed_splits(config, rows.splits).items():
        examples[split] = load_examples(
            config, split, dataset, rows.fingerprints[split], tokenizer, extractor, model_config,
            pad_to_multiple_of,
        )  # fmt: skip
        kept, left_out = len(examples[split]), examples[split].left_out
        if not kept:
            why = "; ".join(f"{number:,} {reason}" for reason, number in left_out.items())
            raise InputError(f"{split}: no recording can be used: {why}")
        if split == "train" and not examples[split].num_words.any():
            raise InputError(
                f"train: no transcript of the column {rows.columns['text']!r} has a word, so there "
                "is nothing to learn; --text_column_name names another"
            )
        if left_out and split != "train":
            warnings.append(
                f"{split}: {sum(left_out.values()):,} of {len(dataset):,} recordings are left out, "
                "so the scores are those of the others"
            )
    return Speech(config, rows, tokenizer, extractor, model_config, examples, metric, warnings)


def load_own_tokenizer(config: Config, rows: Rows) -> PreTrainedTokenizerFast:
    """The tokenizer of a run, which puts prompt and end around a transcript.

    Raises:
        InputError: there is no such tokenizer, it puts no end behind a transcript, or it does not
            have the language.
    """
    if config.uses_sample_model:
        tokenizer = build_sample_whisper_tokenizer(rows.splits["train"]["text"])
    else:
        tokenizer = load_tokenizer(config, [], pre_split=False)
    set_prompt(config, tokenizer)
    require_room(config, tokenizer)
    if tokenizer("a").input_ids[-1] != tokenizer.eos_token_id:
        raise InputError(
            f"tokenizer {tokenizer.name_or_path}: it puts no end-of-text token behind a text, so "
            "the model would never learn to stop; name the tokenizer of a Whisper model"
        )
    return tokenizer


def load_examples(
    config: Config,
    split: str,
    dataset: Any,
    fingerprint: str,
    tokenizer: PreTrainedTokenizerFast,
    extractor: WhisperFeatureExtractor,
    model_config: PreTrainedConfig,
    pad_to_multiple_of: int,
) -> RecordingRows:
    """The examples of a split. Recordings and transcripts that are too long are left out.

    Raises:
        InputError: a recording cannot be read.
    """
    start_id = model_config.decoder_start_token_id
    workers = config.preprocessing_num_workers or 1
    sounds = load_sounds(dataset, fingerprint, extractor.sampling_rate, num_workers=workers)
    texts = load_transcripts(
        dataset, fingerprint, tokenizer, start_id,
        lower_case=config.do_lower_case, num_workers=workers,
    )  # fmt: skip
    seconds = np.diff(sounds.offsets) / extractor.sampling_rate
    lengths, longest = np.diff(texts.offsets), model_config.max_target_positions
    hears = extractor.chunk_length
    reasons = {
        f"longer than the {hears} s that the model hears": seconds > hears,
        f"transcripts of more than the {longest} sub-tokens that the model writes": lengths
        > longest,
    }
    if split == "train":
        reasons |= reasons_in_training(config, seconds, lengths)
    kept, left_out = np.ones(len(seconds), bool), {}
    for why, is_met in reasons.items():
        if number := int((is_met & kept).sum()):
            left_out[why] = number
        kept &= ~is_met
    rows = np.flatnonzero(kept)
    target = SubTokenRows(
        input_ids=texts.input_ids if kept.all() else texts.input_ids[np.repeat(kept, lengths)],
        offsets=np.concatenate([[0], lengths[rows].cumsum()]),
        pad_token_id=tokenizer.pad_token_id,
        max_length=longest,
        pad_to_max_length=False,
        pad_to_multiple_of=pad_to_multiple_of,
    )
    if split != "predict":
        unknown = tokenizer.unk_token_id
        if unknown is not None and unknown != tokenizer.eos_token_id:
            is_unknown = int((target.input_ids == unknown).sum())
            require_known(is_unknown, len(target.input_ids), "sub-tokens")
    return RecordingRows(
        source=Heard(sounds, rows, extractor),
        target=target,
        start_id=start_id,
        rows=rows,
        num_rows=len(seconds),
        num_words=texts.num_words[rows],
        left_out=left_out,
        sounds=sounds.facts | {"seconds": float(seconds[rows].sum())},
        num_empty=texts.facts["empty"],
    )


def reasons_in_training(
    config: Config, seconds: np.ndarray, lengths: np.ndarray
) -> dict[str, np.ndarray]:
    """The reasons why a recording is not learned from, and the recordings that meet each of them.

    Args:
        seconds: float64 [num_rows], the length of every recording.
        lengths: int64 [num_rows], the sub-tokens of every transcript.

    Returns:
        For every reason bool [num_rows], True where it is met.
    """
    most, least = config.max_duration_in_seconds, config.min_duration_in_seconds
    return {
        f"longer than --max_duration_in_seconds {most:g}": seconds > most,
        f"not longer than --min_duration_in_seconds {least:g}": seconds <= least,
        NO_TEXT: lengths == 0,
    }
