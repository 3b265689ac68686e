"""windows.py: labels, special tokens, padding, and words that are hard to place."""

import numpy as np
import pytest
import tiny

from tagloop.batches.dataloader import Updates
from tagloop.batches.examples import IGNORE_INDEX
from tagloop.models.tokenizers import probe_template

# The order is no scheme's: turning B- into I- by adding one, or by parity, gives wrong labels.
LABELS = ["I-PER", "B-LOC", "O", "I-LOC", "B-MISC", "B-PER"]

SHAPES = {
    "bert": ("word_piece", "[CLS] $A [SEP]"),
    "roberta": ("byte_level", "[CLS] $A [SEP]"),
    "gpt2": ("byte_level", "$A"),
    "xlnet": ("metaspace", "$A:0 [SEP]:0 [CLS]:2"),
}
KNOWS_TYPES = ["input_ids", "token_type_ids", "attention_mask"]


def shaped(shape: str, *, types: bool = False):
    kind, single = SHAPES[shape]
    names = KNOWS_TYPES if types else ["input_ids", "attention_mask"]
    return tiny.tokenizer_like(kind, single, model_input_names=names)


def sub_tokens_of(tokenizer, word: str) -> list[int]:
    """Sub-tokens of a word, asked of the tokenizer on its own."""
    encoding = tokenizer([word], is_split_into_words=True, add_special_tokens=False)
    return encoding.input_ids or [tokenizer.unk_token_id]


