"""Turns texts and summaries into pairs of sub-tokens; once per machine, memory-mapped."""

import json
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import tokenizers
from transformers import PreTrainedTokenizerFast

from tagloop.data.storage.arrays import Arrays, map_arrays, write_arrays
from tagloop.data.storage.store import build_once, source_digest
from tagloop.models.tokenizers import require_known, tokenizer_digest
from tagloop.tasks.summarization.columns import is_pair

WORTH_PROCESSES = 20_000  # Pairs; with fewer, the start of other processes takes longer.
ARRAY_TYPES = {
    "source_ids": np.int32,
    "source_offsets": np.int64,
    "target_ids": np.int32,
    "target_offsets": np.int64,
}


def encode_pairs(
    dataset: datasets.Dataset,
    fingerprint: str,
    encoder: "PairEncoder",
    *,
    num_workers: int = 1,
) -> tuple[Arrays, dict[str, int]]:
    """Tokenize the pairs of a split.

    Args:
        dataset: the columns `source` and `target`; `fingerprint` stands for its rows.
        num_workers: processes that tokenize; they change no byte.

    Returns:
        source_ids and target_ids, int32, with their offsets, int64 [num_rows + 1]; and how many
        texts (`cut_sources`) and summaries (`cut_targets`) lost their end, how many rows are
        `unpaired`, and how many `sub_tokens` there are, of which some are `unknown`.

    Raises:
        InputError: nearly all sub-tokens are unknown to the tokenizer.
    """
    key = {
        "rows": fingerprint,
        "tokenizer": [tokenizers.__version__, tokenizer_digest(encoder.tokenizer)],
        "cuts_off": encoder.tokenizer.truncation_side,
        "code": [
            source_digest("tagloop.tasks.summarization.encoding"),
            source_digest("tagloop.tasks.summarization.columns"),
        ],
        "encoder": [encoder.prefix, encoder.max_source_length, encoder.max_target_length],
    }

    def build(folder: Path) -> None:
        counts = write_arrays(
            folder,
            dataset.select_columns(["source", "target"]),
            encoder,
            ARRAY_TYPES,
            offsets=["source_offsets", "target_offsets"],
            num_workers=num_workers,
            worth_processes=WORTH_PROCESSES,
        )
        require_known(counts["unknown"], counts["sub_tokens"], "sub-tokens")
        (folder / "facts.json").write_text(json.dumps(counts), encoding="utf-8")

    folder = build_once("pairs", key, build)
    facts = json.loads((folder / "facts.json").read_text(encoding="utf-8"))
    return map_arrays(folder, ARRAY_TYPES), facts


@dataclass(frozen=True)
class PairEncoder:
    """Turns a table of texts and summaries into sub-tokens. A row that is no pair has no target.

    Attributes:
        prefix: what is put before every text.
        max_source_length, max_target_length: sub-tokens, special ones included.
    """

    tokenizer: PreTrainedTokenizerFast
    prefix: str
    max_source_length: int
    max_target_length: int

    def encode(self, table: pa.Table) -> tuple[Arrays, dict[str, int]]:
        """The arrays of some rows; see `Encoder` in tagloop/data/storage/arrays.py."""
        texts, summaries = table["source"].to_pylist(), table["target"].to_pylist()
        known = [is_pair(*pair) for pair in zip(texts, summaries, strict=True)]
        sources, cut_sources = self.encode_sources(texts)
        golds = [summary for summary, is_known in zip(summaries, known, strict=True) if is_known]
        learned, cut_targets = [], 0
        if golds:
            limit = {"truncation": True, "max_length": self.max_target_length, "verbose": False}
            encodings = self.tokenizer(text_target=golds, **limit).encodings
            learned = [each.ids for each in encodings]
            cut_targets = sum(bool(each.overflowing) for each in encodings)
        rest = iter(learned)
        targets = [next(rest) if is_known else [] for is_known in known]
        arrays: Arrays = {}
        for name, rows in (("source", sources), ("target", targets)):
            arrays[f"{name}_ids"] = np.fromiter(chain.from_iterable(rows), np.int32)
            arrays[f"{name}_offsets"] = np.array([len(ids) for ids in rows], np.int64)
        ids = np.concatenate([arrays["source_ids"], arrays["target_ids"]])
        unknown_id = self.tokenizer.unk_token_id
        return arrays, {
            "cut_sources": cut_sources,
            "cut_targets": cut_targets,
            "unpaired": len(known) - sum(known),
            "sub_tokens": len(ids),
            "unknown": int((ids == (-1 if unknown_id is None else unknown_id)).sum()),
        }

    def encode_sources(self, texts: list[str | None]) -> tuple[list[list[int]], int]:
        """The sub-tokens of every text, at least one each, and how many texts lost their end."""
        limit = {"truncation": True, "max_length": self.max_source_length, "verbose": False}
        prefixed = [self.prefix + (text or "") for text in texts]
        encodings = self.tokenizer(prefixed, **limit).encodings
        rows = [each.ids or [self.tokenizer.pad_token_id] for each in encodings]
        return rows, sum(bool(each.overflowing) for each in encodings)
