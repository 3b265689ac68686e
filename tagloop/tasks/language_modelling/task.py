"""Language modelling: the next sub-token of a text, or hidden sub-tokens of a text.

python train_loop.py --task_name clm --train_file texts.jsonl ...  # docs/tasks.md
"""

from typing import Any

import numpy as np
from transformers import PreTrainedConfig, PreTrainedTokenizerFast

from tagloop.data.rows import Rows
from tagloop.errors import InputError
from tagloop.models.encoder_decoder import load_encoder_decoder_config
from tagloop.models.model import load_model_config, max_input_length
from tagloop.models.tokenizers import load_tokenizer
from tagloop.options.config import Config
from tagloop.sample.model import (
    add_sentinels,
    begin_with_cls,
    build_sample_decoder_config,
    build_sample_masked_config,
    build_sample_t5_config,
)
from tagloop.tasks.language_modelling.encoding import (
    CausalRows,
    Cutting,
    TextRows,
    encode_texts,
)
from tagloop.tasks.language_modelling.language_model import (
    HEADS,
    METRICS,
    LanguageModelling,
)
from tagloop.tasks.language_modelling.masking import MaskedRows
from tagloop.tasks.language_modelling.noise import noise_of
from tagloop.tasks.language_modelling.options import CAUSAL, MASKED, SPANS
from tagloop.tasks.language_modelling.span_corruption import METRICS_OF_SPANS, SpanCorruption
from tagloop.tasks.language_modelling.spans import SpanRows, hide_spans
from tagloop.tasks.language_modelling.special_tokens import (
    ends_texts,
    find_sentinels,
    missing_token,
    special_ids_of,
)
from tagloop.tasks.language_modelling.texts import line_end, read_texts
from tagloop.tasks.task import choose_metric, needed_splits

LONGEST = 1024  # Sub-tokens of a row unless the user asks for more, as in transformers' scripts.
PREDICTION_FILES = LanguageModelling.prediction_files


def load_task(config: Config, *, pad_to_multiple_of: int) -> LanguageModelling:
    """Texts, tokenizer and rows of the splits that the options need.

    Raises:
        InputError: bad data, or a model or tokenizer that cannot learn this task.
    """
    rows = read_texts(config)
    metric = choose_metric(config, METRICS_OF_SPANS if config.task_name == SPANS else METRICS)
    tokenizer = load_own_tokenizer(config, rows)
    model_config = load_own_model_config(config, tokenizer)
    length = row_length(config, model_config, tokenizer)
    warnings = list(rows.warnings)
    examples, facts = {}, {}
    for split, dataset in needed_splits(config, rows.splits).items():
        cutting = Cutting(
            length,
            in_blocks=bool(config.block_size)
            if config.task_name == CAUSAL
            else not config.line_by_line,
            with_special={CAUSAL: False, MASKED: True, SPANS: None}[config.task_name],
            line_end=line_end(config, split),
            last_id=tokenizer.eos_token_id if ends_texts(config, tokenizer) else None,
        )
        arrays, facts[split] = encode_texts(
            dataset, rows.fingerprints[split], tokenizer, cutting,
            num_workers=config.preprocessing_num_workers or 1,
        )  # fmt: skip
        if not len(arrays["input_ids"]):
            raise InputError(
                f"{split}: no text has any sub-token, as all are blank; the texts are read from "
                f"the column {rows.columns['text']!r}, and --text_column_name names another"
            )
        arrays |= {
            "pad_token_id": tokenizer.pad_token_id or 0,
            "special_ids": tokenizer.all_special_ids,
            "max_length": length,
        }
        padding = {
            "pad_to_max_length": config.pad_to_max_length,
            "pad_to_multiple_of": pad_to_multiple_of,
        }
        examples[split] = build_examples(config, tokenizer, model_config, arrays, padding)
        if split == "train" and not examples[split].target_weights.any():
            raise InputError("train: no text has two sub-tokens, so there is nothing to learn")
    task = SpanCorruption if config.task_name == SPANS else LanguageModelling
    return task(config, rows, tokenizer, model_config, examples, facts, metric, warnings)


