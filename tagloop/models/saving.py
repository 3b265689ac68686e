"""Writes a model folder: weights, configuration and processors. No other file does this."""

import copy
import re
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.utils import PushToHubMixin

# The files that tokenizers, feature extractors and processors may write.
PROCESSOR_FILES = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
    "vocab.txt", "vocab.json", "merges.txt", "spiece.model", "sentencepiece.bpe.model",
    "tokenizer.model", "chat_template.jinja", "preprocessor_config.json", "processor_config.json",
)  # fmt: skip
# The files that models may write.
MODEL_FILES = (
    "config.json", "generation_config.json", "model.safetensors", "model.safetensors.index.json",
)  # fmt: skip
SHARD = re.compile(r"model-\d{5}-of-\d{5}\.safetensors")  # one of several files with weights


def is_model_file(name: str) -> bool:
    """True for the name of a file that write_model may write."""
    return name in (*MODEL_FILES, *PROCESSOR_FILES) or SHARD.fullmatch(name) is not None


def stop_caching(model: nn.Module) -> None:
    """Make a decoder keep no keys and values in a forward pass; training does not need them.

    The function changes the model in place. write_model still writes the `use_cache` that the
    model was loaded with.
    """
    loaded = getattr(model, "config", None)
    if not getattr(loaded, "use_cache", False):
        return
    config = copy.copy(loaded)  # The loaded configuration may also belong to the task.
    config.use_cache = False
    for module in model.modules():
        if getattr(module, "config", None) is loaded:
            module.config = config
    model.loaded_use_cache = True


def write_model(
    into: Path,
    model: PreTrainedModel,
    weights: dict[str, Tensor],
    processors: Sequence[PushToHubMixin],
    *,
    original_names: bool = False,
) -> None:
    """Write model and processors as transformers loads them.

    Args:
        into: an existing folder.
        weights: the whole state dict, on the CPU.
        processors: the objects that prepare the model's inputs; they have `save_pretrained`.
        original_names: True gives the weights the names that they had in their checkpoint on the
            hub (old ones such as LayerNorm.gamma), in files of at most 50 GB. False gives them the
            names of the parameters of this model, in one file, which a resume can load.

    Raises:
        OSError, SafetensorError: a file cannot be written.
    """
    options = {} if original_names else {"save_original_format": False, "max_shard_size": 10**15}
    model.save_pretrained(into, state_dict=weights, **options)
    if getattr(model, "loaded_use_cache", False):
        config = copy.copy(model.config)  # Training may use model.config at the same time.
        config.use_cache = True
        config.save_pretrained(into)
    for processor in processors:
        processor.save_pretrained(into)
