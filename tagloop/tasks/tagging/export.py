"""What export.py compares of a tagger, before and after the export."""

import numpy as np

UNIT, ANSWER = "words", "tag"  # every word has a tag


def answers(predictions: dict[str, np.ndarray]) -> np.ndarray:
    """The label id of every word of a split, int16 [num_words], as the task predicts them."""
    return predictions["label"]
