"""Encoder-decoders (T5, BART, Marian, ...): their configuration, their first id, their weights."""

from collections.abc import Callable, Iterable
from typing import Any

from torch import nn
from transformers import AutoModelForSeq2SeqLM, PreTrainedConfig, PreTrainedTokenizerFast

from tagloop.errors import InputError
from tagloop.models.generation import settle_generation
from tagloop.models.model import load_model, load_model_config
from tagloop.options.config import Config


def load_encoder_decoder_config(
    config: Config,
    tokenizer: PreTrainedTokenizerFast,
    build_sample: Callable[[PreTrainedTokenizerFast], PreTrainedConfig],
    auto_class: type = AutoModelForSeq2SeqLM,
) -> PreTrainedConfig:
    """The configuration of a model with an encoder and a decoder, with `decoder_start_token_id`.

    Args:
        build_sample: makes the configuration of the small model for the built-in sample.
        auto_class: the class of transformers that loads the model.

    Raises:
        InputError: the model does not exist, or has no decoder beside its encoder, or the files of
            the model do not say what its decoder reads first.
    """
    model_config = load_model_config(config, auto_class, tokenizer, build_sample=build_sample)
    vars(model_config).pop("tagloop", None)  # of the run that made this model
    name = config.names_of_model
    if not model_config.is_encoder_decoder:
        raise InputError(
            f"{name}: {model_config.model_type} is no encoder with a decoder, which --task_name "
            f"{config.task_name} needs; name a model such as T5 or BART"
        )
    if tokenizer.pad_token_id is None:
        raise InputError(f"tokenizer {tokenizer.name_or_path}: it has no padding token")
    if model_config.decoder_start_token_id is None and model_config.model_type in ("t5", "mt5"):
        model_config.decoder_start_token_id = model_config.pad_token_id
    if model_config.decoder_start_token_id is None:
        raise InputError(
            f"{name}: its config.json has no decoder_start_token_id, so nobody knows what the "
            "decoder reads first; add the number that the model was trained with"
        )
    return model_config


def load_encoder_decoder(
    config: Config,
    model_config: PreTrainedConfig,
    tokenizer: PreTrainedTokenizerFast,
    warnings: list[str],
    examples: Iterable[Any],
    auto_class: type = AutoModelForSeq2SeqLM,
    **generation: int | None,
) -> nn.Module:
    """Load or build the model: float32, on the CPU, the same on every process.

    A forward pass keeps no keys and values, and `generate_ids` of generation.py does. The saved
    folder has the `use_cache` of the loaded one, and a generation_config.json.

    Args:
        warnings: the function appends sentences for the user about the model.
        examples: the `Examples` of all splits of the run.
        generation: num_beams and max_length for its generation_config, as `settle_generation`
            takes them.

    Raises:
        InputError: as `load_model`; or generation_config.json holds settings that contradict each
            other.
    """
    model = load_model(config, auto_class, model_config, tokenizer, warnings, examples=examples)
    settle_generation(model, model_config, tokenizer, config.names_of_model, **generation)
    return model
