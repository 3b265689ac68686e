"""Tokenizers, models and windows small enough for tests: learned or built in milliseconds."""

import functools
import json
import random
import shutil
from pathlib import Path

import datasets
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    CONFIG_MAPPING,
    AutoModelForTokenClassification,
    GPT2TokenizerFast,
    PreTrainedTokenizerFast,
    RobertaTokenizerFast,
)

from tagloop.tasks.tagging.windows import load_windows

torch.set_num_threads(1)

TEXT = [
    "john lives in berlin and mary works in new york",
    "the quick brown fox jumps over the lazy dog",
    "unbelievable internationalisation committees recommended Wolfeschlegelsteinhausen",
    "At 10:30 a.m., Mr. O'Neil (aged 63) didn't pay $4.99 -- he left!",
]
WORDS = [*sorted(set(" ".join(TEXT).split())), "Über", "naïve", "東京", "x", "unseen-word", "..."]
NO_TOKENS = ["", " ", "\u200b", "\ufeff", "\u0096", "\ufe0f", "\u00ad"]  # BERT makes none of these

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
SPECIAL_NAMES = {
    "pad_token": "[PAD]",
    "unk_token": "[UNK]",
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "mask_token": "[MASK]",
}


@functools.cache
def _learn(kind: str, add_prefix_space: bool) -> Tokenizer:
    options = {"special_tokens": SPECIAL, "show_progress": False}
    if kind == "word_piece":
        tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
        tokenizer.normalizer = normalizers.BertNormalizer()
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        trainer = trainers.WordPieceTrainer(vocab_size=120, **options)
    elif kind == "byte_level":
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=add_prefix_space)
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(vocab_size=320, initial_alphabet=alphabet, **options)
    else:
        tokenizer = Tokenizer(models.Unigram())
        tokenizer.normalizer = normalizers.NFKC()
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
        trainer = trainers.UnigramTrainer(vocab_size=90, unk_token="[UNK]", **options)
    tokenizer.train_from_iterator(TEXT, trainer)
    return tokenizer


def tokenizer_like(
    kind: str, single: str = "[CLS] $A [SEP]", *, add_prefix_space: bool = True, **options
) -> PreTrainedTokenizerFast:
    """A fast tokenizer.

    Args:
        kind: word_piece, byte_level or metaspace.
        single: what stands around a sequence, as tokenizers' TemplateProcessing has it.
        options: of PreTrainedTokenizerFast, such as model_input_names.
    """
    backend = Tokenizer.from_str(_learn(kind, add_prefix_space).to_str())
    backend.post_processor = processors.TemplateProcessing(
        single=single, special_tokens=[(name, SPECIAL.index(name)) for name in SPECIAL]
    )
    options = {"model_max_length": 512, **SPECIAL_NAMES, **options}
    return PreTrainedTokenizerFast(tokenizer_object=backend, **options)


def byte_level_of_class(name: str, *, add_prefix_space: bool) -> PreTrainedTokenizerFast:
    """The byte-level tokenizer as RoBERTa, GPT-2 or ModernBERT ("generic") ship theirs."""
    if name == "generic":
        return tokenizer_like("byte_level", add_prefix_space=add_prefix_space)
    learned = json.loads(_learn("byte_level", add_prefix_space).to_str())["model"]
    vocab, merges = learned["vocab"], [tuple(pair) for pair in learned["merges"]]
    extra = {"roberta": ["<s>", "<pad>", "</s>", "<unk>", "<mask>"], "gpt2": ["<|endoftext|>"]}
    for token in extra[name]:
        vocab[token] = len(vocab)
    cls = {"roberta": RobertaTokenizerFast, "gpt2": GPT2TokenizerFast}[name]
    return cls(vocab=vocab, merges=merges, add_prefix_space=add_prefix_space)


def model_config(model_type: str, labels=("O", "B-PER", "I-PER"), **overrides):
    """A configuration with one narrow layer."""
    sizes = {
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 16,
        "max_position_embeddings": 64,
    }
    special = {
        "longformer": {"attention_window": [4]},
        "electra": {"embedding_size": 16},
        "distilbert": {"dim": 16, "n_layers": 1, "n_heads": 2, "hidden_dim": 16},
        "gpt2": {"n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 64},
        "t5": {"d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 1, "num_heads": 2},
        "modernbert": {"bos_token_id": 2, "eos_token_id": 3, "cls_token_id": 2, "sep_token_id": 3},
    }
    if model_type in ("distilbert", "gpt2", "t5"):
        sizes = {"max_position_embeddings": 64} if model_type == "distilbert" else {}
    options = {
        **sizes,
        "vocab_size": 400,
        "pad_token_id": 0,
        "id2label": dict(enumerate(labels)),
        "label2id": {tag: index for index, tag in enumerate(labels)},
        **special.get(model_type, {}),
        **overrides,
    }
    return CONFIG_MAPPING[model_type](**options)


def build_model(config, *, seed: int = 0) -> torch.nn.Module:
    """A model with weights large enough that its predictions differ from word to word."""
    torch.manual_seed(seed)
    model = AutoModelForTokenClassification.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.copy_(torch.randn_like(parameter) * 0.4)
    return model.eval()


def as_legal(model: Path, folder: Path) -> Path:
    """A copy of a model folder whose config.json says that it was trained to predict legal tags."""
    shutil.copytree(model, folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config["tagloop"] = config.get("tagloop", {}) | {"decoding": "legal"}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


def sentences(seed: int, number: int, *, longest: int = 12, words=tuple(WORDS)) -> list[list[str]]:
    """Random sentences of 1 to `longest` words."""
    rng = random.Random(seed)
    return [rng.choices(words, k=rng.randint(1, longest)) for _ in range(number)]


def random_tags(seed: int, tokens: list[list[str]], labels) -> list[list[str | None]]:
    """A random tag, or none, for every word."""
    rng = random.Random(seed)
    return [[rng.choice([*labels, None]) for _ in words] for words in tokens]


def build_windows(
    tokenizer,
    tokens,
    tags,
    labels,
    *,
    max_length: int = 64,
    stride: int | None = None,
    label_all_tokens: bool = False,
    pad_to_max_length: bool = False,
    pad_to_multiple_of: int = 1,
):
    """The windows of a split, through the loader that a run uses."""
    strings = datasets.List(datasets.Value("string"))
    split = datasets.Dataset.from_dict(
        {"tokens": tokens, "tags": tags},
        features=datasets.Features({"tokens": strings, "tags": strings}),
    )
    return load_windows(
        split,
        split._fingerprint,
        tokenizer,
        {tag: index for index, tag in enumerate(labels)},
        max_length=max_length,
        stride=stride,
        label_all_tokens=label_all_tokens,
        pad_to_max_length=pad_to_max_length,
        pad_to_multiple_of=pad_to_multiple_of,
    )
