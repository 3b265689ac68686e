"""Rows of text with hidden spans, as examples of an encoder-decoder; noise.py hides them."""

import dataclasses
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from tagloop.batches.examples import IGNORE_INDEX, SubTokenRows
from tagloop.batches.pairs import PairRows
from tagloop.tasks.language_modelling.encoding import TextRows
from tagloop.tasks.language_modelling.masking import EVALUATION
from tagloop.tasks.language_modelling.noise import SpanNoise, corrupt


@dataclass(frozen=True, eq=False, kw_only=True)
class SpanRows(PairRows):
    """Rows of which spans are hidden: the source has sentinels for them, the target has the spans.

    Attributes:
        texts: the whole rows, without special tokens.
        noise: how much of a row is hidden.
        sentinel_ids: int64, the id for the first span of a row, for the second, and so on.
        end_id: the id at the end of every source and of every target.
        draw: the seed and the epoch that the spans are drawn for.
    """

    only_targets: ClassVar[bool] = True
    texts: TextRows
    noise: SpanNoise
    sentinel_ids: np.ndarray
    end_id: int
    draw: tuple[int, int] = EVALUATION

    @property
    def max_length(self) -> int:
        """Sub-tokens of an input of the encoder, at most."""
        return self.source.max_length

    @property
    def highest_id(self) -> int:
        """The highest id of all rows, and those of the first sentinel and of the end."""
        return max(self.texts.highest_id, int(self.sentinel_ids[0]), self.end_id)

    def at_epoch(self, seed: int, epoch: int) -> Self:
        """The same rows with the spans of this epoch; every length is the same in all epochs."""
        return dataclasses.replace(self, draw=(seed, epoch))

    def sequences(self, ids: np.ndarray) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """The inputs of the encoder by name, and the labels; see `PairRows.sequences`."""
        rows = self.texts.pad(ids, self.texts.input_ids, self.texts.pad_token_id)
        lengths = self.texts.lengths[ids].astype(np.int64)
        is_noise = self.noise.draw(self.draw, ids, lengths)
        shown, labels = corrupt(rows, lengths, is_noise, self.sentinel_ids, self.end_id)
        shown, is_shown = _pad(shown, self.source, ids, self.source.pad_token_id)
        labels, _ = _pad(labels, self.target, ids, IGNORE_INDEX)
        return {"input_ids": shown, "attention_mask": is_shown.astype(np.int64)}, labels


def _pad(
    values: np.ndarray, rows: SubTokenRows, ids: np.ndarray, filler: int
) -> tuple[np.ndarray, np.ndarray]:
    """Values of some rows with `filler` behind their ends, and which cells are real.

    Args:
        values: int64 [rows, columns of the longest].
        rows: the lengths and the padded lengths.

    Returns:
        int64 and bool [rows, columns].
    """
    columns = int(rows.padded_lengths[ids].max())
    is_real = np.arange(columns) < rows.lengths[ids][:, None]
    values = np.pad(values, ((0, 0), (0, columns - values.shape[1])))
    return np.where(is_real, values, filler), is_real


def hide_spans(
    texts: TextRows,
    noise: SpanNoise,
    *,
    sentinel_ids: np.ndarray,
    end_id: int,
    start_id: int,
    pad_to_max_length: bool,
    pad_to_multiple_of: int,
) -> SpanRows:
    """Examples of whole rows; see `SpanRows`.

    Args:
        texts: padded to its longest row; its `max_length` is the length of a full row.
        start_id: the id that the decoder reads first.
        pad_to_max_length, pad_to_multiple_of: as in `SubTokenRows`, for sources and targets.
    """

    def rows_of(lengths: np.ndarray, most: np.ndarray) -> SubTokenRows:
        """Rows of these lengths; their sub-tokens are drawn anew in every epoch."""
        return SubTokenRows(
            input_ids=np.empty(0, np.int32),
            offsets=np.append(0, lengths.cumsum()),
            pad_token_id=texts.pad_token_id,
            max_length=int(most),
            pad_to_max_length=pad_to_max_length,
            pad_to_multiple_of=pad_to_multiple_of,
        )

    lengths, most = texts.lengths.astype(np.int64), np.int64(texts.max_length)
    return SpanRows(
        source=rows_of(noise.input_lengths(lengths), noise.input_lengths(most)),
        target=rows_of(noise.target_lengths(lengths), noise.target_lengths(most)),
        start_id=start_id,
        texts=texts,
        noise=noise,
        sentinel_ids=sentinel_ids,
        end_id=end_id,
    )
