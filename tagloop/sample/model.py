"""Tokenizers and small models for the sample corpus, built without a network."""

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
from transformers import (
    BertConfig,
    GPT2Config,
    PreTrainedTokenizerFast,
    RobertaPreLayerNormConfig,
    T5Config,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperTokenizer,
)


def build_sample_tokenizer(sentences: Iterable[list[str]]) -> PreTrainedTokenizerFast:
    """Learn a WordPiece tokenizer from the training words of the sample; always the same one."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    texts = [" ".join(words) for words in sentences]
    # The trainer numbers sub-tokens that continue a word in the order of a random hash, and breaks
    # ties by number. As special tokens they have fixed numbers, so the vocabulary depends on the
    # text only.
    continuations = [f"##{letter}" for letter in sorted(set("".join(texts)))]
    trainer = trainers.WordPieceTrainer(
        vocab_size=3000, special_tokens=special + continuations, show_progress=False
    )
    trained = _word_piece()
    trained.train_from_iterator(texts, trainer)
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


def begin_with_cls(tokenizer: PreTrainedTokenizerFast) -> None:
    """Change the tokenizer of the sample in place for a decoder.

    A text begins with [CLS]. [SEP] becomes the end-of-text token, which the tokenizer adds no
    longer, because a text that is to be continued has no end.
    """
    tokenizer.bos_token, tokenizer.eos_token = "[CLS]", "[SEP]"
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A", special_tokens=[("[CLS]", tokenizer.bos_token_id)]
    )


def end_with_sep(tokenizer: PreTrainedTokenizerFast) -> None:
    """Change the tokenizer of the sample in place for an encoder-decoder.

    A text ends with [SEP] and has no token before it.
    """
    tokenizer.eos_token = "[SEP]"
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="$A [SEP]", special_tokens=[("[SEP]", tokenizer.eos_token_id)]
    )


def build_sample_encoder_decoder_config(tokenizer: PreTrainedTokenizerFast) -> T5Config:
    """A small T5 that trains from scratch in about a minute on two cores."""
    return T5Config(
        vocab_size=len(tokenizer),
        d_model=96,
        d_kv=24,
        d_ff=192,
        num_layers=2,
        num_heads=4,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        decoder_start_token_id=tokenizer.pad_token_id,
    )


def build_sample_decoder_config(tokenizer: PreTrainedTokenizerFast) -> GPT2Config:
    """A small GPT-2 that trains from scratch in about a minute on two cores."""
    return GPT2Config(
        vocab_size=len(tokenizer),
        n_embd=128,
        n_layer=2,
        n_head=4,
        n_positions=256,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def build_sample_masked_config(tokenizer: PreTrainedTokenizerFast) -> RobertaPreLayerNormConfig:
    """A small encoder that learns from few hidden sub-tokens.

    It normalizes before each layer, and begins with larger weights than BERT: both let it learn
    from context sooner.
    """
    return RobertaPreLayerNormConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=512,
        max_position_embeddings=258,  # Its first position is the one after the padding token's id.
        type_vocab_size=1,
        initializer_range=0.06,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.cls_token_id,
        eos_token_id=tokenizer.sep_token_id,
    )


def add_sentinels(tokenizer: PreTrainedTokenizerFast, number: int = 100) -> None:
    """Change the tokenizer of the sample in place for T5's task.

    It gains a token for each of `number` hidden spans. A text ends with [SEP].
    """
    end_with_sep(tokenizer)
    tokenizer.add_tokens([f"<extra_id_{index}>" for index in range(number)], special_tokens=True)


def build_sample_t5_config(tokenizer: PreTrainedTokenizerFast) -> T5Config:
    """A small T5 that trains from scratch in about a minute on two cores."""
    return T5Config(
        vocab_size=len(tokenizer),
        d_model=128,
        d_kv=32,
        d_ff=512,
        num_layers=2,
        num_heads=4,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        decoder_start_token_id=tokenizer.pad_token_id,
    )


def build_sample_whisper_tokenizer(texts: Iterable[str]) -> WhisperTokenizer:
    """A tokenizer of Whisper's kind for one language; each word of the texts is one sub-token."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges: list[tuple[str, str]] = []
    for word in sorted({word for text in texts for word in text.split()}):
        pairs = [(word[:at], word[at]) for at in range(1, len(word))]
        merges += [pair for pair in [*pairs, ("Ġ", word)] if pair not in merges]
    special = ["<|endoftext|>", "<|startoftranscript|>", "<|notimestamps|>"]
    entries = dict.fromkeys([*letters, *(left + right for left, right in merges), *special])
    return WhisperTokenizer(
        vocab={entry: number for number, entry in enumerate(entries)},
        merges=merges,
        pad_token=special[0],
        extra_special_tokens=special[1:],
        model_max_length=448,
    )


def build_sample_whisper_config(
    tokenizer: PreTrainedTokenizerFast, extractor: WhisperFeatureExtractor
) -> WhisperConfig:
    """A small Whisper that learns a few words from scratch in about a minute on two cores."""
    return WhisperConfig(
        vocab_size=len(tokenizer),
        num_mel_bins=extractor.feature_size,
        d_model=96,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=256,
        decoder_ffn_dim=256,
        dropout=0.1,
        attention_dropout=0.1,
        max_source_positions=extractor.nb_max_frames // 2,
        max_target_positions=448,  # as in every Whisper; pipelines generate 256 sub-tokens
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        decoder_start_token_id=tokenizer.convert_tokens_to_ids("<|startoftranscript|>"),
        begin_suppress_tokens=None,
        suppress_tokens=None,
    )
