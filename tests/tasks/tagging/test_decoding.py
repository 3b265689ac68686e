"""--decoding legal: the likeliest legal tags of whole sentences, everywhere, for every cut."""

import itertools
import json

import pytest
import torch
from launches import launch, read_json
from tiny import as_legal, build_model, model_config, sentences, tokenizer_like

import train_loop
from tagloop.data.words.schemes import illegal_transitions
from tagloop.errors import InputError
from tagloop.tasks.tagging.decoding import build_legal, decode_legal
from tagloop.tasks.tagging.tagger import load_tagger

LABELS = {
    "IOB2": ["O", "B-PER", "I-PER", "I-LOC", "B-LOC"],
    "IOB1": ["O", "I-PER", "B-PER", "I-LOC"],
    "IOBES": ["B-PER", "I-PER", "O", "E-PER", "S-PER", "S-LOC"],
    "BILOU": ["O", "B-PER", "I-PER", "L-PER", "U-PER", "U-LOC"],
    "BMES": ["O", "B-PER", "M-PER", "E-PER", "S-PER", "S-LOC"],
    "IO": ["O", "PER", "LOC"],
}


@pytest.mark.parametrize("scheme", LABELS)
def test_no_legal_sequence_is_likelier(scheme):
    """Against every sequence of labels, in sentences of any length side by side."""
    labels, counts = LABELS[scheme], torch.tensor([0, 3, 1, 4, 0, 2, 3, 4, 1, 0])
    logits = torch.randn(int(counts.sum()), len(labels), generator=torch.manual_seed(0))
    found, probabilities = decode_legal(logits, counts, build_legal(labels, "model"))
    changed = 0
    sizes = counts.tolist()
    for own, label_ids in zip(logits.split(sizes), found.split(sizes), strict=True):
        sequences = [
            (sum(own[word, label].double() for word, label in enumerate(sequence)), sequence)
            for sequence in itertools.product(range(len(labels)), repeat=len(own))
            if not illegal_transitions([labels[label] for label in sequence], scheme)
        ]
        assert tuple(label_ids.tolist()) == max(sequences)[1]
        changed += label_ids.tolist() != own.argmax(1).tolist()
    assert changed == 0 if scheme == "IO" else changed > 1
    expected = logits.softmax(1)[torch.arange(len(found)), found]
    torch.testing.assert_close(probabilities, expected)


def test_a_sentence_has_the_same_labels_beside_many_others():
    legal = build_legal(LABELS["IOB2"], "model")
    counts = torch.tensor([5, 1, 9] * 700)
    logits = torch.randn(int(counts.sum()), 5, generator=torch.manual_seed(1)).float()
    found, _ = decode_legal(logits, counts, legal)
    each = zip(logits.split(counts.tolist()), counts.split(1), strict=True)
    alone = [decode_legal(own, count, legal)[0] for own, count in itertools.islice(each, 60)]
    assert found[: sum(map(len, alone))].tolist() == torch.cat(alone).tolist()


def test_labels_of_which_none_may_stand_everywhere_are_refused():
    with pytest.raises(InputError, match=r"^runs/x: --decoding legal needs .* such as O; .*E-PER"):
        build_legal(["B-PER", "E-PER"], "runs/x")


@pytest.mark.medium
@pytest.mark.parametrize("scheme", ["IOBES", "BILOU", "BMES"])
def test_models_of_other_schemes_are_applied_legally(scheme, tmp_path):
    model = build_model(model_config("bert", LABELS[scheme]))
    tokenizer_like("word_piece").save_pretrained(tmp_path / "model")  # Another one in each process.
    words = [[*itertools.chain(*sentences(0, 40))]]  # one long sentence, in several windows
    for number in range(100):
        torch.nn.init.normal_(model.classifier.weight, std=2)
        model.save_pretrained(tmp_path / "model")
        (best,) = load_tagger(tmp_path / "model")(words)
        (legal,) = load_tagger(as_legal(tmp_path / "model", tmp_path / f"legal-{number}"))(words)
        if len(illegal_transitions(best.tags, scheme)) > 9 and len({*legal.tags}) > 2:
            break
    else:
        pytest.fail("no model finds many labels")
    assert illegal_transitions(legal.tags, scheme) == []


