"""A tokenizer and a small model for the sample corpus, built without a network."""

from collections.abc import Iterable

from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import BertConfig, PreTrainedTokenizerFast


def build_sample_tokenizer(sentences: Iterable[list[str]]) -> PreTrainedTokenizerFast:
    """Learn a WordPiece tokenizer from the training words of the sample; always the same one."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    sentences = [" ".join(words) for words in sentences]
    # The trainer numbers sub-tokens that continue a word in the order of a random hash, and breaks
    # ties by number. As special tokens they have fixed numbers, so the vocabulary depends on the
    # text only.
    continuations = [f"##{letter}" for letter in sorted(set("".join(sentences)))]
    trainer = trainers.WordPieceTrainer(
        vocab_size=3000, special_tokens=special + continuations, show_progress=False
    )
    trained = _word_piece()
    trained.train_from_iterator(sentences, trainer)
    tokenizer = _word_piece(trained.get_vocab())
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


def build_sample_model_config(tokenizer: PreTrainedTokenizerFast) -> BertConfig:
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
