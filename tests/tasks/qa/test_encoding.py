"""Windows of questions: which sub-tokens, which labels, and what is refused."""

import numpy as np
import pytest
from squad import build_windows, gold, pair_tokenizer, with_pairs
from tiny import byte_level_of_class, tokenizer_like

from tagloop.errors import InputError
from tagloop.tasks.qa import encoding
from tagloop.tasks.qa.encoding import ARRAY_TYPES, NO_TARGET

BERT = pair_tokenizer()
CONTEXT = "john lives in berlin and mary works in new york"
WORDS = CONTEXT.split()


def texts_of(windows, context, number):
    """The text of the target of every window of a question; "" for the null index."""
    found = []
    for window in range(windows.row_offsets[number], windows.row_offsets[number + 1]):
        start, end = windows.answer_starts[window], windows.answer_ends[window]
        if start == end == windows.null_indices[window]:
            found.append("")
            continue
        begin = windows.offsets[window]
        found.append(context[windows.begins[begin + start] : windows.ends[begin + end]])
    return found


def test_windows_are_those_of_the_tokenizer_itself():
    """Whatever the lengths: the same ids and types as by truncation="only_second" and stride."""
    rows = [
        ("who lives in berlin", " ".join(WORDS * number), gold(("john", 0)))
        for number in (1, 3, 4, 5, 9)
    ]
    windows = build_windows(BERT, *rows, max_length=24, doc_stride=7)
    expected = BERT(
        [row[0] for row in rows],
        [row[1] for row in rows],
        truncation="only_second",
        max_length=24,
        stride=7,
        return_overflowing_tokens=True,
    )
    assert len(windows) == len(expected["input_ids"]) > len(rows)
    for number in range(len(windows)):
        part = slice(windows.offsets[number], windows.offsets[number + 1])
        assert windows.input_ids[part].tolist() == expected["input_ids"][number]
        assert windows.type_ids[part].tolist() == expected["token_type_ids"][number]
    counted = np.bincount(expected["overflow_to_sample_mapping"])
    assert np.diff(windows.row_offsets).tolist() == counted.tolist()


@pytest.mark.medium
def test_an_answer_is_labelled_wherever_it_stands_whole():
    """In each window that has all of it, even as its first or its last sub-token; nowhere else."""
    context = " ".join(WORDS * 3)
    for at, word in enumerate(WORDS * 3):
        start = len(" ".join((WORDS * 3)[:at])) + (at > 0)
        windows = build_windows(
            BERT, ("who", context, gold((word, start))), max_length=16, doc_stride=5
        )
        found = texts_of(windows, context, 0)
        assert word in found
        for window, text in enumerate(found):
            part = slice(windows.offsets[window], windows.offsets[window + 1])
            inside = windows.begins[part][windows.begins[part] >= 0]
            is_whole = inside.min() <= start and start + len(word) <= windows.ends[part].max()
            assert text == (word if is_whole else "")
            if is_whole:
                begins = windows.begins[part]
                assert begins[windows.answer_starts[window]] == start


def test_the_last_sub_token_of_a_window_is_not_labelled_at_its_end():
    """The row goes on with [SEP], whose characters count from 0, and with padding."""
    context = "john lives in berlin"
    windows = build_windows(BERT, ("who", context, gold(("berlin", 14))))
    assert texts_of(windows, context, 0) == ["berlin"]
    batch = windows.collate(np.array([0]))
    assert batch["labels"][0, -1] == 0, "the last cell is [SEP]"


def test_questions_without_answer_and_without_gold():
    rows = [("who", "john lives", gold()), ("who", "john lives", None), ("who", "x", gold(("", 0)))]
    learned = build_windows(BERT, *rows)
    assert learned.answer_starts.tolist() == [0, NO_TARGET, 0]
    assert learned.target_weights.tolist() == [2, 0, 2]
    assert (learned.facts["without_answer"], learned.facts["unlabelled"]) == (2, 1)
    first_version = build_windows(BERT, *rows, learns_null=False)
    assert first_version.target_weights.tolist() == [0, 0, 0], "SQuAD 1.1 has no such question"


