"""Decides the label of every word, for evaluation, report, predict.py and export.py.

--decoding best: `decode` takes the likeliest label of every word, batch by batch. legal:
`decode_legal` takes the likeliest labels of every sentence. A sentence may have words in several
windows, batches and processes, so it waits until the logits of all its words are there.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from tagloop.data.words import schemes
from tagloop.errors import InputError
from tagloop.options.config import Config
from tagloop.tasks.tagging.kinds import KINDS

DECODINGS = ("best", "legal")
SENTENCES_AT_ONCE = 1024  # In each step a sentence needs num_labels x num_labels float64.


def choose_decoding(config: Config, earlier: object) -> str:
    """One of DECODINGS: as --decoding says, else as the model was trained, else "best".

    A new training has a value in `config.decoding`, which settle.py decides if nobody gave one.

    Args:
        earlier: what the run that made the model recorded in its config.json; None: no such run.
    """
    recorded = earlier.get("decoding") if isinstance(earlier, dict) else None
    if not KINDS[config.task_name].has_spans:
        return "best"
    return config.decoding or (recorded if recorded in DECODINGS else "best")


def decode(model: nn.Module, logits: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
    """The likeliest label of every word, and its probability.

    Args:
        model: the model that computed the logits. This function decides every word by itself, and
            uses neither the model nor `counts`. A decoder such as a CRF uses both: its parameters
            are in the model.
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


def decode_legal(logits: Tensor, counts: Tensor, legal: Tensor) -> tuple[Tensor, Tensor]:
    """The likeliest labels of every sentence that follow each other legally: Viterbi (1967).

    The probability of a sequence is the product of the probabilities of its labels. The logarithm
    of this is the sum of the logits without a number that is the same for all sequences, so the
    logits are summed, in float64. Among equals the label with the lowest id wins.

    Args:
        logits: float [num_words, num_labels], the logits of the first sub-token of every word, one
            sentence after the other.
        counts: int64 [num_sentences], the number of words of every sentence; it may be 0.
        legal: bool [num_labels + 1, num_labels + 1], as `build_legal` makes it.

    Returns:
        As `decode`: the probability of a label is its softmax, whatever stands beside it.
    """
    logits = logits.float()
    label_ids = torch.zeros(len(logits), dtype=torch.int64, device=logits.device)
    costs = torch.zeros(legal.shape, dtype=torch.float64).masked_fill(~legal, -torch.inf)
    costs, starts = costs.to(logits.device), counts.cumsum(0) - counts
    for own in counts.argsort(descending=True, stable=True).split(SENTENCES_AT_ONCE):
        _find_paths(logits, costs, starts[own], counts[own], label_ids)
    return label_ids, logits.softmax(-1).gather(-1, label_ids[:, None])[:, 0]


def _find_paths(
    logits: Tensor, costs: Tensor, starts: Tensor, counts: Tensor, label_ids: Tensor
) -> None:
    """Write the labels of some sentences into `label_ids`.

    Args:
        costs: float64, 0 where `legal` is True, else minus infinity.
        starts: int64, the first word of every sentence; the longest sentence stands first, so the
            sentences that have a word at a step are always the first ones.
    """
    steps = range(int(counts[:1].sum()))
    if not steps:
        return
    words_at = [(starts[counts > step] + step).to(logits.device) for step in steps]
    totals, came_from = logits[words_at[0]].double() + costs[-1, :-1], []
    for words in words_at[1:]:
        best, before = (totals[: len(words), :, None] + costs[:-1, :-1]).max(1)
        totals[: len(words)] = best + logits[words].double()
        came_from.append(before)
    path = (totals + costs[:-1, -1]).argmax(1)
    for words, before in zip(words_at[:0:-1], reversed(came_from), strict=True):
        own = path[: len(words)]
        label_ids[words] = own
        path[: len(words)] = before.gather(1, own[:, None])[:, 0]
    label_ids[words_at[0]] = path


def build_legal(labels: Sequence[str], place: str) -> Tensor:
    """Which label may follow which, bool [num_labels + 1, num_labels + 1].

    Args:
        labels: of the model, in the order of their ids.
        place: of the model, for the message.

    Returns:
        `schemes.legal_transitions` as a tensor: the last row is the beginning of a sentence, and
        the last column its end.

    Raises:
        InputError: no label may stand at every word, so some sentences would have no legal labels.
    """
    legal = torch.tensor(schemes.legal_transitions(labels))
    if not (legal[-1, :-1] & legal.diagonal()[:-1] & legal[:-1, -1]).any():
        raise InputError(
            f"{place}: --decoding legal needs a label that may stand at every word, such as O; the "
            f"labels of this model are {', '.join(labels[:9])}; give --decoding best"
        )
    return legal
