"""Tokenizers: loaded or learned, and made to keep words apart; the special tokens of a model."""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from tokenizers import normalizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from tagloop.errors import InputError
from tagloop.models.pretrained import errors_of_transformers, load_pretrained
from tagloop.options.config import Config
from tagloop.sample.model import build_sample_tokenizer

MOST_IDS = 10_000_000  # The largest vocabularies of today have a tenth of that.
NEARLY_ALL = 0.9  # So large a share is unknown only to the tokenizer of another language.
TELLING = 20  # Fewer words or sub-tokens show nothing.
UNLIMITED = 1_000_000  # Sub-tokens: from this number on a tokenizer counts as without a limit.


def load_tokenizer(
    config: Config, sample_sentences: Iterable[list[str]], *, pre_split: bool
) -> PreTrainedTokenizerFast:
    """Load the fast tokenizer of a run, or build the tokenizer of the built-in sample.

    Args:
        sample_sentences: the words of every training sentence; only the tokenizer of the sample
            learns from them.
        pre_split: True if the tokenizer gets words that are already split, and must keep them
            apart.

    Raises:
        InputError: the tokenizer does not exist, is a slow one, has no vocabulary, or glues words.
    """
    if config.uses_sample_model:
        return build_sample_tokenizer(sample_sentences)
    name = config.tokenizer_name or config.model_name_or_path
    options = {"token": config.hub_token, "trust_remote_code": config.trust_remote_code}
    tokenizer = load_pretrained(AutoTokenizer, name, **options)
    if not tokenizer.is_fast:
        raise InputError(
            f"tokenizer {name}: it is a slow (pure Python) one, which cannot tell the words of its "
            "sub-tokens; name a fast one with --tokenizer_name"
        )
    # If a folder has no tokenizer files, transformers makes a tokenizer of special tokens only.
    if not tokenizer.get_vocab().keys() - {*tokenizer.all_special_tokens}:
        raise InputError(
            f"tokenizer {name}: its vocabulary is empty, so every word would be unknown; copy the "
            "tokenizer's files (tokenizer.json, tokenizer_config.json) there, or name another "
            "with --tokenizer_name"
        )
    if (highest := max(tokenizer.get_vocab().values())) >= MOST_IDS:
        raise InputError(
            f"tokenizer {name}: the id {highest:,} is more than any model has rows; "
            "put back the files that the tokenizer came with"
        )
    with errors_of_transformers(name):
        glues = glues_words(tokenizer)
    if pre_split and glues:
        tokenizer = load_pretrained(AutoTokenizer, name, add_prefix_space=True, **options)
        # Classes that only load tokenizer.json ignore the option add_prefix_space.
        if glues_words(tokenizer):
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


def tokenizer_at_hand(
    config: Config,
    sample_sentences: Iterable[list[str]],
    say: Callable[[str, str], None],
    *,
    pre_split: bool,
) -> PreTrainedTokenizerFast | None:
    """Load the tokenizer if that is possible; the function raises no error.

    Args:
        sample_sentences, pre_split: as in load_tokenizer.
        say: called with a name and a text if the tokenizer cannot be loaded; the text says why.

    Returns:
        The tokenizer; None if it cannot be loaded.
    """
    name = config.tokenizer_name or config.model_name_or_path
    if name is None and not config.uses_sample_model:
        say("sub-tokens", "not counted; --model_name_or_path or --tokenizer_name tells how")
        return None
    try:
        return load_tokenizer(config, sample_sentences, pre_split=pre_split)
    except InputError as error:
        say("sub-tokens", f"not counted; {error}")
        return None


def require_known(unknown: int, total: int, things: str) -> None:
    """Refuse a tokenizer that knows next to nothing of the data.

    Args:
        unknown: how many of the things hold something that the tokenizer does not know.
        total: how many things there are.
        things: "words" or "sub-tokens".

    Raises:
        InputError: nearly all things are unknown.
    """
    if total < TELLING or unknown < NEARLY_ALL * total:
        return
    raise InputError(
        f"{unknown:,} of {total:,} {things} hold something that the tokenizer does not know: it is "
        "most likely the tokenizer of another model, or its files are not complete; "
        "give the --tokenizer_name of this model"
    )


def longest_input(tokenizer: PreTrainedTokenizerFast) -> int | None:
    """The number of sub-tokens that the model takes; None if the tokenizer does not know it."""
    limit = tokenizer.model_max_length
    return int(limit) if isinstance(limit, int | float) and 0 < limit < UNLIMITED else None