def test_the_null_index_is_where_the_classification_token_is():
    """Trailing, as XLNet has it (with the context first), in every window; else begin, else 0."""
    xlnet = tokenizer_like("metaspace", "$A [SEP] [CLS]", padding_side="left")
    xlnet = with_pairs(xlnet, "$A [SEP] $B:1 [SEP]:1 [CLS]:2", "$A [SEP] [CLS]")
    context = " ".join(WORDS * 3)
    windows = build_windows(xlnet, ("who", context, gold()), max_length=24, doc_stride=4)
    assert len(windows) > 2
    assert (windows.null_indices == windows.lengths - 1).all()
    assert (windows.answer_starts == windows.null_indices).all()
    part = slice(windows.offsets[0], windows.offsets[1])
    assert windows.begins[part][0] == 0, "the context comes first"
    # The tokenizer names a classification token that its template does not insert.
    bare = with_pairs(tokenizer_like("word_piece"), "$A [SEP] $B [SEP]", "$A [SEP]")
    assert build_windows(bare, ("who", context, gold())).null_indices.max() == 0


@pytest.mark.parametrize("prefix", [True, False])
@pytest.mark.parametrize("name", ["roberta", "gpt2"])
def test_offsets_of_byte_level_tokenizers_keep_every_character(name, prefix):
    """An answer at offset 0, one after two blanks, one of several bytes, one with blanks around."""
    tokenizer = byte_level_of_class(name, add_prefix_space=prefix)
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    context = "Berlin is  Wolfeschlegel 東京 👍🏽."
    answers = ["Berlin", "Wolfeschlegel", "東京", "👍🏽"]
    rows = [("where", context, gold((text, context.index(text)))) for text in answers]
    rows.append(("where", context, gold((" is ", 6))))
    windows = build_windows(tokenizer, *rows, max_length=200)
    found = [texts_of(windows, context, number)[0] for number in range(len(rows))]
    assert found == [*answers, "is"]
    assert windows.facts["cut"] == 0


def test_offsets_that_lose_characters_are_counted(monkeypatch):
    """As some tokenizers dropped the first letter of a text."""
    monkeypatch.setattr(encoding, "_span_of", lambda _, begin, end: (max(begin, 1), end))
    windows = build_windows(
        BERT, ("who", "john lives", gold(("john", 0))), name="offsets that lose a character"
    )
    assert windows.facts["cut"] == 1


def test_a_context_of_blanks_has_no_text_and_no_answer():
    windows = build_windows(BERT, ("who", " ", gold()), ("who", None, None), ("", "john", gold()))
    assert windows.begins[: windows.offsets[2]].max() == -1
    assert windows.num_words.tolist() == [0, 0, 1]


def test_blanks_before_a_question_say_nothing():
    one, other = ((f"{blanks}who", "john", gold()) for blanks in ("", " " * 900))
    windows = build_windows(BERT, one, other)
    assert windows.lengths[0] == windows.lengths[1]


def test_a_question_that_leaves_no_room_is_named():
    long = " ".join(WORDS * 9)
    room = 61 - len(BERT("who", add_special_tokens=False)["input_ids"])
    for question, stride, fragments in (
        (long, 4, ["question '0'", "no room is left", "--max_length"]),
        ("who", room, ["question '0'", f"--doc_stride {room}", f"give --doc_stride {room // 3}"]),
    ):
        with pytest.raises(InputError) as caught:
            build_windows(BERT, (question, long, gold()), max_length=64, doc_stride=stride)
        assert all(fragment in str(caught.value) for fragment in fragments), str(caught.value)
    # A context that fits into its window needs no neighbours, as in the scripts.
    assert len(build_windows(BERT, ("who", "john", gold()), max_length=64, doc_stride=room)) == 1


@pytest.mark.slow
def test_processes_change_no_byte(monkeypatch):
    rows = [("who lives", " ".join(WORDS * (n % 4)), gold()) for n in range(2100)]
    alone = build_windows(BERT, *rows, max_length=24, name="one process")
    monkeypatch.setattr(encoding, "WORTH_PROCESSES", 0)
    shared = build_windows(BERT, *rows, max_length=24, name="two processes", num_workers=2)
    for name in ARRAY_TYPES:
        assert getattr(alone, name).tobytes() == getattr(shared, name).tobytes()
    assert alone.facts == shared.facts
