"""A model folder is written here and nowhere else: weights, configuration and processors."""

from pathlib import Path

from torch import Tensor, nn
from transformers import PreTrainedTokenizerFast


def write_model(
    into: Path,
    model: nn.Module,
    weights: dict[str, Tensor],
    tokenizer: PreTrainedTokenizerFast,
    *,
    original_names: bool = False,
) -> None:
    """Write model and tokenizer as transformers loads them.

    Args:
        original_names: give the weights the names that their checkpoint on the hub had, in files
            of at most 50 GB. Otherwise they have the names of this model, in one file, which a
            resume reads back: transformers would restore an old spelling (LayerNorm.gamma), and
            the weights would not find their way.
    """
    options = {} if original_names else {"save_original_format": False, "max_shard_size": 10**15}
    model.save_pretrained(into, state_dict=weights, **options)
    tokenizer.save_pretrained(into)
