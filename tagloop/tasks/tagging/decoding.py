"""Which label a word gets: evaluation and predict.py ask here, and so report and exporter do."""

from torch import Tensor, nn


def decode(model: nn.Module, logits: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
    """The likeliest label of every word, and its probability.

    Args:
        model: that computed the logits. Each word is decided by itself here; a way of deciding
            that has parameters, such as a CRF, finds them in the model.
        logits: float [num_words, num_labels], of the first sub-token of every word.
        counts: int [num_windows] on the CPU, words of every window; windows follow each other.

    Returns:
        Label ids, int64 [num_words], and the softmax of the logits at them, float32 [num_words].
    """
    logits = logits.float()
    label_ids = logits.argmax(-1)
    return label_ids, logits.softmax(-1).gather(-1, label_ids[:, None])[:, 0]
