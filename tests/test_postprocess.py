"""postprocess.py: the same predictions and loss as one sentence at a time, however batched."""

import numpy as np
import pytest
import tiny
import torch
from accelerate import Accelerator

from postprocess import predict_split
from tagloop.options.config import Config
from tagloop.tasks.tagging import alignment
from tagloop.tasks.tagging.predictions import to_tags
from tagloop.tasks.tagging.task import Tagging

LABELS = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]


@pytest.fixture(scope="module")
def accelerator():
    return Accelerator(cpu=True)


def predict(accelerator, model, windows, batch_size):
    """The predictions of one split of windows, as a run computes them."""
    task = Tagging(Config(), None, None, None, {"test": windows}, "f1")
    return predict_split(accelerator, model, task, "test", batch_size=batch_size)


@torch.no_grad()
def naive(model, tokenizer, tokens, tags, *, max_length: int, stride: int, every: bool):
    """Predictions and mean loss, one window at a time, in plain loops, without padding."""
    budget = max_length - tokenizer.num_special_tokens_to_add()
    predictions, losses = [], []
    for words, word_tags in zip(tokens, tags, strict=True):
        pieces = [
            tokenizer([word], is_split_into_words=True, add_special_tokens=False).input_ids
            or [tokenizer.unk_token_id]
            for word in words
        ]
        found = {}
        counts = [len(word) for word in pieces]
        for window in alignment.cut_windows(counts, budget=budget, stride=stride):
            ids, places = [tokenizer.cls_token_id], {}
            for word in range(window.start, window.end):
                places[word] = range(len(ids), len(ids) + len(pieces[word]))
                ids += pieces[word]
            ids.append(tokenizer.sep_token_id)
            log_p = model(input_ids=torch.tensor([ids])).logits[0].double().log_softmax(-1)
            for word in range(window.own_start, window.own_end):
                assert word not in found
                found[word] = LABELS[log_p[places[word][0]].argmax()]
                tag = word_tags[word]
                if tag is None:
                    continue
                for number, place in enumerate(places[word] if every else places[word][:1]):
                    label = tag if number == 0 else tag.replace("B-", "I-")
                    losses.append(-log_p[place, LABELS.index(label)].item())
        predictions.append([found[word] for word in range(len(words))])
    return predictions, sum(losses) / len(losses)


@pytest.mark.medium
@pytest.mark.parametrize("model_type", ["bert", "roberta"])
@pytest.mark.parametrize(("max_length", "every"), [(60, False), (60, True), (14, False)])
def test_any_batch_size_predicts_what_a_naive_loop_does(accelerator, model_type, max_length, every):
    tokenizer = tiny.tokenizer_like("word_piece" if model_type == "bert" else "byte_level")
    model = tiny.build_model(tiny.model_config(model_type, LABELS))
    words = [
        word
        for word in (*tiny.WORDS, *tiny.NO_TOKENS)
        if len(tokenizer.tokenize([word], is_split_into_words=True)) <= 10
    ]
    tokens = tiny.sentences(1, 20, longest=15, words=tuple(words))
    tags = tiny.random_tags(2, tokens, LABELS)
    split = tiny.build_windows(
        tokenizer, tokens, tags, LABELS,
        max_length=max_length, stride=4, label_all_tokens=every,
    )  # fmt: skip
    expected, loss = naive(
        model, tokenizer, tokens, tags, max_length=max_length, stride=4, every=every
    )
    if max_length == 14:
        assert len(split) > 1.5 * len(tokens)
    assert len({tag for sentence in expected for tag in sentence}) > 2
    for batch_size in (1, 2, 3, 8, 100):
        found = predict(accelerator, model, split, batch_size)
        id2label = dict(enumerate(LABELS))
        assert to_tags(found.predictions["label"], split.sentence_offsets, id2label) == expected
        assert found.loss == pytest.approx(loss, abs=2e-5)


def test_padding_to_a_fixed_length_changes_nothing(accelerator):
    tokenizer = tiny.tokenizer_like("word_piece")
    model = tiny.build_model(tiny.model_config("bert", LABELS))
    tokens = tiny.sentences(1, 12)
    tags = tiny.random_tags(2, tokens, LABELS)
    found = [
        predict(
            accelerator, model, tiny.build_windows(tokenizer, tokens, tags, LABELS, **options), 4
        )
        for options in ({}, {"pad_to_max_length": True}, {"pad_to_multiple_of": 8})
    ]
    assert len({each.loss for each in found}) == 1
    for each in found[1:]:
        np.testing.assert_array_equal(each.predictions["label"], found[0].predictions["label"])


def test_without_gold_tags_there_are_predictions_and_no_loss(accelerator):
    tokenizer = tiny.tokenizer_like("word_piece")
    model = tiny.build_model(tiny.model_config("bert", LABELS))
    tokens = [["john", "lives"], [], ["x"]]
    split = tiny.build_windows(tokenizer, tokens, [[None] * 2, [], [None]], LABELS)
    found = predict(accelerator, model, split, 2)
    assert found.loss is None
    tags = to_tags(found.predictions["label"], split.sentence_offsets, dict(enumerate(LABELS)))
    assert [len(sentence) for sentence in tags] == [2, 0, 1]
    assert all(tag in LABELS for sentence in tags for tag in sentence)


def test_dropout_is_off_while_predicting(accelerator):
    tokenizer = tiny.tokenizer_like("word_piece")
    model = tiny.build_model(tiny.model_config("bert", LABELS, hidden_dropout_prob=0.5)).train()
    tokens = tiny.sentences(1, 12)
    split = tiny.build_windows(tokenizer, tokens, tiny.random_tags(2, tokens, LABELS), LABELS)
    losses = {predict(accelerator, model, split, 4).loss for _ in range(3)}
    assert len(losses) == 1
