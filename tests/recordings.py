"""Recordings and Whisper models small enough for tests: made in milliseconds."""

import csv
from pathlib import Path

import numpy as np
import torch
from transformers import (
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
    WhisperTokenizer,
)

from tagloop.sample.digits import RATE, as_wav
from tagloop.sample.model import build_sample_whisper_tokenizer

TEXTS = ["one two", "three", "two one three", "one", "three three", "two", "one three", "two two"]
PITCHES = {"one": 400, "two": 1000, "three": 2500}


def tone(seconds: float, *pitches: float, rate: int = RATE, channels: int = 1) -> bytes:
    """A WAV file with tones, one after the other."""
    time = np.arange(int(seconds * rate)) / rate
    which = (time / seconds * len(pitches or [440])).astype(int)
    samples = (8000 * np.sin(2 * np.pi * np.array(pitches or [440])[which] * time)).astype(np.int16)
    return as_wav(samples if channels == 1 else np.stack([samples] * channels, 1), rate)


def write_table(folder: Path, texts=TEXTS, *, name: str = "train.csv", seconds=0.6) -> Path:
    """A table of recordings, whose files lie in the folder `clips` beside it.

    Every word has a tone of its own. A recording has 0.02 s more than the one before.
    """
    (folder / "clips").mkdir(parents=True, exist_ok=True)
    stem = name.partition(".")[0]
    with (folder / name).open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["audio", "text"])
        for number, text in enumerate(texts):
            clip = f"clips/{stem}-{number}.wav"
            pitches = [PITCHES[word] for word in text.split()]
            (folder / clip).write_bytes(tone(seconds + 0.02 * number, *pitches))
            table.writerow([clip, text])
    return folder / name


def whisper_tokenizer(languages: bool = False) -> WhisperTokenizer:
    """A tokenizer with the words of TEXTS; with languages it has the tokens of two of them."""
    tokenizer = build_sample_whisper_tokenizer(TEXTS)
    if languages:
        # The id of a language counts from that of the start: en and zh are the first two.
        special = ["<|startoftranscript|>", "<|en|>", "<|zh|>", "<|translate|>", "<|transcribe|>"]
        vocab = {t: i for t, i in tokenizer.get_vocab().items() if not t.startswith("<|")}
        names = ["<|endoftext|>", *special, "<|notimestamps|>"]
        vocab |= {token: len(vocab) + number for number, token in enumerate(names)}
        tokenizer = WhisperTokenizer(
            vocab=vocab, merges=tokenizer._merges, pad_token=names[0],
            extra_special_tokens=names[1:], model_max_length=448,
        )  # fmt: skip
    return tokenizer


def write_whisper(folder: Path, *, languages: bool = False, **overrides) -> Path:
    """The files of a Whisper that hears one second in ten frames: no weights."""
    tokenizer = whisper_tokenizer(languages)
    extractor = WhisperFeatureExtractor(feature_size=8, chunk_length=1, hop_length=1600)
    end = tokenizer.eos_token_id
    sizes = {
        "d_model": 32, "max_source_positions": 5, "encoder_layers": 1, "decoder_layers": 1,
        "encoder_attention_heads": 2,
        "decoder_attention_heads": 2, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16,
        "max_target_positions": 16, "dropout": 0.1, "attention_dropout": 0.1,
    }  # fmt: skip
    config = WhisperConfig(
        vocab_size=len(tokenizer), num_mel_bins=8, pad_token_id=end,
        bos_token_id=end, eos_token_id=end,
        decoder_start_token_id=tokenizer.convert_tokens_to_ids("<|startoftranscript|>"),
        begin_suppress_tokens=None, architectures=["WhisperForConditionalGeneration"],
        **(sizes | overrides),
    )  # fmt: skip
    for part in (tokenizer, extractor, config):
        part.save_pretrained(folder)
    return folder


def write_loud_weights(folder: Path) -> None:
    """Give the files of a Whisper weights so large that it writes other words of each recording."""
    torch.manual_seed(0)
    model = WhisperForConditionalGeneration(WhisperConfig.from_pretrained(folder))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.copy_(torch.randn_like(parameter) * 0.4)
    model.save_pretrained(folder)
