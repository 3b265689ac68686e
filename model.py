"""Tokenizer, model and optimizer: loaded or built, and checked before any weight is read."""

from pathlib import Path

import torch
import transformers
from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from torch import nn
from transformers import (
    CONFIG_MAPPING,
    AutoConfig,
    AutoModelForTokenClassification,
    AutoTokenizer,
    BertConfig,
    PreTrainedTokenizerFast,
)
from transformers.pytorch_utils import Conv1D

from alignment import glues_words
from errors import InputError

DECAYED_MODULES = (nn.Linear, nn.Embedding, nn.Conv1d, Conv1D)  # not biases, not norms


def load_tokenizer(config, corpus):
    """The fast tokenizer of a run, one that keeps pre-split words apart.

    Raises:
        InputError: no such tokenizer, a slow one, or one that glues words.
    """
    if config.uses_sample_model:
        return build_sample_tokenizer(corpus.splits["train"]["tokens"])
    name = config.tokenizer_name or config.model_name_or_path
    options = {"token": config.hub_token, "trust_remote_code": config.trust_remote_code}
    tokenizer = _from_hub(AutoTokenizer, name, **options)
    if not tokenizer.is_fast:
        raise InputError(
            f"tokenizer {name}: it is a slow (pure Python) one, which cannot tell the words of its "
            "sub-tokens; name a fast one with --tokenizer_name"
        )
    if glues_words(tokenizer):
        tokenizer = _from_hub(AutoTokenizer, name, add_prefix_space=True, **options)
        if glues_words(tokenizer):
            raise InputError(
                f"tokenizer {name}: it glues words that are already split (john + lives becomes "
                "johnlives), with add_prefix_space=True, too; name another with --tokenizer_name"
            )
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
    return tokenizer


def load_model_config(config, labels: list[str], tokenizer):
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
    trained = [model_config.id2label[index] for index in range(len(model_config.id2label))]
    has_head = not all(tag.startswith("LABEL_") for tag in trained)
    unknown = sorted(set(labels) - set(trained))
    if has_head and not config.ignore_mismatched_sizes:
        if unknown:
            raise InputError(
                f"{config.model_name_or_path}: the checkpoint's labels ({', '.join(trained)}) lack "
                f"{', '.join(unknown)} of the data; give --ignore_mismatched_sizes for a new head"
            )
        labels = trained
    model_config.id2label = dict(enumerate(labels))
    model_config.label2id = {tag: index for index, tag in enumerate(labels)}
    return model_config


def window_length(config, model_config, tokenizer) -> int:
    """Sub-tokens in a window: --max_length, or what the model's positions and tokenizer allow.

    Raises:
        InputError: --max_length above that.
    """
    limits = [tokenizer.model_max_length]
    positions = getattr(model_config, "max_position_embeddings", None)
    if positions and positions > 0:
        limits.append(positions - position_offset(model_config))
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


def position_offset(model_config) -> int:
    """Position embeddings that no sub-token uses: RoBERTa's first position is padding_idx + 1."""
    with torch.device("meta"):
        skeleton = AutoModelForTokenClassification.from_config(model_config)
    for name, module in skeleton.named_modules():
        padding = getattr(module, "padding_idx", None)
        if name.endswith("position_embeddings") and padding is not None:
            return padding + 1
    return 0


def load_model(config, model_config, tokenizer) -> nn.Module:
    """The model in float32 with a head for the run's labels, the same on every process."""
    torch.manual_seed(config.seed)
    if config.model_name_or_path:
        # float32 whatever the checkpoint's dtype: autocast gives the speed, AdamW needs the digits.
        model = _from_hub(
            AutoModelForTokenClassification,
            config.model_name_or_path,
            config=model_config,
            dtype=torch.float32,
            token=config.hub_token,
            trust_remote_code=config.trust_remote_code,
            ignore_mismatched_sizes=config.ignore_mismatched_sizes,
        )
    else:
        model = AutoModelForTokenClassification.from_config(model_config, dtype=torch.float32)
    if len(tokenizer) > model.get_input_embeddings().weight.shape[0]:
        model.resize_token_embeddings(len(tokenizer))
    if config.gradient_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    return model


def build_optimizer(model: nn.Module, *, learning_rate: float, weight_decay: float):
    """Fused AdamW that decays the weights of linear, embedding and convolution layers only."""
    decayed, others, seen = [], [], set()
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if parameter.requires_grad and id(parameter) not in seen:
                seen.add(id(parameter))
                is_weight = name == "weight" and isinstance(module, DECAYED_MODULES)
                (decayed if is_weight else others).append(parameter)
    groups = [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=learning_rate, fused=True)


def has_unused_parameters(model: nn.Module, windows: dict) -> bool:
    """True if a backward pass leaves parameters without gradient, which DDP has to be told.

    Longformer's global attention and RoFormer's position table are such; a dry pass finds them.
    """
    some = next(iter(windows.values()))
    batch = some.collate(some.lengths.argsort()[:1])
    batch.pop("labels")
    model.train()
    model(**batch).logits.sum().backward()
    unused = any(p.requires_grad and p.grad is None for p in model.parameters())
    model.zero_grad(set_to_none=True)
    return unused


def describe(model_config) -> dict:
    """The architecture and label list, without what names a place or a version."""
    facts = model_config.to_dict()
    return {k: v for k, v in facts.items() if k not in ("_name_or_path", "transformers_version")}


def build_sample_tokenizer(sentences) -> PreTrainedTokenizerFast:
    """A WordPiece tokenizer learned from the sample's training words, the same every time."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    sentences = [" ".join(words) for words in sentences]
    # The trainer numbers continuations in the order of a random hash and breaks ties by number;
    # naming them beforehand makes the vocabulary a function of the text.
    continuations = [f"##{letter}" for letter in sorted(set("".join(sentences)))]
    trainer = trainers.WordPieceTrainer(
        vocab_size=3000, special_tokens=special + continuations, show_progress=False
    )
    learned = _word_piece()
    learned.train_from_iterator(sentences, trainer)
    tokenizer = _word_piece(learned.get_vocab())
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(name, special.index(name)) for name in ("[CLS]", "[SEP]")],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=256,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
    )


def _word_piece(vocab: dict[str, int] | None = None) -> Tokenizer:
    tokenizer = Tokenizer(models.WordPiece(vocab=vocab, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=False)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    return tokenizer


def build_sample_model_config(tokenizer) -> BertConfig:
    """A small BERT that trains from scratch in under a minute on two cores."""
    return BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=512,
        max_position_embeddings=256,
        pad_token_id=tokenizer.pad_token_id,
    )


def _from_hub(auto_class, name: str, **options):
    """`from_pretrained`, with what the user can mend as an InputError."""
    is_path = name.startswith((".", "/", "~")) or Path(name).exists()
    if is_path and not Path(name).is_dir():
        raise InputError(f"{name}: no such folder; name a model on the hub or a saved folder")
    if is_path and auto_class is AutoConfig and not (Path(name) / "config.json").is_file():
        raise InputError(f"{name}: holds no config.json, so it is not a saved model")
    try:
        return auto_class.from_pretrained(name, **options)
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(
            f"{name}: transformers {transformers.__version__} says: {reason}"
        ) from None
