"""Transcripts as texts: as they are learned and compared, and of generated sub-tokens."""

import numpy as np
from transformers import PreTrainedTokenizerFast


def shape_text(text: str, lower_case: bool) -> str:
    """A transcript as the model learns it and as it is compared: without blanks at its ends."""
    text = text.strip()
    return text.lower() if lower_case else text


def decode_texts(tokenizer: PreTrainedTokenizerFast, ids: np.ndarray) -> list[str]:
    """The texts of generated sub-tokens, without prompt and end, each on one line.

    Args:
        ids: int [num_texts, columns].
    """
    texts = tokenizer.batch_decode(ids.tolist(), skip_special_tokens=True)
    return [" ".join(text.split()) for text in texts]
