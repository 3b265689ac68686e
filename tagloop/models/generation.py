"""Generates sub-tokens, the same ones for any number of processes and any layout of the model."""

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule, register_fsdp_forward_method
from transformers import PreTrainedConfig, PreTrainedTokenizerFast

from tagloop.errors import InputError


def settle_generation(
    model: nn.Module,
    model_config: PreTrainedConfig,
    tokenizer: PreTrainedTokenizerFast,
    name: str,
    *,
    num_beams: int | None = None,
    max_length: int | None = None,
) -> None:
    """Complete the model's generation_config in place: ids of start, end and padding, and limits.

    So `generate` of transformers does with the saved model what the evaluations of the run did.

    Args:
        model_config: has the ids of the model; those of the tokenizer fill its gaps.
        name: what messages call the model.
        num_beams, max_length: None leaves the number as it is.

    Raises:
        InputError: transformers could not save the generation_config after the training, because
            its settings contradict each other.
    """
    settings = model.generation_config
    settings._from_model_config = False  # Else loading drops what config.json does not say.
    for field in ("decoder_start_token_id", "bos_token_id", "eos_token_id", "pad_token_id"):
        if getattr(settings, field, None) is None:
            own = getattr(model_config, field, None)
            setattr(settings, field, getattr(tokenizer, field, None) if own is None else own)
    if max_length:
        settings.max_length, settings.max_new_tokens = max_length, None
    if num_beams:
        settings.num_beams = num_beams
    if num_beams == 1:  # These settings are for beams, and contradict a single one.
        settings.early_stopping = settings.length_penalty = None
    try:
        settings.validate(strict=True)
    except ValueError as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = next((line for line in lines if line.startswith("-")), lines[0]).lstrip("- ")
        raise InputError(
            f"{name}: generation_config.json contradicts itself, and could not be saved with the "
            f"trained model: {reason:.300}; correct the file"
        ) from error


def generate_ids(
    model: nn.Module,
    inputs: dict[str, Tensor],
    *,
    num_examples: int,
    max_new_tokens: int,
    num_beams: int | None = None,
    pad_token_id: int,
    **settings: Any,
) -> Tensor:
    """Generate sub-tokens greedily or with beams; nothing is drawn at random.

    Settings that are not given here are those of the model's generation_config. A sharded model
    communicates for every sub-token. So each process then generates until all of them are done, and
    a process without work takes part with a stand-in.

    Args:
        model: in evaluation mode, without the wrapper for several processes. The caller opens the
            autocast context.
        inputs: the inputs of the encoder by name, [rows, ...], on the device. A process without
            work gives one row.
        num_examples: rows that are examples; 0 for a process without work.
        max_new_tokens: generated sub-tokens of a row at most, the end included.
        num_beams: None: that of the model's generation_config.
        pad_token_id: the id behind the end of a row.
        settings: further settings of `generate` in transformers.

    Returns:
        int32 [num_examples, max_new_tokens]: what was generated, without the id of the start.
    """
    is_sharded = isinstance(model, FSDPModule)
    device = next(iter(inputs.values())).device
    padded = torch.full(
        (num_examples, max_new_tokens), pad_token_id, dtype=torch.int32, device=device
    )
    if not num_examples and not is_sharded:
        return padded
    if is_sharded and "generate" not in vars(model):  # FSDP2 gathers weights in `forward` only.
        register_fsdp_forward_method(model, "generate")
    chosen = copy.deepcopy(model.generation_config)
    # The length of the generation_config would contradict max_new_tokens.
    chosen.max_length = None
    chosen.update(max_new_tokens=max_new_tokens, do_sample=False, use_cache=True)
    # One text for each example, as a tensor; other ways to search are not offered.
    chosen.update(num_return_sequences=1, return_dict_in_generate=False, penalty_alpha=None)
    chosen.update(num_beams=num_beams or chosen.num_beams or 1, pad_token_id=pad_token_id)
    if chosen.num_beams == 1:
        chosen.early_stopping = chosen.length_penalty = None
    found = model.generate(**inputs, generation_config=chosen, synced_gpus=is_sharded, **settings)[
        :num_examples
    ]
    # Whisper leaves out what its decoder was shown. All others begin with the id of the start.
    start_id = chosen.decoder_start_token_id
    if found.shape[1] and bool((found[:, 0] == start_id).all()):
        found = found[:, 1:]
    found = found[:, :max_new_tokens]
    padded[:, : found.shape[1]] = found
    return padded
