"""Writes a model folder: weights, configuration and processors. No other file does this."""

import copy
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import split_torch_state_dict_into_shards
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.core_model_loading import revert_weight_conversion
from transformers.modeling_utils import remove_tied_weights_from_state_dict
from transformers.utils import PushToHubMixin

from tagloop.models.tensor_file import TensorInParts, write_tensors

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"

# The files that tokenizers, feature extractors and processors may write.
PROCESSOR_FILES = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
    "vocab.txt", "vocab.json", "merges.txt", "spiece.model", "sentencepiece.bpe.model",
    "tokenizer.model", "chat_template.jinja", "preprocessor_config.json", "processor_config.json",
)  # fmt: skip
# The files that models may write.
MODEL_FILES = (
    "config.json", "generation_config.json", WEIGHTS, INDEX,
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
    if getattr(getattr(model, "config", None), "use_cache", False):
        model.loaded_use_cache = True
    pairs: list[tuple[PreTrainedConfig, PreTrainedConfig]] = []  # as loaded, and without a cache
    # The decoder of an encoder-decoder may have a configuration of its own.
    for module in model.modules():
        loaded = getattr(module, "config", None)
        if not getattr(loaded, "use_cache", False):
            continue
        config = next((copied for own, copied in pairs if own is loaded), None)
        if config is None:
            config = copy.copy(loaded)  # The loaded configuration may also belong to the task.
            config.use_cache = False
            pairs.append((loaded, config))
        module.config = config


def write_model(
    into: Path,
    model: PreTrainedModel,
    weights: dict[str, Tensor | TensorInParts],
    processors: Sequence[PushToHubMixin],
    *,
    original_names: bool = False,
    max_file_size: int = 50 * 10**9,
) -> None:
    """Write model and processors as transformers loads them, one tensor or part at a time.

    Args:
        into: an existing folder.
        weights: the whole state dict.
        original_names: True gives the weights the names that they had in their checkpoint on the
            hub (old ones such as LayerNorm.gamma), in files of at most max_file_size. False gives
            them the names of the parameters of this model, in one file, which a resume can load.
        max_file_size: bytes.

    Raises:
        OSError: a file cannot be written.
    """
    write_configuration(into, model, processors)
    named = saved_weights(model, weights, original_names=original_names)
    if not original_names:
        write_tensors(into / WEIGHTS, named)
        return
    sizes = {name: _stand_in(tensor) for name, tensor in named.items()}
    files = split_torch_state_dict_into_shards(
        sizes, filename_pattern="model{suffix}.safetensors", max_shard_size=max_file_size
    )
    for file, names in files.filename_to_tensors.items():
        write_tensors(into / file, {name: named[name] for name in names})
    if files.is_sharded:
        facts = {"total_parameters": model.num_parameters(), **files.metadata}
        write_index(into, files.tensor_to_filename, facts)


def write_configuration(
    into: Path, model: PreTrainedModel, processors: Sequence[PushToHubMixin]
) -> None:
    """Write all files of a model folder but the weights.

    Raises:
        OSError: a file cannot be written.
    """
    model.save_pretrained(into, state_dict={})  # Without weights no file of weights is written.
    if getattr(model, "loaded_use_cache", False):
        config = copy.copy(model.config)  # Training may use model.config at the same time.
        config.use_cache = True
        config.save_pretrained(into)
    for processor in processors:
        processor.save_pretrained(into)


def write_index(into: Path, file_of: dict[str, str], facts: dict[str, Any]) -> None:
    """Write the file from which transformers learns which weight lies in which of several files.

    Args:
        file_of: the name of the file of each weight.
        facts: what the index says about all weights.
    """
    index = {"metadata": facts, "weight_map": file_of}
    text = json.dumps(index, indent=2, sort_keys=True) + "\n"
    (into / INDEX).write_text(text, encoding="utf-8")


def saved_weights(
    model: PreTrainedModel,
    weights: dict[str, Tensor | TensorInParts],
    *,
    original_names: bool = False,
) -> dict[str, Tensor | TensorInParts]:
    """The weights that transformers writes for a model, under the names that it gives them.

    Tied weights are left out but for one. A tensor in parts stays in parts, unless transformers
    computes with the tensor to give it the form that it has on the hub.

    Args:
        weights: the whole state dict.
        original_names: as in `write_model`.
    """
    ignored = model._keys_to_ignore_on_save or ()
    values = {name: _stand_in(t) for name, t in weights.items() if name not in ignored}
    values = remove_tied_weights_from_state_dict(values, model)
    name_of = {id(value): name for name, value in values.items() if value.is_meta}
    if original_names:
        converted = revert_weight_conversion(model, dict(values))
        passed = {id(value) for value in converted.values()}
        computed = [name for value, name in name_of.items() if value not in passed]
        if computed:
            values |= {name: weights[name].whole() for name in computed}
            converted = revert_weight_conversion(model, values)
        values = converted
    return {
        name: weights[name_of[id(value)]] if value.is_meta else value
        for name, value in values.items()
    }


def _stand_in(tensor: Tensor | TensorInParts) -> Tensor:
    """A tensor without memory in place of a tensor in parts; any other tensor as it is."""
    if isinstance(tensor, TensorInParts):
        return torch.empty(tensor.shape, dtype=tensor.dtype, device="meta")
    return tensor
