"""data/schemes.py: detection, conversion and reading of span tags."""

import itertools
import random
from collections import Counter

import pytest
from other_schemes import from_iob2

from tagloop.data.words.schemes import (
    SCHEMES,
    SchemeDetector,
    continuation,
    illegal_transitions,
    legal_transitions,
    spans,
    to_iob2,
)
from tagloop.errors import InputError

# One sentence with every case: lone, long, adjacent of one type, adjacent of two types.
WRITTEN = {
    "IOB1": "I-PER I-PER B-PER O I-LOC I-ORG I-ORG I-ORG O",
    "IOB2": "B-PER I-PER B-PER O B-LOC B-ORG I-ORG I-ORG O",
    "IOBES": "B-PER E-PER S-PER O S-LOC B-ORG I-ORG E-ORG O",
    "BILOU": "B-PER L-PER U-PER O U-LOC B-ORG I-ORG L-ORG O",
    "BMES": "B-PER E-PER S-PER O S-LOC B-ORG M-ORG E-ORG O",
}
EXACT = tuple(WRITTEN)  # all but IO, which cannot tell spans of one type side by side
SPANS = [(0, 2, "PER"), (2, 3, "PER"), (4, 5, "LOC"), (5, 8, "ORG")]


def detect(*sentences: str) -> str:
    detector = SchemeDetector()
    for number, tags in enumerate(sentences):
        detector.add(tags.split(), place=f"train[{number}]")
    return detector.result()


def random_spans(rng: random.Random, length: int) -> list[tuple[int, int, str]]:
    """Valid spans in order, often adjacent, often of the same type."""
    result, position = [], 0
    while position < length:
        if rng.random() < 0.4:
            position += 1
            continue
        end = min(length, position + rng.randint(1, 4))
        result.append((position, end, rng.choice(["PER", "LOC", "B-side"])))
        position = end
    return result


def write_iob2(length: int, span_list: list[tuple[int, int, str]]) -> list[str]:
    tags = ["O"] * length
    for start, end, span_type in span_list:
        tags[start] = f"B-{span_type}"
        for index in range(start + 1, end):
            tags[index] = f"I-{span_type}"
    return tags


@pytest.mark.parametrize("scheme", EXACT)
def test_every_scheme_by_hand(scheme):
    tags = WRITTEN[scheme].split()
    iob2 = WRITTEN["IOB2"].split()
    assert detect(WRITTEN[scheme]) == scheme
    assert to_iob2(tags, scheme) == iob2
    assert from_iob2(iob2, scheme) == tags
    assert spans(iob2) == SPANS
    assert spans(WRITTEN["IOB1"].split()) == SPANS


@pytest.mark.parametrize("scheme", EXACT)
def test_round_trip_on_random_spans(scheme):
    rng = random.Random(7)
    for _ in range(300):
        length = rng.randint(0, 15)
        wanted = random_spans(rng, length)
        iob2 = write_iob2(length, wanted)
        assert spans(iob2) == wanted
        written = from_iob2(iob2, scheme)
        assert to_iob2(written, scheme) == iob2
        assert from_iob2(to_iob2(written, scheme), scheme) == written


@pytest.mark.parametrize("source", EXACT)
@pytest.mark.parametrize("target", EXACT)
def test_any_scheme_to_any_other(source, target):
    iob2 = to_iob2(WRITTEN[source].split(), source)
    assert from_iob2(iob2, target) == WRITTEN[target].split()


@pytest.mark.parametrize(
    ("sentences", "scheme"),
    [
        ([], "IOB2"),
        (["", "O O"], "IOB2"),
        (["B-PER"], "IOB2"),
        (["I-PER"], "IOB1"),
        (["O I-PER O", "O I-LOC I-PER"], "IOB1"),
        (["I-PER B-PER"], "IOB1"),  # B- directly after a span of its type
        (["I-PER B-PER B-PER I-PER"], "IOB1"),
        (["B-PER B-PER"], "IOB2"),
        (["B-PER I-PER B-LOC"], "IOB2"),
        (["I-PER", "I-PER"], "IOB1"),  # a span does not reach into the next sentence
        (["S-PER"], "IOBES"),
        (["I-PER E-PER O"], "IOBES"),
        (["O U-PER"], "BILOU"),
        (["B-PER L-PER"], "BILOU"),
        (["I-PER", "B-PER", "S-PER"], "IOBES"),  # inconsistent, but readable
        (["B-PER M-PER E-PER", "S-LOC"], "BMES"),
        (["B-PER M-PER E-PER", "B-LOC"], "BMES"),  # BMEO: no S-
        (["B-PER E-PER", "W-LOC"], "BMES"),  # BMEWO
        (["PER PER O", "O O LOC"], "IO"),
        (["O O art-music O"], "IO"),
    ],
)
def test_detection(sentences, scheme):
    assert detect(*sentences) == scheme


