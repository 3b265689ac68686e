"""Decides the label of every word, for evaluation, report, predict.py and export.py."""

from torch import Tensor, nn


def decode(model: nn.Module, logits: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
    """The likeliest label of every word, and its probability.

    Args:
        model: the model that computed the logits. This function decides every word by itself and
            does not use the model; a decoder with parameters, as a CRF, finds them in the model.
        logits: float [num_words, num_labels], the logits of the first sub-token of every word, one
            window after the other.
        counts: int [num_windows] on the CPU, the number of words of every window.

    Returns:
        Label ids, int64 [num_words], and their probabilities, float32 [num_words]: the softmax of
        the logits.
    """
    logits = logits.float()
    label_ids = logits.argmax(-1)
    return label_ids, logits.softmax(-1).gather(-1, label_ids[:, None])[:, 0]
