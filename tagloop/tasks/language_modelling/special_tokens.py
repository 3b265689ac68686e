"""The special tokens of a tokenizer: those that a task needs, and those that are no text."""

import numpy as np
from transformers import PreTrainedTokenizerFast

from tagloop.options.config import Config
from tagloop.tasks.language_modelling.options import CAUSAL, MASKED, SPANS

SENTINEL = "<extra_id_{}>"  # T5's name of a token that stands for a hidden span


def missing_token(task_name: str, tokenizer: PreTrainedTokenizerFast) -> tuple[str, str] | None:
    """What the task needs and the tokenizer has not.

    Returns:
        The name of the thing, and a sentence with the remedy; None if nothing is missing.
    """
    if task_name == MASKED and tokenizer.mask_token_id is None:
        return "a mask token", (
            "it has no mask token, so nothing can be hidden; name the model of an encoder, or "
            f"learn with --task_name {CAUSAL}"
        )
    if task_name == SPANS and not len(find_sentinels(tokenizer)):
        return "sentinels", (
            f"it has no sentinels ({SENTINEL.format(0)}, ...), which stand for hidden spans; name "
            "the tokenizer of a T5, or add such tokens to this one"
        )
    if task_name == SPANS and tokenizer.eos_token_id is None:
        return "an end-of-text token", (
            "it has no end-of-text token (eos_token), with which every target ends; name another "
            "with --tokenizer_name"
        )
    return None


def find_sentinels(tokenizer: PreTrainedTokenizerFast) -> np.ndarray:
    """The ids of <extra_id_0>, <extra_id_1> and so on, int64; empty if there are none.

    They are found by name: T5's ids count down, and those of other tokenizers need not.
    """
    vocabulary, found = tokenizer.get_vocab(), []
    while (token_id := vocabulary.get(SENTINEL.format(len(found)))) is not None:
        found.append(token_id)
    return np.array(found, dtype=np.int64)


def ends_texts(config: Config, tokenizer: PreTrainedTokenizerFast) -> bool:
    """True if every text gets the tokenizer's end-of-text token, which it does not add itself."""
    if config.task_name != CAUSAL or tokenizer.eos_token_id is None:
        return False
    wanted = not config.block_size if config.append_eos is None else config.append_eos
    ids = tokenizer("a").input_ids
    return wanted and not (ids and ids[-1] in tokenizer.all_special_ids)


def num_ids_of(tokenizer: PreTrainedTokenizerFast) -> int:
    """The number of ids of a tokenizer, those included that have no token."""
    return max(tokenizer.get_vocab().values()) + 1


def special_ids_of(tokenizer: PreTrainedTokenizerFast) -> np.ndarray:
    """True for the ids that are never hidden and never drawn, bool [num_ids].

    The unknown token is one of them, as it stands for no certain word that could be learned.
    """
    is_special = np.zeros(num_ids_of(tokenizer), dtype=bool)
    is_special[tokenizer.all_special_ids] = True
    known = np.fromiter(tokenizer.get_vocab().values(), np.int64)
    is_special[np.setdiff1d(np.arange(len(is_special)), known)] = True
    return is_special