def test_all_schemes_are_tried():
    assert {*EXACT, "IO"} == set(SCHEMES)


def test_unknown_neighbours_prove_no_scheme():
    detector = SchemeDetector()
    detector.add([None, "I-PER", "I-PER", None, "I-LOC", None, "B-LOC"], place="train[0]")
    assert detector.result() == "IOB2"  # nothing against it
    detector.add(["B-PER", "I-PER", None, "I-PER", "O", "B-LOC"], place="train[1]")
    assert (detector.result(), detector.remark()) == ("IOB2", None)
    detector.add([None, "O", "I-PER"], place="train[2]")
    with pytest.raises(InputError, match=r"I-PER at train\[2\] \(word 3\)"):
        detector.result()


def test_partly_annotated_iob1_is_iob1():
    detector = SchemeDetector()
    detector.add([None, "I-PER", "B-PER", None, "B-LOC", "O", "I-LOC"], place="train[0]")
    assert detector.result() == "IOB1"


def test_io_reads_and_writes():
    tags = ["PER", "PER", "LOC", None, "LOC", "O", "PER"]
    iob2 = ["B-PER", "I-PER", "B-LOC", None, "B-LOC", "O", "B-PER"]
    assert to_iob2(tags, "IO") == iob2
    assert from_iob2(["B-PER", "I-PER", "B-LOC", "O"], "IO") == ["PER", "PER", "LOC", "O"]
    with pytest.raises(InputError, match="'B-PER' is not O and has a prefix"):
        to_iob2(["O", "B-PER"], "IO")


@pytest.mark.parametrize(
    "sentence",
    ["DT NN VBD O", "NN NN NN O O", "B I O O O", "O O O X-PER", "DT NN VBD"],
)
def test_plain_tags_are_io_only_where_that_is_sure(sentence):
    with pytest.raises(InputError, match="--label_scheme IO") as caught:
        detect("O", sentence)
    assert "train[1] (word " in str(caught.value)


def test_io_is_not_advised_where_it_does_not_fit():
    for sentence in ("O O O PER B-LOC", "PER OTHER OTHER OTHER", "(PERSON* *) * * *", "B_PER O O"):
        with pytest.raises(InputError) as caught:
            detect(sentence)
        assert "--label_scheme IO" not in str(caught.value)


@pytest.mark.parametrize(
    "sentences",
    [["I-PER O B-PER"], ["O B-PER", "I-PER"], ["B-PER I-LOC"], ["I-PER B-LOC"]],
)
def test_mixed_iob_names_both_places_and_the_remedy(sentences):
    with pytest.raises(InputError, match="mix") as caught:
        detect(*sentences)
    message = str(caught.value)
    assert "--label_scheme IOB2" in message
    assert "I-" in message
    assert "B-" in message
    assert message.count("at train[") == 2


def test_mixed_iob_message_tells_the_first_of_each_reading():
    with pytest.raises(InputError) as caught:
        detect("O", "O B-PER I-PER B-PER", "B-LOC", "O I-ORG", "I-LOC")
    assert "B-PER at train[1] (word 2)" in str(caught.value)
    assert "I-ORG at train[3] (word 2)" in str(caught.value)


@pytest.mark.parametrize(("usual", "slip"), [("I-PER", "B-PER"), ("B-PER", "I-PER")])
def test_a_slip_in_a_hundred_is_remarked_not_refused(usual, slip):
    sentences = [usual] * 100 + [slip]
    detector = SchemeDetector()
    for number, tag in enumerate(sentences):
        detector.add([tag], place=f"train[{number}]")
    assert detector.result() == ("IOB1" if usual == "I-PER" else "IOB2")
    assert f"{slip} at train[100] (word 1)" in detector.remark()
    with pytest.raises(InputError, match="mix"):
        detect(*[usual] * 99, slip)


def test_nothing_to_remark_where_every_tag_fits():
    detector = SchemeDetector()
    detector.add(WRITTEN["IOB1"].split(), place="train[0]")
    assert detector.remark() is None


def test_mixed_iobes_and_bilou():
    with pytest.raises(InputError) as caught:
        detect("B-PER E-PER", "O U-LOC")
    assert "E-PER at train[0] (word 2)" in str(caught.value)
    assert "U-LOC at train[1] (word 2)" in str(caught.value)


@pytest.mark.parametrize("tag", ["PER", "NN", "X-PER", "B", "B-", "b-PER", "-", "", "BI-PER"])
def test_tags_without_a_prefix_are_refused_with_place_and_remedy(tag):
    detector = SchemeDetector()
    detector.add(["O", tag], place="train.conll:12")
    with pytest.raises(InputError, match="--task_name pos") as caught:
        detector.result()
    assert "train.conll:12" in str(caught.value)
    assert repr(tag) in str(caught.value)