def rows(split, name: str) -> list[list[int]]:
    """The unpadded rows of every window."""
    batch = split.collate(np.arange(len(split)))
    lengths = batch["attention_mask"].sum(1).tolist()
    return [row[:length] for row, length in zip(batch[name].tolist(), lengths, strict=True)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("types", [True, False])
def test_an_uncut_sentence_is_what_the_tokenizer_makes_of_it(shape, types):
    tokenizer = shaped(shape, types=types)
    tokens = tiny.sentences(1, 40)
    tags = [["O"] * len(words) for words in tokens]
    split = tiny.build_windows(tokenizer, tokens, tags, ["O"], max_length=512)
    expected = tokenizer(tokens, is_split_into_words=True)
    assert rows(split, "input_ids") == expected["input_ids"]
    batch = split.collate(np.array([0]))
    assert ("token_type_ids" in batch) == types
    if types:
        assert rows(split, "token_type_ids") == expected["token_type_ids"]


@pytest.mark.parametrize("shape", SHAPES)
def test_every_window_of_a_cut_sentence_has_the_special_tokens(shape):
    tokenizer = shaped(shape)
    template = probe_template(tokenizer)
    tokens = tiny.sentences(2, 10, longest=60)
    split = tiny.build_windows(
        tokenizer, tokens, [["O"] * len(t) for t in tokens], ["O"], max_length=20
    )
    assert len(split) > 2 * len(tokens)
    assert template.num_special == tokenizer.num_special_tokens_to_add()
    for row in rows(split, "input_ids"):
        assert len(row) <= 20
        assert row[: len(template.prefix)] == template.prefix
        assert row[len(row) - len(template.suffix) :] == template.suffix
        assert len(row) > template.num_special


def expected_labels(tokenizer, words, tags, *, every: bool) -> list[int]:
    """Labels of an uncut sentence without special tokens, one word after the other."""
    result = []
    for word, tag in zip(words, tags, strict=True):
        later = IGNORE_INDEX
        if tag is None:
            first = IGNORE_INDEX
        else:
            first = LABELS.index(tag)
            inside = tag.replace("B-", "I-")
            if every:
                later = LABELS.index(inside) if inside in LABELS else first
        result += [first] + [later] * (len(sub_tokens_of(tokenizer, word)) - 1)
    return result


@pytest.mark.parametrize("every", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_labels_stand_on_the_first_sub_token_or_on_all(shape, every):
    tokenizer = shaped(shape)
    template = probe_template(tokenizer)
    tokens = tiny.sentences(3, 40, words=(*tiny.WORDS, *tiny.NO_TOKENS))
    tags = tiny.random_tags(4, tokens, LABELS)
    split = tiny.build_windows(
        tokenizer, tokens, tags, LABELS, max_length=512, label_all_tokens=every
    )
    for words, word_tags, labels in zip(tokens, tags, rows(split, "labels"), strict=True):
        body = expected_labels(tokenizer, words, word_tags, every=every)
        outside = [[IGNORE_INDEX] * len(part) for part in (template.prefix, template.suffix)]
        assert labels == outside[0] + body + outside[1]


@pytest.mark.parametrize("max_length", [6, 11, 30])
@pytest.mark.parametrize("stride", [None, 0, 2])
def test_overlapping_windows_label_every_word_once(max_length, stride):
    tokenizer = shaped("bert")
    words = [word for word in tiny.WORDS if len(sub_tokens_of(tokenizer, word)) <= 3]
    tokens = tiny.sentences(5, 30, longest=40, words=tuple(words))
    names = [f"T{number}" for number in range(50)]  # a name per position shows who labelled what
    tags = [names[: len(t)] for t in tokens]
    options = {} if stride is None else {"stride": min(stride, (max_length - 2) // 2)}
    split = tiny.build_windows(tokenizer, tokens, tags, names, max_length=max_length, **options)
    labels = rows(split, "labels")
    learned = [label for row in labels for label in row if label != IGNORE_INDEX]
    # In order, each once: windows follow their sentence, and own its words from left to right.
    assert learned == [names.index(tag) for sentence in tags for tag in sentence]
    if stride != 0:
        assert int(split.lengths.sum()) > len(learned) + 2 * len(split)  # context was repeated
    assert split.num_targets.tolist() == [
        sum(label != IGNORE_INDEX for label in row) for row in labels
    ]


def test_a_label_stands_on_the_word_it_belongs_to():
    tokenizer = shaped("bert")
    words = [word for word in tiny.WORDS if len(sub_tokens_of(tokenizer, word)) <= 5]
    tokens = tiny.sentences(6, 20, longest=40, words=tuple(words))
    tags = [[f"T{words.index(word)}" for word in sentence] for sentence in tokens]
    names = [f"T{number}" for number in range(len(words))]
    split = tiny.build_windows(tokenizer, tokens, tags, names, max_length=12)
    for ids, labels in zip(rows(split, "input_ids"), rows(split, "labels"), strict=True):
        for at, label in enumerate(labels):
            if label != IGNORE_INDEX:
                pieces = sub_tokens_of(tokenizer, words[label])
                assert ids[at : at + len(pieces)] == pieces


def test_words_without_sub_tokens_become_unknown_and_are_counted():
    tokenizer = shaped("bert")
    words = ["john", *tiny.NO_TOKENS]
    split = tiny.build_windows(tokenizer, [words], [["O"] * len(words)], ["O"])
    assert split.num_targets.tolist() == [len(words)]
    assert split.facts["words_without_sub_tokens"] == len(tiny.NO_TOKENS)
    (row,) = rows(split, "input_ids")
    assert row.count(tokenizer.unk_token_id) == len(tiny.NO_TOKENS)


@pytest.mark.parametrize("every", [False, True])
def test_a_word_longer_than_a_window_is_shortened_and_counted(every):
    tokenizer = shaped("bert")
    long_word = "internationalisation" * 5
    split = tiny.build_windows(
        tokenizer,
        [["x", long_word, "x"]],
        [["O", "B-PER", "O"]],
        LABELS,
        max_length=8,
        label_all_tokens=every,
    )
    assert split.facts["words_shortened"] == 1
    assert split.facts["sentences_cut"] == 1
    assert split.lengths.max() == 8
    assert split.num_units.sum() == 3
    learned = [label for row in rows(split, "labels") for label in row if label != IGNORE_INDEX]
    begin, inside, other = (LABELS.index(tag) for tag in ("B-PER", "I-PER", "O"))
    assert learned == [other, begin, *([inside] * 5 if every else []), other]


def test_a_sentence_without_words_keeps_its_place():
    tokens, tags = [[], ["john"], [], ["mary", "x"]], [[], ["O"], [], ["O", "O"]]
    split = tiny.build_windows(shaped("bert"), tokens, tags, ["O"])
    assert np.diff(split.sentence_offsets).tolist() == [0, 1, 0, 2]
    assert len(split) == 2


def test_words_without_gold_tag_are_predicted_but_not_learned():
    split = tiny.build_windows(
        shaped("bert"), [["john", "x"], ["mary"]], [["O", None], [None]], ["O"]
    )
    assert split.num_units.sum() == 3
    assert split.num_targets.tolist() == [1, 0]
    assert split.references.tolist() == [0, IGNORE_INDEX, IGNORE_INDEX]


def some_windows(**options):
    tokens = tiny.sentences(8, 12)
    tags = tiny.random_tags(9, tokens, LABELS)
    return tiny.build_windows(shaped("bert", types=True), tokens, tags, LABELS, **options)


@pytest.mark.parametrize(
    ("options", "columns"),
    [
        ({}, lambda longest: longest),
        ({"pad_to_multiple_of": 8}, lambda longest: -(-longest // 8) * 8),
        ({"pad_to_max_length": True}, lambda longest: 100),
        ({"pad_to_max_length": True, "pad_to_multiple_of": 8}, lambda longest: 100),
    ],
)
def test_batches_are_padded_on_the_right(options, columns):
    split = some_windows(max_length=100, **options)
    window_ids = np.array([3, 0, 7])
    batch = split.collate(window_ids)
    lengths = split.lengths[window_ids]
    assert {tensor.shape for tensor in batch.values()} == {(3, columns(lengths.max()))}
    assert split.padded_lengths[window_ids].max() == columns(lengths.max())
    for row, length in enumerate(lengths):
        assert batch["attention_mask"][row].tolist() == [1] * length + [0] * (
            columns(lengths.max()) - length
        )
        assert set(batch["input_ids"][row, length:].tolist()) <= {split.pad_token_id}
        assert set(batch["labels"][row, length:].tolist()) <= {IGNORE_INDEX}
        alone = split.collate(window_ids[row : row + 1])
        assert alone["input_ids"][0, :length].tolist() == batch["input_ids"][row, :length].tolist()


def test_padding_never_leaves_the_models_positions():
    tokens = [["x"] * 30]
    split = tiny.build_windows(
        shaped("bert"), tokens, [["O"] * 30], ["O"], max_length=13, pad_to_multiple_of=8
    )
    assert split.collate(np.array([0]))["input_ids"].shape[1] == 13


def test_a_micro_batch_of_nothing_has_one_window_and_no_label():
    batch = some_windows().collate(np.array([], dtype=np.int64))
    assert len(batch["input_ids"]) == 1
    assert batch["attention_mask"].any()
    assert (batch["labels"] == IGNORE_INDEX).all()


@pytest.mark.parametrize("num_processes", [1, 2, 5])
def test_an_updates_labels_are_counted_over_all_processes(num_processes):
    split = some_windows()
    plan = [np.arange(8), np.arange(8, 12)]
    for update in range(2):
        items = [
            Updates(
                split,
                plan,
                num_processes=num_processes,
                process_index=process,
                per_device_batch_size=2,
            )[update]
            for process in range(num_processes)
        ]
        learned = sum(
            int((micro_batch.labels != IGNORE_INDEX).sum())
            for item in items
            for micro_batch in item.micro_batches
        )
        assert learned > 0
        assert {item.target_weight for item in items} == {learned}


def test_windows_without_any_special_token_in_the_vocabulary():
    tokenizer = shaped("gpt2")
    for name in tiny.SPECIAL_NAMES:
        setattr(tokenizer, name, None)
    split = tiny.build_windows(tokenizer, [["john", ""], ["x"]], [["O"] * 2, ["O"]], ["O"])
    batch = split.collate(np.arange(2))
    assert split.num_units.sum() == 3
    assert batch["input_ids"].shape == batch["attention_mask"].shape