def write_long(trained, path):
    """Sentences of up to 400 words, so that most transitions of two windows are in them."""
    text = (trained / "predictions.conll").read_text(encoding="utf-8")
    words = [line.split()[0] for line in text.splitlines() if line]
    starts = [0, 1, 3, 400, 500, 507]
    rows = [words[start:end] for start, end in itertools.pairwise(starts)]
    lines = [json.dumps({"tokens": row, "ner_tags": ["O"] * len(row)}) for row in rows]
    path.write_text("\n".join(lines), encoding="utf-8")
    return rows


@pytest.mark.slow
def test_evaluation_and_predict_are_legal_for_any_processes_and_batches(trained, tmp_path):
    model = as_legal(trained, tmp_path / "model")
    rows = write_long(trained, tmp_path / "long.jsonl")
    cuts = [(1, 8), (1, 1), (1, 64), (2, 3), (3, 8)]
    for processes, batch_size in cuts:
        runs = [
            ["--do_predict", f"--test_file={tmp_path / 'long.jsonl'}", "--max_length=20",
             "--stride=6", f"--model_name_or_path={model}", f"--decoding={decoding}",
             f"--per_device_eval_batch_size={batch_size}", "--no_report",
             f"--output_dir={tmp_path / f'{decoding}-{processes}-{batch_size}'}"]
            for decoding in ("legal", *(["best"] if (processes, batch_size) == cuts[0] else []))
        ]  # fmt: skip
        if processes == 1:
            for options in runs:
                train_loop.main(options)
        else:
            plan = tmp_path / f"{processes}.json"
            plan.write_text(json.dumps(runs), encoding="utf-8")
            launch(str(plan), script="tests/mains_worker.py", processes=processes)

    def tags_in(run):
        lines = (tmp_path / run / "predictions.txt").read_text(encoding="utf-8").splitlines()
        return [line.split() for line in lines]

    def faults(found):
        return sum(len(illegal_transitions(tags, "IOB2")) for tags in found)

    expected = tags_in("legal-1-8")
    assert faults(tags_in("best-1-8")) > 0, "else legal tags say little"
    assert faults(expected) == 0
    assert len({tag for tags in expected for tag in tags}) > 3
    for processes, batch_size in cuts:
        folder = tmp_path / f"legal-{processes}-{batch_size}"
        for name in ("predictions.txt", "predictions.conll", "test_results.json"):
            assert (folder / name).read_bytes() == (tmp_path / "legal-1-8" / name).read_bytes()
    assert [tagged.tags for tagged in load_tagger(model)(rows)] == expected
    assert [tagged.tags for tagged in load_tagger(model, batch_size=2)(rows)] == expected


@pytest.mark.slow
def test_a_model_remembers_how_it_was_trained(trained, tmp_path):
    write_long(trained, tmp_path / "long.jsonl")
    data = [f"--test_file={tmp_path / 'long.jsonl'}", "--max_length=20", "--no_report"]
    first, tags = tmp_path / "first", {}
    runs = {
        "first": ["--do_train", f"--train_file={tmp_path / 'long.jsonl'}", "--learning_rate=1e-9",
                  f"--model_name_or_path={trained}", "--max_train_steps=1", "--decoding=legal"],
        "same": [f"--model_name_or_path={first}"],
        "best": [f"--model_name_or_path={first}", "--decoding=best"],
    }  # fmt: skip
    for name, options in runs.items():
        train_loop.main(["--do_predict", *data, *options, f"--output_dir={tmp_path / name}"])
        tags[name] = (tmp_path / name / "predictions.txt").read_text(encoding="utf-8")
    assert read_json(first / "config.json")["tagloop"]["decoding"] == "legal"
    assert tags["first"] == tags["same"] != tags["best"]
