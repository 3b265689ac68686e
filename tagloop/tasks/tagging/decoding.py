"""Which label a word gets. Evaluation, predict.py and so the report and the exporter ask here."""

from torch import Tensor


def decode(logits: Tensor) -> tuple[Tensor, Tensor]:
    """The likeliest label of every word, and its probability.

    Args:
        logits: float [num_words, num_labels], of the first sub-token of every word.

    Returns:
        Label ids, int64 [num_words], and the softmax at them, float32 [num_words].
    """
    logits = logits.float()
    label_ids = logits.argmax(-1)
    return label_ids, logits.softmax(-1).gather(-1, label_ids[:, None])[:, 0]