def build_examples(
    config: Config,
    tokenizer: PreTrainedTokenizerFast,
    model_config: PreTrainedConfig,
    arrays: dict[str, Any],
    padding: dict[str, Any],
) -> TextRows | SpanRows:
    """The examples of a split.

    Args:
        arrays: the attributes of TextRows but for those that say how a batch is padded.
        padding: the attributes that say so.
    """
    if config.task_name == CAUSAL:
        return CausalRows(**arrays, **padding)
    if config.task_name == MASKED:
        return MaskedRows(
            **arrays,
            **padding,
            mask_token_id=tokenizer.mask_token_id,
            is_special=special_ids_of(tokenizer),
            probability=config.mlm_probability,
        )
    return hide_spans(
        TextRows(**arrays, pad_to_max_length=False, pad_to_multiple_of=1),
        noise_of(config),
        sentinel_ids=find_sentinels(tokenizer),
        end_id=tokenizer.eos_token_id,
        start_id=model_config.decoder_start_token_id,
        **padding,
    )


def load_own_tokenizer(config: Config, rows: Rows) -> PreTrainedTokenizerFast:
    """The tokenizer of a run; on the built-in sample it learns from the texts.

    Raises:
        InputError: no such tokenizer, or one without what the task needs.
    """
    sample = rows.splits["train"]["text"] if config.uses_sample_model else []
    tokenizer = load_tokenizer(config, map(str.split, sample), pre_split=False)
    if config.uses_sample_model and config.task_name != MASKED:
        change_for_decoder = begin_with_cls if config.task_name == CAUSAL else add_sentinels
        change_for_decoder(tokenizer)
    if missing := missing_token(config.task_name, tokenizer):
        raise InputError(f"tokenizer {tokenizer.name_or_path}: {missing[1]}")
    if config.append_eos and tokenizer.eos_token_id is None:
        raise InputError(f"--append_eos: tokenizer {tokenizer.name_or_path} has no such token")
    return tokenizer


def load_own_model_config(config: Config, tokenizer: PreTrainedTokenizerFast) -> PreTrainedConfig:
    """The configuration of the model.

    Raises:
        InputError: no such model, or one of another kind than the task needs.
    """
    if config.task_name == SPANS:
        return load_encoder_decoder_config(config, tokenizer, build_sample_t5_config)
    is_causal = config.task_name == CAUSAL
    model_config = load_model_config(
        config, HEADS[config.task_name], tokenizer,
        build_sample=build_sample_decoder_config if is_causal else build_sample_masked_config,
    )  # fmt: skip
    vars(model_config).pop("tagloop", None)  # The run that made this model wrote it.
    if model_config.is_encoder_decoder:
        raise InputError(
            f"{config.names_of_model}: {model_config.model_type} has an encoder and a decoder, and "
            f"--task_name {config.task_name} learns one of them alone; name another model"
        )
    return model_config


def row_length(
    config: Config, model_config: PreTrainedConfig, tokenizer: PreTrainedTokenizerFast
) -> int:
    """The number of sub-tokens of a row of text, at most.

    Raises:
        InputError: the options ask for more than the model takes, or for more spans than the
            tokenizer has sentinels.
    """
    limit = max_input_length(config, HEADS[config.task_name], model_config, tokenizer)
    if config.block_size and config.block_size > limit:
        raise InputError(
            f"--block_size {config.block_size}: the model takes at most {limit} sub-tokens; give "
            "at most so many"
        )
    length = config.block_size or config.max_length or min(limit, LONGEST)
    if config.task_name != SPANS:
        return length
    noise = noise_of(config)  # Hidden spans make the input of a row shorter than the row.
    longest = np.int64(noise.longest_row(length))
    spans, sentinels = noise.num_spans(longest), len(find_sentinels(tokenizer))
    if spans > sentinels:
        raise InputError(
            f"--max_seq_length {length} needs {spans} sentinels for so many spans, and tokenizer "
            f"{tokenizer.name_or_path} has {sentinels}; give a smaller --max_seq_length or a "
            "larger --mean_noise_span_length"
        )
    positions = getattr(model_config, "max_position_embeddings", None)
    if positions and noise.target_lengths(longest) > positions:
        raise InputError(
            f"--mlm_probability {config.mlm_probability}: a target has up to "
            f"{noise.target_lengths(longest)} sub-tokens, and the decoder takes {positions}; give "
            "a smaller one"
        )
    return int(longest)
