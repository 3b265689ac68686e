"""The model: configured, loaded or built. Its configuration is checked before weights are read.

A task chooses the head by `auto_class` (AutoModelForTokenClassification, ...).
"""

import difflib
import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
import transformers
from torch import nn
from transformers import CONFIG_MAPPING, PreTrainedConfig, PreTrainedTokenizerFast

from tagloop.errors import InputError
from tagloop.models.heads import (
    checkpoint_labels,
    labels_of_head,
    load_config,
    renew_head,
    start_from_frequencies,
)
from tagloop.models.pretrained import errors_of_transformers, load_pretrained
from tagloop.models.saving import stop_caching
from tagloop.models.tokenizers import UNLIMITED
from tagloop.models.weights import (
    describe_faults,
    find_head,
    find_non_finite,
    new_weights_of_head,
    refuse_adapters,
)
from tagloop.options.config import Config
from tagloop.sample.model import build_sample_model_config


def load_model_config(
    config: Config,
    auto_class: type,
    tokenizer: PreTrainedTokenizerFast,
    labels: list[str] | None = None,
    build_sample: Callable[[PreTrainedTokenizerFast], PreTrainedConfig] = build_sample_model_config,
) -> PreTrainedConfig:
    """The configuration of the model, with the labels of this run.

    Args:
        auto_class: the class of transformers that loads a model with the head of the task.
        labels: the labels of the data, in the order of their ids; None for a task without labels,
            which leaves the configuration unchanged.
        build_sample: makes the configuration of the small model for the built-in sample; an
            encoder, if the task gives no other.

    Raises:
        InputError: the model or its config.json does not exist, transformers has no head of this
            kind for it, or the checkpoint has other labels.
    """
    if config.uses_sample_model:
        model_config = build_sample(tokenizer)
    elif config.config_name or config.model_name_or_path:
        model_config = load_config(config, config.config_name or config.model_name_or_path)
    elif config.model_type in CONFIG_MAPPING:
        model_config = CONFIG_MAPPING[config.model_type]()
    else:
        close = difflib.get_close_matches(config.model_type, CONFIG_MAPPING, n=3)
        hint = f"did you mean {' or '.join(close)}?" if close else "known are bert, roberta, ..."
        raise InputError(f"--model_type {config.model_type}: not known; {hint}")
    if config.config_overrides:
        with errors_of_transformers(f"--config_overrides {config.config_overrides}"):
            model_config.update_from_string(config.config_overrides)
    with_code = auto_class.__name__ in getattr(model_config, "auto_map", {})
    if type(model_config) not in auto_class._model_mapping and not with_code:
        raise InputError(
            f"{_name(config)}: transformers {transformers.__version__} has no "
            f"{auto_class.__name__} for {model_config.model_type}, so it cannot learn --task_name "
            f"{config.task_name}; name another model"
        )
    if labels is not None:
        labels = labels_of_head(config, labels)
        model_config.id2label = dict(enumerate(labels))
        model_config.label2id = {tag: index for index, tag in enumerate(labels)}
    return model_config


def _name(config: Config) -> str:
    """The option or name by which messages call the model."""
    name = config.config_name or config.model_name_or_path
    return name or (f"--model_type {config.model_type}" if config.model_type else "the sample")


