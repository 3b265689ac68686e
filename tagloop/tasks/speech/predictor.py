"""Writes down what is said in recordings with a trained model.

    predictor = load_predictor("runs/mine")
    predictor(["a.wav"])[0].values  # {"transcript": "seven eight"}

The transcripts are equal to the predictions of the training run.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import (
    AutoModelForSpeechSeq2Seq,
    PreTrainedTokenizerFast,
    WhisperFeatureExtractor,
)

from tagloop.data.documents.reading import ContentReader, NamedValues, listed_texts
from tagloop.errors import InputError
from tagloop.models.generation import generate_ids
from tagloop.models.tokenizers import load_tokenizer
from tagloop.models.trained import load_trained, read_record
from tagloop.options.config import Config
from tagloop.processes.devices import autocast_of, choose_device
from tagloop.tasks.speech.columns import AUDIO
from tagloop.tasks.speech.encoding import features_of
from tagloop.tasks.speech.prompts import check_extractor, load_extractor, prompt_length
from tagloop.tasks.speech.sound import read_sound
from tagloop.tasks.speech.texts import decode_texts
from tagloop.tasks.task import Task
from tagloop.wording import shown

FORMATS = ("jsonl", "csv", "tsv", "txt")
SPLITS_WORDS = False
HEAD = AutoModelForSpeechSeq2Seq


def _is_size(value: Any) -> bool:
    return type(value) is int and value > 0


# The values in config.json that a training run of this task writes.
RECORD = {
    "max_new_tokens": _is_size,
    "num_beams": lambda value: value is None or _is_size(value),
}


class Predictor:
    """Transcribes recordings; load_predictor builds a predictor."""

    kind = None  # The predictions are no tags of words.

    def __init__(
        self,
        model: torch.nn.Module,
        tokenizer: PreTrainedTokenizerFast,
        extractor: WhisperFeatureExtractor,
        *,
        max_new_tokens: int,
        num_beams: int | None,
        batch_size: int,
        mixed_precision: str,
    ):
        self.model, self.tokenizer, self.extractor = model, tokenizer, extractor
        self.max_new_tokens, self.num_beams = max_new_tokens, num_beams
        self.batch_size, self.mixed_precision = batch_size, mixed_precision

    @torch.inference_mode()
    def __call__(self, inputs: str | Sequence[str]) -> list[NamedValues]:
        """Transcribe recordings.

        Args:
            inputs: names of files of sound, or one name.

        Returns:
            For every recording its `transcript`.

        Raises:
            InputError: a recording cannot be read, or is longer than the model hears.
        """
        names = listed_texts(inputs)
        return [
            NamedValues({"transcript": text}, {})
            for start in range(0, len(names), self.batch_size)
            for text in self._transcribe(names[start : start + self.batch_size])
        ]

    def _transcribe(self, names: list[str]) -> list[str]:
        features = torch.from_numpy(np.stack([*self._hear(names)])).to(self.model.device)
        with autocast_of(self.model.device, self.mixed_precision):
            ids = generate_ids(
                self.model,
                {"input_features": features},
                num_examples=len(names),
                max_new_tokens=self.max_new_tokens,
                num_beams=self.num_beams,
                pad_token_id=self.tokenizer.pad_token_id,
            )
        return decode_texts(self.tokenizer, ids.cpu().numpy())

    def _hear(self, names: list[str]) -> Iterator[np.ndarray]:
        """The features of every recording, float32 [mels, frames]."""
        rate, most = self.extractor.sampling_rate, self.extractor.chunk_length
        for name in names:
            samples = read_sound(Path(name), rate, name).samples
            if len(samples) > most * rate:
                raise InputError(
                    f"{name}: it has {len(samples) / rate:.1f} s, and the model hears {most} s; "
                    "cut it into shorter files"
                )
            yield features_of(samples, self.extractor)


def example_input(task: Task) -> str:
    """What the console shows as the first use of predict.py after a training: its arguments."""
    return "--text FILE.wav"


def content_reader(folder: Path) -> ContentReader:
    """The reader of the recording of a row: the name of its file, from the folder of the table."""

    def content_of(row: dict[str, Any], column: str | None, place: str) -> str:
        choices = [column] if column else AUDIO
        name = next((name for name in choices if name in row), None)
        if name is None:
            raise InputError(
                f"{place}: no column {choices[0]!r}; its columns are {', '.join(row) or 'none'}; "
                "name the column of the recordings with --text_column_name"
            )
        if not isinstance(row[name], str) or not row[name].strip():
            raise InputError(f"{place}: {name} holds {shown(row[name])}, which names no file")
        return str(Path(place).parent / row[name].strip())

    return content_of


def load_predictor(
    folder: str | Path,
    *,
    batch_size: int = 32,
    device: str | torch.device | None = None,
    mixed_precision: str = "no",
) -> Predictor:
    """Load a predictor from the folder of a training run, or of another trained Whisper model.

    Args:
        folder: the folder of the model.
        batch_size: the number of recordings that go through the model at once.
        device: None takes a GPU if the machine has one, else the CPU.
        mixed_precision: "no" (float32), "bf16" or "fp16".

    Raises:
        InputError: the folder has no saved model, or the model transcribes nothing.
    """
    folder = Path(folder)
    record = read_record(folder, RECORD)
    model = load_trained(folder, HEAD, head="ForConditionalGeneration", targets="transcripts")
    config = Config(task_name="speech", model_name_or_path=str(folder))
    tokenizer, extractor = load_tokenizer(config, [], pre_split=False), load_extractor(config)
    check_extractor(str(folder), extractor, model.config)
    room = model.config.max_target_positions - prompt_length(tokenizer)
    return Predictor(
        model.to(choose_device(device)),
        tokenizer,
        extractor,
        max_new_tokens=min(record.get("max_new_tokens", room), room),
        num_beams=record.get("num_beams"),
        batch_size=batch_size,
        mixed_precision=mixed_precision,
    )