@pytest.mark.parametrize(
    ("tags", "scheme", "iob2"),
    [
        ("O I-PER I-PER", "IOB2", "O B-PER I-PER"),
        ("B-PER I-LOC", "IOB2", "B-PER B-LOC"),
        ("B-PER O B-PER I-PER", "IOB1", "B-PER O B-PER I-PER"),
        ("I-PER I-PER", "IOBES", "B-PER I-PER"),
        ("E-PER E-PER", "IOBES", "B-PER B-PER"),
        ("S-PER I-PER", "IOBES", "B-PER B-PER"),
        ("B-PER E-LOC", "IOBES", "B-PER B-LOC"),
        ("B-PER L-PER L-PER", "BILOU", "B-PER I-PER B-PER"),
        ("U-PER I-PER L-PER", "BILOU", "B-PER B-PER I-PER"),
        ("W-PER M-PER E-PER S-PER", "BMES", "B-PER B-PER I-PER B-PER"),
    ],
)
def test_lenient_reading(tags, scheme, iob2):
    assert to_iob2(tags.split(), scheme) == iob2.split()


def test_a_word_without_a_tag_changes_no_gold():
    """Where I- never opens a span, the span may have begun at the word that nobody tagged."""
    for scheme, tag in [("IOB2", "I"), ("IOBES", "E"), ("BILOU", "L"), ("BMES", "M")]:
        assert to_iob2(["B-PER", None, f"{tag}-PER"], scheme) == ["B-PER", None, "I-PER"]
    assert to_iob2(["B-PER", None, "I-PER"], "IOB1") == ["B-PER", None, "B-PER"]


def test_a_prefix_of_another_scheme_is_refused():
    with pytest.raises(InputError, match=r"dev\[3\].*'S-PER'"):
        to_iob2(["S-PER"], "IOB2", place="dev[3]")
    with pytest.raises(InputError, match="'E-PER'"):
        to_iob2(["B-PER", "E-PER"], "BILOU")


@pytest.mark.parametrize("scheme", EXACT)
def test_legal_transitions_are_those_without_a_fault(scheme):
    labels = sorted({*WRITTEN[scheme].split(), *WRITTEN[scheme].replace("ORG", "PER").split()})
    legal, number = legal_transitions(labels), {tag: at for at, tag in enumerate(labels)}
    rng, num_legal = random.Random(3), 0
    for _ in range(500):
        tags = rng.choices(labels, k=rng.randint(1, 4))
        at = [-1, *(number[tag] for tag in tags), -1]
        is_legal = all(legal[before][after] for before, after in itertools.pairwise(at))
        assert is_legal == (not illegal_transitions(tags, scheme)), tags
        num_legal += is_legal
    assert 50 < num_legal < 450


def test_spans_reads_stray_tags_like_conlleval():
    assert spans(["I-A", "I-A", "I-B", "O", "I-B", "B-B"]) == [
        (0, 2, "A"),
        (2, 3, "B"),
        (4, 5, "B"),
        (5, 6, "B"),
    ]


@pytest.mark.parametrize(
    ("tag", "wanted"),
    [("B-PER", "I-PER"), ("I-PER", "I-PER"), ("O", "O"), ("B-B-side", "I-B-side"), ("NN", "NN")],
)
def test_continuation(tag, wanted):
    assert continuation(tag) == wanted


def read_column(path, column: int):
    """(tags, "file:line") of every sentence of a CoNLL file."""
    tags = []
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), start=1):
        fields = line.split()
        if fields:
            tags.append(fields[column])
        elif tags:
            yield tags, f"{path.name}:{number - len(tags)}"
            tags = []
    if tags:
        yield tags, f"{path.name}:end"


@pytest.mark.parametrize(
    ("file", "scheme"),
    [
        ("conll2003/eng.train", "IOB1"),  # with two slips
        ("conll2003/eng.testa", "IOB1"),
        ("conll2003/eng.testb", "IOB1"),
        ("wnut17/wnut17train.conll", "IOB2"),
        ("wnut17/wnut17test.conll", "IOB2"),
    ],
)
def test_schemes_of_real_corpora(corpora, file, scheme):
    detector = SchemeDetector()
    for tags, place in read_column(corpora / file, column=-1):
        detector.add(tags, place)
    assert detector.result() == scheme
    remark = detector.remark()
    if file == "conll2003/eng.train":
        assert remark.startswith(
            "tags are IOB1, but 2 do not fit, the first is B-MISC at eng.train:"
        )
    else:
        assert remark is None


def test_entities_of_conll2003_after_conversion(corpora):
    counts = Counter()
    for tags, place in read_column(corpora / "conll2003/eng.testb", column=-1):
        iob2 = to_iob2(tags, "IOB1", place=place)
        counts.update(span_type for _, _, span_type in spans(iob2))
        assert from_iob2(iob2, "IOB1") == tags
    assert counts == {"LOC": 1668, "MISC": 702, "ORG": 1661, "PER": 1617}