def max_input_length(
    config: Config,
    auto_class: type,
    model_config: PreTrainedConfig,
    tokenizer: PreTrainedTokenizerFast,
) -> int:
    """The number of sub-tokens that an example may have, special tokens included.

    It is --max_length or, without this option, the number that the positions of the model and the
    tokenizer allow.

    Raises:
        InputError: --max_length is above that number, or the number leaves no room for words.
    """
    tokenizer_limit = tokenizer.model_max_length
    if not isinstance(tokenizer_limit, int | float) or math.isnan(tokenizer_limit):
        raise InputError(
            f"{_name(config)}: the tokenizer's model_max_length {tokenizer_limit!r} is no number"
        )
    limit, reason = (
        int(min(tokenizer_limit, UNLIMITED)),
        f"the tokenizer's model_max_length {tokenizer_limit}",
    )
    positions = getattr(model_config, "max_position_embeddings", None)
    if positions and positions > 0:
        num_usable = positions - position_offset(config, auto_class, model_config)
        if num_usable < limit:
            limit, reason = num_usable, f"max_position_embeddings {positions} of the model"
    shortest = tokenizer.num_special_tokens_to_add() + 2
    if limit < shortest:
        raise InputError(
            f"{_name(config)}: {reason} leaves no room for words beside "
            f"{shortest - 2} special tokens; correct the number in the files of the model"
        )
    if config.max_length is None:
        return limit
    if config.max_length > limit:
        raise InputError(
            f"--max_length {config.max_length}: the model takes at most {limit} sub-tokens; give "
            "at most so many"
        )
    if config.max_length < shortest:
        raise InputError(f"--max_length {config.max_length}: leaves no room for words")
    return config.max_length


def position_offset(config: Config, auto_class: type, model_config: PreTrainedConfig) -> int:
    """The number of position embeddings that no sub-token uses.

    It is 0 for most models. RoBERTa's first position is padding_idx + 1.

    Raises:
        InputError: transformers cannot build the model.
    """
    with torch.device("meta"):
        skeleton = _build(config, auto_class, model_config)
    for name, module in skeleton.named_modules():
        padding = getattr(module, "padding_idx", None)
        if name.endswith("position_embeddings") and padding is not None:
            return padding + 1
    return 0


def _build(config: Config, auto_class: type, model_config: PreTrainedConfig) -> nn.Module:
    """Build a model with random weights in float32. Raises InputError if transformers cannot."""
    with errors_of_transformers(_name(config)):
        return auto_class.from_config(
            model_config, dtype=torch.float32, trust_remote_code=config.trust_remote_code
        )


def load_model(
    config: Config,
    auto_class: type,
    model_config: PreTrainedConfig,
    tokenizer: PreTrainedTokenizerFast,
    warnings: list[str],
    *,
    has_labels: bool = False,
    label_counts: np.ndarray | None = None,
    examples: Iterable[Any] = (),
) -> nn.Module:
    """Load or build the model: float32, on the CPU, the same on every process.

    Args:
        warnings: the function appends sentences for the user about the model.
        has_labels: True if the model has a head for the labels of `model_config`, and this head
            may be new. False if every weight of the output layer has to be in the checkpoint.
        label_counts: int64 [num_labels], the number of targets of each label. A new head starts
            from these frequencies; None leaves the head as it is.
        examples: the `Examples` of all splits of the run.

    Raises:
        InputError: weights other than those of a new head do not load or are not finite; a new
            head would have to predict without training; the tokenizer belongs to another model, or
            the examples have ids without a trained embedding.
    """
    torch.manual_seed(config.seed)
    if config.model_name_or_path:
        model, new = _load_weights(config, auto_class, model_config, warnings, has_labels)
        if bad_name := find_non_finite(model):
            raise InputError(f"{_name(config)}: weights of {bad_name} are not finite; name another")
    else:
        model = _build(config, auto_class, model_config)
        new = {name for name, _ in model.named_parameters()}
    if new and not config.do_train:
        head = "head for the labels of the data" if has_labels else "output layer"
        raise InputError(
            f"{_name(config)}: has no trained {head}, so scores and predictions would be noise; "
            "train first (--do_train), or name a trained model"
        )
    if label_counts is not None:
        start_from_frequencies(model, new, label_counts)
    _fit_embeddings(config, model, tokenizer, examples, warnings)
    stop_caching(model)
    model.config.return_dict = True  # config.json may say false; the outputs would be a tuple.
    return model


