"""The predictions of a tagger that export.py compares before and after the export."""

import numpy as np

UNIT, ANSWER = "words", "tag"  # every word has a tag


def answers(predictions: dict[str, np.ndarray]) -> np.ndarray:
    """The label id of every word of a split, int16 [num_words].

    Args:
        predictions: by name, as `Tagging.predict` names them.
    """
    return predictions["label"]
