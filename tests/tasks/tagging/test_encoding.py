"""encoding.py: the same bytes as word by word, however many processes, in bounded memory."""

import multiprocessing
import os
import signal
import threading
import time

import datasets
import numpy as np
import one_word_at_a_time
import pytest
import tiny
from tokenizers import pre_tokenizers

from tagloop.data.storage import arrays
from tagloop.errors import InputError, RunStopped
from tagloop.models.tokenizers import SubTokens, probe_template, tokenize_words
from tagloop.tasks.tagging import encoding

# Some B- have no I-, and there are tags of no scheme.
LABELS = {"O": 0, "B-PER": 1, "I-PER": 2, "B-LOC": 3, "NOUN": 4}
TOKENIZERS = {
    "bert": ("word_piece", "[CLS] $A [SEP]"),
    "gpt2": ("byte_level", "$A"),
    "xlnet": ("metaspace", "$A [SEP] [CLS]"),
}


def tokenizer_of(name: str):
    kind, single = TOKENIZERS[name]
    return tiny.tokenizer_like(kind, single)


def corpus(seed: int, number: int, *, longest: int = 12) -> dict[str, list]:
    words = (*tiny.WORDS, *tiny.NO_TOKENS, "".join(tiny.WORDS))
    tokens = tiny.sentences(seed, number, longest=longest, words=words)
    tokens[::7] = [[] for _ in tokens[::7]]
    return {"tokens": tokens, "tags": tiny.random_tags(seed, tokens, LABELS)}


def dataset_of(columns: dict[str, list]) -> datasets.Dataset:
    strings = datasets.List(datasets.Value("string"))
    features = datasets.Features({"tokens": strings, "tags": strings})
    if "document" in columns:
        features["document"] = datasets.Value("int32")
    return datasets.Dataset.from_dict(columns, features=features)


def options(*, budget: int = 30, stride: int = 7, label_all_tokens: bool = False) -> dict:
    how = {"label2id": LABELS, "budget": budget, "stride": stride}
    return how | {"label_all_tokens": label_all_tokens}


def encode(
    folder, columns, tokenizer, num_workers=1, **how
) -> tuple[dict[str, bytes], dict[str, int]]:
    """The bytes of every file, and the facts."""
    folder.mkdir()
    encoder = encoding.build_encoder(tokenizer, probe_template(tokenizer), **how)
    facts = encoding.encode_sentences(folder, dataset_of(columns), encoder, num_workers=num_workers)
    return {path.name: path.read_bytes() for path in folder.iterdir()}, facts


def expected(folder, columns, tokenizer, **how) -> tuple[dict[str, bytes], dict[str, int]]:
    folder.mkdir()
    template = probe_template(tokenizer)
    arrays, facts = one_word_at_a_time.encode_sentences([columns], tokenizer, template, **how)
    for name, values in arrays.items():
        np.save(folder / f"{name}.npy", values)
    return {path.name: path.read_bytes() for path in folder.iterdir()}, facts


@pytest.mark.parametrize("name", TOKENIZERS)
@pytest.mark.parametrize("every", [False, True])
@pytest.mark.parametrize(("budget", "stride"), [(1000, 250), (30, 7), (9, 0), (8, 4), (1, 0)])
@pytest.mark.medium
def test_files_are_those_of_the_slow_way(tmp_path, monkeypatch, name, every, budget, stride):
    monkeypatch.setattr(arrays, "BATCH", 17)
    tokenizer, columns = tokenizer_of(name), corpus(budget, 150, longest=30)
    how = options(budget=budget, stride=stride, label_all_tokens=every)
    files, facts = encode(tmp_path / "fast", columns, tokenizer, **how)
    assert (files, facts) == expected(tmp_path / "slow", columns, tokenizer, **how)
    if budget == 30:
        if name == "gpt2":  # knows every byte
            assert facts.pop("words_unknown") == 0
        assert min(facts.values()) > 0  # the corpus has all that is hard