def tokenize_words(
    tokenizer: PreTrainedTokenizerFast, sentences: Sequence[Sequence[str]]
) -> list[list[list[int]]]:
    """Sub-token ids of every word of every sentence, without special tokens.

    A word has an empty list if the tokenizer makes no sub-token of it: a zero-width space, a lone
    variation selector, an empty string.
    """
    sentences = [list(words) for words in sentences]
    if not sentences:  # The tokenizer would read [] as one sentence without words.
        return []
    encodings = tokenizer(
        sentences, is_split_into_words=True, add_special_tokens=False, truncation=False,
        return_attention_mask=False, return_token_type_ids=False, verbose=False,
    ).encodings  # fmt: skip
    result = []
    for words, encoding in zip(sentences, encodings, strict=True):
        sub_tokens: list[list[int]] = [[] for _ in words]
        for word_id, token_id in zip(encoding.word_ids, encoding.ids, strict=True):
            if word_id is not None:
                sub_tokens[word_id].append(token_id)
        result.append(sub_tokens)
    return result


class SubTokens:
    """Sub-token ids of words; a word that occurred lately is not tokenized again.

    A word alone has the same ids as in any sentence, because `tokenizers` normalizes, splits and
    encodes each of the words that are already split by itself.
    """

    MOST = 1 << 18  # The number of words that are kept, which need about 60 MB.
    TOGETHER = 64  # So many words go into one sentence, for few calls and busy threads.

    def __init__(self, tokenizer: PreTrainedTokenizerFast):
        self.tokenizer = tokenizer
        self.known: dict[str, list[int]] = {}

    def __call__(self, words: Sequence[str]) -> list[list[int]]:
        """The ids of every word, in the order of the words; [] for a word without sub-tokens."""
        if len(self.known) > self.MOST:
            self.known.clear()
        new = [word for word in words if word not in self.known]
        rows = [new[at : at + self.TOGETHER] for at in range(0, len(new), self.TOGETHER)]
        for row, sub_tokens in zip(rows, tokenize_words(self.tokenizer, rows), strict=True):
            self.known.update(zip(row, sub_tokens, strict=True))
        return [self.known[word] for word in words]


def glues_words(tokenizer: PreTrainedTokenizerFast) -> bool:
    """True if the ids do not show where a word begins that was split before.

    Byte-level tokenizers glue words without `add_prefix_space=True`: `["john", "lives"]` gives the
    ids of `johnlives`. The function finds them by a test sentence, and not by a list of names. A
    tokenizer that marks no spaces at all (BERT's) glues no words.
    """
    words = ["john", "lives", "in", "berlin"]
    (sub_tokens,) = tokenize_words(tokenizer, [words])
    pre_split = [token_id for word in sub_tokens for token_id in word]
    bare = [
        token_id
        for word in words
        for token_id in tokenizer(word, add_special_tokens=False).input_ids
    ]
    running_text = tokenizer(" ".join(words), add_special_tokens=False).input_ids
    return pre_split == bare and pre_split != running_text


@dataclass(frozen=True)
class Template:
    """The special tokens around a single sequence: `[CLS] ... [SEP]` for BERT.

    Attributes:
        prefix, suffix: ids of the special tokens before and after the sequence.
        type_ids: the token type ids of the prefix, of any sub-token between, and of the suffix;
            None if the model takes no token type ids.
    """

    prefix: list[int]
    suffix: list[int]
    type_ids: tuple[list[int], int, list[int]] | None

    @property
    def num_special(self) -> int:
        """The number of special tokens around a sequence."""
        return len(self.prefix) + len(self.suffix)


def probe_template(tokenizer: PreTrainedTokenizerFast) -> Template:
    """Find the special tokens of a tokenizer by encoding one word that it knows.

    Raises:
        InputError: the tokenizer returns no sub-token for any word.
    """
    for word in ("a", *tokenizer.get_vocab()):
        encoding = tokenizer([[word]], is_split_into_words=True, verbose=False).encodings[0]
        body = [at for at, word_id in enumerate(encoding.word_ids) if word_id is not None]
        if body:
            break
    else:
        raise InputError(
            f"tokenizer {tokenizer.name_or_path}: it makes no sub-token of any word; name another "
            "with --tokenizer_name"
        )
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
    """The sha256, as hex digits, of all settings that decide the ids of a fast tokenizer.

    Whether it cuts off the beginning or the end of a long text (`truncation_side`) is not in it.
    """
    # The tokenizer remembers truncation and padding of the last call; they must not count.
    tokenizer.backend_tokenizer.no_truncation()
    tokenizer.backend_tokenizer.no_padding()
    return hashlib.sha256(tokenizer.backend_tokenizer.to_str().encode()).hexdigest()