def _load_weights(
    config: Config,
    auto_class: type,
    model_config: PreTrainedConfig,
    warnings: list[str],
    has_labels: bool,
) -> tuple[nn.Module, set[str]]:
    """Load a model with its weights; returns the model and the names of its new weights."""
    name, labels = config.model_name_or_path, list(model_config.id2label.values())
    # The weights are float32 for any dtype of the checkpoint, because AdamW needs the precision.
    # Autocast makes the computation fast.
    model, info = load_pretrained(
        auto_class,
        name,
        config=model_config,
        dtype=torch.float32,
        token=config.hub_token,
        trust_remote_code=config.trust_remote_code,
        ignore_mismatched_sizes=True,  # describe_faults below decides about these weights.
        output_loading_info=True,
    )
    refuse_adapters(name, info)
    same_labels = not has_labels or checkpoint_labels(config) == labels
    is_this_class = type(model).__name__ in (load_config(config, name).architectures or [])
    with_head = same_labels and is_this_class and not config.ignore_mismatched_sizes
    with_head = with_head or not has_labels
    faults = describe_faults(model, info, with_head=with_head)
    if faults and not config.allow_partial_weights:
        raise InputError(
            f"{name}: {faults}. {'Only a head may be new; mend' if has_labels else 'Mend'} the "
            "checkpoint or its config.json, or give --allow_partial_weights to start from random "
            "weights there"
        )
    if faults:
        warnings.append(f"{name}: {faults}")
    new = new_weights_of_head(model, info)
    if not same_labels and not config.do_train:
        _require_named_labels(name, model, info, checkpoint_labels(config))
    if not same_labels:
        new |= renew_head(model, new)
    return model, new


def _require_named_labels(
    name: str, model: nn.Module, info: dict[str, Any], labels: list[str]
) -> None:
    """Refuse a trained head that nobody can read.

    Args:
        name: of the checkpoint.
        info: what `from_pretrained(output_loading_info=True)` gives.
        labels: the names of the checkpoint's labels.

    Raises:
        InputError: the checkpoint has a head, and its labels are only numbered.
    """
    head = find_head(model)[0]
    is_there = f"{head}.weight" not in info["missing_keys"]
    if head and is_there and labels and all(label.startswith("LABEL_") for label in labels):
        raise InputError(
            f"{name}: has no trained head for the labels of the data: its own labels are only "
            f"called {labels[0]} to {labels[-1]}. If they are the same, write their names into "
            "id2label of config.json, in the order that it was trained with; if not, train first "
            "(--do_train)"
        )


def _fit_embeddings(
    config: Config,
    model: nn.Module,
    tokenizer: PreTrainedTokenizerFast,
    examples: Iterable[Any],
    warnings: list[str],
) -> None:
    """Add rows to the input embedding until every id of the tokenizer has one.

    Raises:
        InputError: rows are missing because the tokenizer belongs to another model, or are missing
            for ids of the examples.
    """
    num_rows = model.get_input_embeddings().weight.shape[0]
    num_ids = max(tokenizer.get_vocab().values()) + 1
    if num_ids <= num_rows:
        return
    sizes = f"the tokenizer has {num_ids:,} ids, the model {num_rows:,} embeddings"
    own = config.tokenizer_name in (None, config.model_name_or_path)
    if config.model_name_or_path and not own:
        raise InputError(
            f"--tokenizer_name {config.tokenizer_name}: {sizes}; it is another model's tokenizer"
        )
    highest = max((rows.highest_id for rows in examples), default=-1)
    if config.model_name_or_path and highest >= num_rows and not config.allow_partial_weights:
        raise InputError(
            f"{config.model_name_or_path}: {sizes}, and the data has "
            f"{tokenizer.convert_ids_to_tokens(highest)!r}, which is id {highest:,}; name the "
            "tokenizer that the model was trained with, or give --allow_partial_weights to start "
            "from random embeddings there"
        )
    if config.model_name_or_path:
        warnings.append(f"{config.model_name_or_path}: {sizes}; the others start from random ones")
    model.resize_token_embeddings(num_ids)