@pytest.mark.parametrize("name", TOKENIZERS)
@pytest.mark.parametrize(
    ("budget", "stride", "most"), [(1000, 250, 40), (60, 7, 5), (30, 7, 29), (9, 2, 3), (1, 0, 1)]
)
@pytest.mark.medium
def test_context_is_that_of_the_slow_way(tmp_path, monkeypatch, name, budget, stride, most):
    """Neighbours come from beyond the batch that is encoded, and from the same document alone."""
    monkeypatch.setattr(arrays, "BATCH", 17)
    tokenizer, columns = tokenizer_of(name), corpus(budget, 150, longest=30)
    columns["document"] = [number // 9 for number in range(150)]
    columns["tokens"][20] = ["-DOCSTART-"]  # stays a row of a table, and begins a document
    columns["tags"][20] = [None]
    how = options(budget=budget, stride=stride) | {"context_tokens": most}
    files, facts = encode(tmp_path / "fast", columns, tokenizer, **how)
    assert (files, facts) == expected(tmp_path / "slow", columns, tokenizer, **how)
    without, other_facts = encode(tmp_path / "0", columns, tokenizer, **how | {"context_tokens": 0})
    assert facts == other_facts
    for array in ("references", "sentence_offsets", "word_offsets", "num_targets"):
        assert files[f"{array}.npy"] == without[f"{array}.npy"], "a word is predicted once"
    assert (files["input_ids.npy"] != without["input_ids.npy"]) == (budget > 1)


@pytest.mark.parametrize(
    "tokens", [[], [[]], [[], []], [[""]], [[], ["john"], []]], ids=["none", "0", "00", "-", "010"]
)
def test_sentences_without_words(tmp_path, tokens):
    columns = {"tokens": tokens, "tags": [["O"] * len(words) for words in tokens]}
    tokenizer = tokenizer_of("bert")
    files, facts = encode(tmp_path / "fast", columns, tokenizer, **options())
    if tokens:
        assert (files, facts) == expected(tmp_path / "slow", columns, tokenizer, **options())
    assert len(np.load(tmp_path / "fast" / "sentence_offsets.npy")) == len(tokens) + 1


@pytest.mark.medium
def test_chosen_rows_and_real_sentences(corpora, tmp_path):
    lines = (corpora / "wnut17" / "wnut17train.conll").read_text(encoding="utf-8").split("\n")
    tokens, tags = [[]], [[]]
    for line in lines:
        word, _, tag = line.partition("\t")
        if tag:
            tokens[-1].append(word)
            tags[-1].append("O" if tag == "O" else "B-PER")
        else:
            tokens.append([])
            tags.append([])
    kept = np.random.default_rng(0).permutation(len(tokens))[:500]
    tokenizer = tokenizer_of("bert")
    template = probe_template(tokenizer)
    dataset = dataset_of({"tokens": tokens, "tags": tags}).select(kept)
    encoder = encoding.build_encoder(tokenizer, template, **options())
    encoding.encode_sentences(tmp_path, dataset, encoder)
    chosen = {"tokens": [tokens[row] for row in kept], "tags": [tags[row] for row in kept]}
    arrays, _ = one_word_at_a_time.encode_sentences([chosen], tokenizer, template, **options())
    for name, values in arrays.items():
        np.testing.assert_array_equal(np.load(tmp_path / f"{name}.npy"), values)


PREPENDS = {
    "word_piece": None,
    "byte_level": None,
    "metaspace": None,
    "metaspace, first": pre_tokenizers.Metaspace(prepend_scheme="first"),
    "metaspace, never": pre_tokenizers.Metaspace(prepend_scheme="never"),
    "added tokens": None,
}


@pytest.mark.parametrize("kind", PREPENDS)
def test_a_word_tokenized_once_has_the_ids_it_has_in_every_sentence(kind):
    tokenizer = tiny.tokenizer_like(kind.split(",")[0] if kind != "added tokens" else "word_piece")
    if PREPENDS[kind] is not None:
        tokenizer.backend_tokenizer.pre_tokenizer = PREPENDS[kind]
    if kind == "added tokens":
        tokenizer.add_tokens(["john", "unseen-word"])
    tokens = tiny.sentences(2, 60, words=(*tiny.WORDS, *tiny.NO_TOKENS, "[MASK]", "a [SEP] b"))
    sub_tokens_of = SubTokens(tokenizer)
    for words, whole in zip(tokens, tokenize_words(tokenizer, tokens), strict=True):
        distinct = sorted(set(words))
        once = dict(zip(distinct, sub_tokens_of(distinct), strict=True))
        assert [once[word] for word in words] == whole


def test_words_kept_are_bounded(monkeypatch):
    monkeypatch.setattr(SubTokens, "MOST", 100)
    sub_tokens_of = SubTokens(tokenizer_of("bert"))
    words = [f"x{number}" for number in range(1000)]
    batches = [words[at : at + 50] for at in range(0, 1000, 50)]
    together = [pieces for batch in batches for pieces in sub_tokens_of(batch)]
    assert together == [tokenize_words(sub_tokens_of.tokenizer, [[word]])[0][0] for word in words]
    assert len(sub_tokens_of.known) <= 150


@pytest.mark.slow
def test_processes_change_no_byte(tmp_path, monkeypatch):
    monkeypatch.setattr(encoding, "WORTH_PROCESSES", 0)
    columns = corpus(3, 25_500)
    alone = encode(tmp_path / "1", columns, tokenizer_of("bert"), **options())
    shared = encode(tmp_path / "2", columns, tokenizer_of("bert"), **options(), num_workers=2)
    assert shared == alone


@pytest.mark.slow
def test_a_killed_process_stops_the_run_with_a_remedy(tmp_path, monkeypatch):
    monkeypatch.setattr(encoding, "WORTH_PROCESSES", 0)

    def kill():
        while not (children := multiprocessing.active_children()):
            time.sleep(0.01)
        os.kill(children[0].pid, signal.SIGKILL)

    threading.Thread(target=kill, daemon=True).start()
    with pytest.raises(RunStopped, match="--preprocessing_num_workers"):
        encode(tmp_path / "1", corpus(3, 2000), tokenizer_of("bert"), **options(), num_workers=2)


def test_words_that_the_tokenizer_does_not_know_are_counted_and_nearly_all_are_refused(tmp_path):
    tokenizer = tokenizer_of("bert")
    encoder = encoding.build_encoder(tokenizer, probe_template(tokenizer), **options())

    def facts_of(words):
        dataset = dataset_of({"tokens": [words], "tags": [["O"] * len(words)]})
        return encoding.encode_sentences(tmp_path, dataset, encoder)

    facts = facts_of(["john", "東京", "berlin", "x東京"] * 5)
    assert (facts["words"], facts["words_unknown"]) == (20, 10)
    assert facts_of(["東京"] * 19)["words_unknown"] == 19  # so few show nothing
    with pytest.raises(InputError, match=r"18 of 20 words .* does not know") as caught:
        facts_of(["東京"] * 18 + ["john"] * 2)
    assert "--tokenizer_name" in str(caught.value)


def test_more_labels_than_the_arrays_can_number_are_refused():
    tokenizer = tokenizer_of("bert")
    most = np.iinfo(np.int16).max
    for number in (most, most + 1):
        how = options() | {"label2id": {f"tag{at}": at for at in range(number)}}
        if number == most:
            encoding.build_encoder(tokenizer, probe_template(tokenizer), **how)
            continue
        with pytest.raises(InputError, match="32,768 labels, and at most 32,767"):
            encoding.build_encoder(tokenizer, probe_template(tokenizer), **how)
