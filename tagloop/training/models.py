"""Tokenizer and model: loaded or built, and checked before any weight is read.

A task says by `auto_class` which head it wants (AutoModelForTokenClassification, ...).
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import transformers
from tokenizers import normalizers
from torch import nn
from transformers import (
    CONFIG_MAPPING,
    AutoConfig,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedTokenizerFast,
)

from tagloop.config import Config
from tagloop.errors import InputError
from tagloop.sample.model import build_sample_model_config, build_sample_tokenizer
from tagloop.training.examples import Examples


def tokenize_words(
    tokenizer: PreTrainedTokenizerFast, sentences: Sequence[Sequence[str]]
) -> list[list[list[int]]]:
    """Sub-token ids of every word of every sentence, without special tokens.

    A word that the tokenizer makes nothing of (zero-width space, lone variation selector, empty
    string) has an empty list here.
    """
    sentences = [list(words) for words in sentences]
    encodings = tokenizer(
        sentences, is_split_into_words=True, add_special_tokens=False, truncation=False,
        return_attention_mask=False, return_token_type_ids=False, verbose=False,
    ).encodings  # fmt: skip
    result = []
    for words, encoding in zip(sentences, encodings, strict=True):
        pieces: list[list[int]] = [[] for _ in words]
        for word_id, token_id in zip(encoding.word_ids, encoding.ids, strict=True):
            if word_id is not None:
                pieces[word_id].append(token_id)
        result.append(pieces)
    return result


def glues_words(tokenizer: PreTrainedTokenizerFast) -> bool:
    """True for a tokenizer that loses where pre-split words begin.

    Byte-level tokenizers do so without `add_prefix_space=True`: `["john", "lives"]` gives the ids
    of `johnlives`. A probe finds them, not a list of names. A tokenizer that marks no spaces at
    all (BERT's) splits by itself and glues nothing.
    """
    words = ["john", "lives", "in", "berlin"]
    (pieces,) = tokenize_words(tokenizer, [words])
    pre_split = [token_id for word in pieces for token_id in word]
    bare = [
        token_id
        for word in words
        for token_id in tokenizer(word, add_special_tokens=False).input_ids
    ]
    running_text = tokenizer(" ".join(words), add_special_tokens=False).input_ids
    return pre_split == bare and pre_split != running_text


def load_tokenizer(
    config: Config, sample_sentences: Iterable[list[str]], *, pre_split: bool
) -> PreTrainedTokenizerFast:
    """The fast tokenizer of a run.

    Args:
        sample_sentences: the words of the training split; the sample's tokenizer learns from them.
        pre_split: it must keep words apart that are already split.

    Raises:
        InputError: no such tokenizer, a slow one, or one that glues words.
    """
    if config.uses_sample_model:
        return build_sample_tokenizer(sample_sentences)
    name = config.tokenizer_name or config.model_name_or_path
    options = {"token": config.hub_token, "trust_remote_code": config.trust_remote_code}
    tokenizer = _from_hub(AutoTokenizer, name, **options)
    if not tokenizer.is_fast:
        raise InputError(
            f"tokenizer {name}: it is a slow (pure Python) one, which cannot tell the words of its "
            "sub-tokens; name a fast one with --tokenizer_name"
        )
    if pre_split and glues_words(tokenizer):
        tokenizer = _from_hub(AutoTokenizer, name, add_prefix_space=True, **options)
        if glues_words(tokenizer):  # classes that only load tokenizer.json heed no such option
            backend = tokenizer.backend_tokenizer
            steps = [] if backend.normalizer is None else [backend.normalizer]
            backend.normalizer = normalizers.Sequence([*steps, normalizers.Prepend(" ")])
        if glues_words(tokenizer):
            raise InputError(
                f"tokenizer {name}: it glues words that are already split (john + lives becomes "
                "johnlives), with add_prefix_space=True, too; name another with --tokenizer_name"
            )
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
    return tokenizer


def load_model_config(
    config: Config, auto_class: type, labels: list[str], tokenizer: PreTrainedTokenizerFast
) -> PreTrainedConfig:
    """The model's configuration with the label list of this run.

    A checkpoint that was trained on the same tags keeps its own order of labels, and one that
    knows more of them keeps them all; so its head goes on meaning what it meant.

    Raises:
        InputError: no such model, a folder without config, or other labels than the checkpoint's.
    """
    if config.uses_sample_model:
        model_config = build_sample_model_config(tokenizer)
    elif config.config_name or config.model_name_or_path:
        model_config = _from_hub(
            AutoConfig,
            config.config_name or config.model_name_or_path,
            token=config.hub_token,
            trust_remote_code=config.trust_remote_code,
        )
    elif config.model_type in CONFIG_MAPPING:
        model_config = CONFIG_MAPPING[config.model_type]()
    else:
        known = ", ".join(sorted(CONFIG_MAPPING)[:8])
        raise InputError(f"--model_type {config.model_type}: not known; known are {known}, ...")
    with_code = auto_class.__name__ in getattr(model_config, "auto_map", {})
    if type(model_config) not in auto_class._model_mapping and not with_code:
        raise InputError(
            f"{config.config_name or config.model_name_or_path or '--model_type'}: transformers "
            f"{transformers.__version__} has no {auto_class.__name__} for {model_config.model_type}"
        )
    trained = _trained_labels(config)
    unknown = sorted(set(labels) - set(trained))
    if trained and not unknown:
        labels = trained
    elif trained and not config.ignore_mismatched_sizes:
        raise InputError(
            f"{config.model_name_or_path}: the checkpoint's labels ({', '.join(trained)}) lack "
            f"{', '.join(unknown)} of the data; give --ignore_mismatched_sizes for a new head"
        )
    model_config.id2label = dict(enumerate(labels))
    model_config.label2id = {tag: index for index, tag in enumerate(labels)}
    return model_config


def _trained_labels(config: Config) -> list[str]:
    """The tags that the checkpoint's head knows, in its order; none for a head without names."""
    if not config.model_name_or_path:
        return []
    id2label = _from_hub(
        AutoConfig,
        config.model_name_or_path,
        token=config.hub_token,
        trust_remote_code=config.trust_remote_code,
    ).id2label
    tags = [id2label[index] for index in range(len(id2label))]
    return [] if all(tag.startswith("LABEL_") for tag in tags) else tags


def max_input_length(
    config: Config,
    auto_class: type,
    model_config: PreTrainedConfig,
    tokenizer: PreTrainedTokenizerFast,
) -> int:
    """Sub-tokens of an example: --max_length, or what the model's positions and tokenizer allow.

    Raises:
        InputError: --max_length above that.
    """
    limits = [tokenizer.model_max_length]
    positions = getattr(model_config, "max_position_embeddings", None)
    if positions and positions > 0:
        limits.append(positions - position_offset(config, auto_class, model_config))
    limit = min(limits)
    if config.max_length is None:
        return min(limit, 1_000_000)  # a model without a limit takes any sentence whole
    if config.max_length > limit:
        raise InputError(
            f"--max_length {config.max_length}: the model takes at most {limit} sub-tokens; longer "
            "sentences become several windows, so nothing is lost with a smaller one"
        )
    if config.max_length <= tokenizer.num_special_tokens_to_add() + 1:
        raise InputError(f"--max_length {config.max_length}: leaves no room for words")
    return config.max_length


def position_offset(config: Config, auto_class: type, model_config: PreTrainedConfig) -> int:
    """Position embeddings that no sub-token uses: RoBERTa's first position is padding_idx + 1."""
    with torch.device("meta"):
        skeleton = auto_class.from_config(model_config, trust_remote_code=config.trust_remote_code)
    for name, module in skeleton.named_modules():
        padding = getattr(module, "padding_idx", None)
        if name.endswith("position_embeddings") and padding is not None:
            return padding + 1
    return 0


def load_model(
    config: Config,
    auto_class: type,
    model_config: PreTrainedConfig,
    tokenizer: PreTrainedTokenizerFast,
    label_counts: np.ndarray | None,
) -> nn.Module:
    """The model in float32 with a head for the run's labels, the same on every process.

    A new head starts from the frequencies of the labels, so that the first updates need not
    learn that most words are O.

    Args:
        label_counts: int64 [num_labels], how often each is learned from; None: leave the head.
    """
    torch.manual_seed(config.seed)
    if config.model_name_or_path:
        trained, labels = _trained_labels(config), list(model_config.id2label.values())
        # float32 whatever the checkpoint's dtype: autocast gives the speed, AdamW needs the digits.
        model, info = _from_hub(
            auto_class,
            config.model_name_or_path,
            config=model_config,
            dtype=torch.float32,
            token=config.hub_token,
            trust_remote_code=config.trust_remote_code,
            # A head without tag names may have any size: most checkpoints have one of two labels.
            ignore_mismatched_sizes=config.ignore_mismatched_sizes or not trained,
            output_loading_info=True,
        )
        has_new_head = bool(info["missing_keys"] or info["mismatched_keys"])
        if trained and trained != labels and not has_new_head:  # it fits, but means other tags
            _renew_head(model)
            has_new_head = True
    else:
        model = auto_class.from_config(
            model_config, dtype=torch.float32, trust_remote_code=config.trust_remote_code
        )
        has_new_head = True
    if has_new_head and label_counts is not None:
        _start_at_label_frequencies(model, label_counts)
    if len(tokenizer) > model.get_input_embeddings().weight.shape[0]:
        model.resize_token_embeddings(len(tokenizer))
    if config.gradient_checkpointing:
        model.activation_checkpointing_enable({"use_reentrant": False})
    return model


def _start_at_label_frequencies(model: nn.Module, counts) -> None:
    """Set the head's bias to the log of the label frequencies (counts: int64 [num_labels])."""
    head = _head(model)
    if head is not None and head.bias is not None:
        frequencies = torch.as_tensor(counts + 1, dtype=torch.float64) / (counts + 1).sum()
        with torch.no_grad():
            head.bias.copy_(frequencies.log())


def _renew_head(model: nn.Module) -> None:
    """Draw the head anew, as transformers draws one whose size does not match."""
    head = _head(model)
    if head is not None:
        nn.init.normal_(head.weight, std=getattr(model.config, "initializer_range", 0.02))
        if head.bias is not None:
            nn.init.zeros_(head.bias)


def _head(model: nn.Module) -> nn.Linear | None:
    """The layer that scores the labels: the last one of their number."""
    layers = [module for module in model.modules() if isinstance(module, nn.Linear)]
    fitting = [layer for layer in layers if layer.out_features == model.config.num_labels]
    return fitting[-1] if fitting else None


def has_unused_parameters(model: nn.Module, examples: Examples) -> bool:
    """True if a backward pass leaves parameters without gradient, which DDP has to be told.

    Longformer's global attention and RoFormer's position table are such; a dry pass finds them.
    """
    batch = examples.collate(examples.lengths.argsort()[:1])
    batch.pop("labels")
    model.train()
    model(**batch).logits.sum().backward()
    unused = any(p.requires_grad and p.grad is None for p in model.parameters())
    model.zero_grad(set_to_none=True)
    return unused


def _from_hub(auto_class: type, name: str, **options):
    """`from_pretrained`, with what the user can mend as an InputError."""
    is_path = name.startswith((".", "/", "~")) or Path(name).exists()
    if is_path and not Path(name).is_dir():
        raise InputError(f"{name}: no such folder; name a model on the hub or a saved folder")
    enough = ["config.json"]
    if auto_class is AutoTokenizer:
        enough += ["tokenizer.json", "tokenizer_config.json"]
    if is_path and not any((Path(name) / file).is_file() for file in enough):
        raise InputError(f"{name}: holds no config.json, so it is not a saved model")
    try:
        return auto_class.from_pretrained(name, **options)
    except Exception as error:  # damaged files raise all kinds, tokenizers' plain Exception, too
        lines = str(error).strip().splitlines() or ["nothing"]
        reason = " ".join(lines) if lines[0].rstrip().endswith(":") else lines[0]
        if not isinstance(error, (OSError, ValueError)):
            reason = f"{type(error).__name__}: {reason}"
        raise InputError(
            f"{name}: transformers {transformers.__version__} says: {reason}"
        ) from None


@dataclass(frozen=True)
class Template:
    """What the tokenizer puts around a single sequence: `[CLS] ... [SEP]` for BERT."""

    prefix: list[int]
    suffix: list[int]
    # Of prefix, body and suffix; None: the model takes none.
    type_ids: tuple[list[int], int, list[int]] | None

    @property
    def num_special(self) -> int:
        return len(self.prefix) + len(self.suffix)


def probe_template(tokenizer: PreTrainedTokenizerFast) -> Template:
    """Find a tokenizer's special tokens by encoding one word."""
    encoding = tokenizer([["a"]], is_split_into_words=True, verbose=False).encodings[0]
    body = [at for at, word_id in enumerate(encoding.word_ids) if word_id is not None]
    first, last = body[0], body[-1]
    ids, types = encoding.ids, encoding.type_ids
    return Template(
        prefix=ids[:first],
        suffix=ids[last + 1 :],
        type_ids=(types[:first], types[first], types[last + 1 :])
        if "token_type_ids" in tokenizer.model_input_names
        else None,
    )


def tokenizer_digest(tokenizer: PreTrainedTokenizerFast) -> str:
    """sha256 of everything that decides a fast tokenizer's ids."""
    return hashlib.sha256(tokenizer.backend_tokenizer.to_str().encode()).hexdigest()


def describe_model(model_config: PreTrainedConfig) -> dict:
    """The architecture and label list, without what names a place or a version."""
    facts = model_config.to_dict()
    facts = {k: v for k, v in facts.items() if k not in ("_name_or_path", "transformers_version")}
    return json.loads(json.dumps(facts, default=str))


def identify(
    fingerprints: dict[str, str],
    tokenizer: PreTrainedTokenizerFast,
    model_config: PreTrainedConfig,
) -> dict:
    """What a resumed run must share of a task: data, tokenizer and model."""
    return {
        "data": fingerprints,
        "tokenizer": tokenizer_digest(tokenizer),
        "model": describe_model(model_config),
    }
