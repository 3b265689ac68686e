"""Summarization: what is learned equals transformers' own loss; what is generated and scored."""

import copy
import itertools
import json
import re
import shutil
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from launches import read_json
from transformers import (
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    BertConfig,
    DataCollatorForSeq2Seq,
    MarianConfig,
    T5Config,
    get_scheduler,
)

import predict
import train_loop
from tagloop.errors import InputError
from tagloop.options.command_line import parse_config
from tagloop.options.config import Config
from tagloop.outcome.predictions_file import read_predictions_file, write_predictions_file
from tagloop.sample.bulletins import build_sample_bulletins
from tagloop.sample.model import build_sample_tokenizer, end_with_sep
from tagloop.tasks.summarization.columns import read_pairs
from tagloop.tasks.summarization.predictor import load_predictor
from tagloop.tasks.summarization.scores import is_blind, rouge_of
from tagloop.training.losses import UnreadLosses
from tagloop.training.optim import parameter_groups

pytest.importorskip("rouge_score", reason="pip install -r requirements-summarization.txt")
PAIRS = build_sample_bulletins()["train"][:160]
TINY = {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 1, "num_heads": 4}
TASK = "--task_name=summarization"


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Folders of a T5 without dropout and of an encoder: a configuration and a tokenizer."""
    folder = tmp_path_factory.mktemp("models")
    words = (f"{row['text']} {row['summary']}".split() for row in PAIRS)
    tokenizer = build_sample_tokenizer(words)
    end_with_sep(tokenizer)
    ids = {"pad_token_id": 0, "eos_token_id": tokenizer.eos_token_id, "decoder_start_token_id": 0}
    t5 = T5Config(vocab_size=len(tokenizer), dropout_rate=0.0, **ids, **TINY)
    for name, config in (("t5", t5), ("encoder", BertConfig(vocab_size=len(tokenizer)))):
        config.save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
    return folder


def write_rows(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def arguments(folder, model, data, *options, output="run"):
    return [
        TASK, f"--config_name={model}", f"--tokenizer_name={model}", f"--train_file={data}",
        f"--output_dir={folder / output}", *options,
    ]  # fmt: skip


@pytest.mark.medium
def test_the_losses_of_20_updates_are_those_of_transformers(models, tmp_path):
    """The same model, batches and schedule; transformers' collator pads and shifts."""
    data = write_rows(tmp_path / "train.jsonl", PAIRS)
    config = parse_config(
        arguments(tmp_path, models / "t5", data, "--learning_rate=1e-3", "--max_train_steps=20",
                  "--per_device_train_batch_size=8", "--source_prefix=short: ",
                  "--max_source_length=20", "--max_target_length=9")
    )  # fmt: skip
    accelerator = train_loop.build_accelerator(mixed_precision=None, log_with=None)
    run = train_loop.build(config, accelerator, tmp_path / "run", None)
    model = copy.deepcopy(run.model)
    optimizer = torch.optim.AdamW(parameter_groups(model, weight_decay=0.0), lr=1e-3, fused=True)
    schedule = get_scheduler("linear", optimizer, 0, 20)
    tokenizer = run.task.tokenizer
    collator = DataCollatorForSeq2Seq(tokenizer, model=model)
    examples = run.task.examples["train"]
    plan = train_loop.plan_epoch(
        examples.lengths, seed=config.seed, epoch=0, global_batch_size=8, group_by_length=False
    )
    updates = train_loop.build_dataloader(examples, plan, accelerator, per_device_batch_size=8)
    numbers = []
    for update in updates:
        unread = UnreadLosses()
        unread.add(train_loop.train_step(run, update))
        run.state.step += 1
        unread.read(accelerator, run.state)
        own = run.state.take_log_loss()
        rows = [PAIRS[number] for number in update.example_ids]
        texts = [f"short: {row['text']}" for row in rows]
        inputs = tokenizer(texts, max_length=20, truncation=True)
        summaries = [row["summary"] for row in rows]
        labels = tokenizer(text_target=summaries, max_length=9, truncation=True)["input_ids"]
        pairs = zip(inputs["input_ids"], labels, strict=True)
        batch = collator([{"input_ids": one, "labels": two} for one, two in pairs])
        loss = model.train()(**batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        assert own == pytest.approx(loss.item(), abs=1e-5), f"update {run.state.step}"
        numbers += update.example_ids.tolist()
    assert run.state.step == 20
    assert sorted(numbers) == list(range(160))


@pytest.fixture(scope="module")
def trained(models, tmp_path_factory):
    """The folder of a small T5 that learned a few of the pairs, and its test data."""
    folder = tmp_path_factory.mktemp("trained")
    data = write_rows(folder / "train.jsonl", PAIRS[:40])
    rows = [
        *PAIRS[:9],
        {"text": PAIRS[9]["text"], "summary": "Ann left.\nBo stayed."},
        {"text": PAIRS[10]["text"], "summary": None},
        {"text": " ", "summary": "Something."},
    ]
    test = write_rows(folder / "test.jsonl", rows)
    train_loop.main(
        arguments(folder, models / "t5", data, f"--test_file={test}", "--num_train_epochs=30",
                  "--learning_rate=1e-2", "--max_target_length=24", "--val_max_target_length=6",
                  "--generation_max_length=20", "--num_beams=2", "--source_prefix=short: ")
    )  # fmt: skip
    return folder, rows


def test_every_row_has_a_line_and_whole_references_are_scored(trained):
    from rouge_score.rouge_scorer import RougeScorer

    folder, rows = trained
    lines = (folder / "run" / "generated_predictions.txt").read_text().splitlines()
    results = read_json(folder / "run" / "test_results.json")
    assert len(lines) == len(rows) == 12
    scorer = RougeScorer(["rouge1", "rouge2", "rougeL"], use_stemmer=True)
    pairs = [
        (row["summary"], line, row["text"].split(" . ")[0])
        for row, line in zip(rows, lines, strict=True)
    ]
    scores = [scorer.score(gold, line) for gold, line, _ in pairs[:10]]
    for name in ("rouge1", "rouge2", "rougeL"):
        mean = 100 * np.mean([score[name].fmeasure for score in scores])
        assert results[f"test_{name}"] == pytest.approx(mean, abs=1e-3), name
    trivial = 100 * np.mean([scorer.score(g, lead)["rouge1"].fmeasure for g, _, lead in pairs[:10]])
    assert results["test_baseline_rouge1"] == pytest.approx(trivial, abs=1e-3)
    assert 30 < results["test_rouge1"] < 100, "else equal summaries say little"
    assert 5 < results["test_gen_len"] <= 19
    assert results["test_loss"] > 0


def test_the_saved_folder_generates_the_same_in_transformers_and_in_the_predictor(trained):
    folder, rows = trained
    lines = (folder / "run" / "generated_predictions.txt").read_text().splitlines()
    tokenizer = AutoTokenizer.from_pretrained(folder / "run")
    model = AutoModelForSeq2SeqLM.from_pretrained(folder / "run").eval()
    assert model.config.use_cache, "training without a cache does not show in the saved folder"
    texts = [row["text"] for row in rows]
    for text, line in list(zip(texts, lines, strict=True))[:4]:
        ids = tokenizer(f"short: {text}", return_tensors="pt").input_ids
        theirs = model.generate(input_ids=ids)  # beams and length are those of its own settings
        assert tokenizer.decode(theirs[0], skip_special_tokens=True) == line
    for batch_size in (1, 8):  # a row alone has the beams that it has in a batch
        found = load_predictor(folder / "run", batch_size=batch_size)(texts)
        assert [each.values["summary_text"] for each in found] == lines
    out = folder / "out.jsonl"
    predict.main([str(folder / "run"), f"--file={folder / 'test.jsonl'}", f"--output={out}"])
    assert [json.loads(line)["summary_text"] for line in out.read_text().splitlines()] == lines


def test_the_card_and_the_report_of_summaries(trained):
    if find_spec("matplotlib") is None:
        pytest.skip("matplotlib is missing")
    from report import main as report

    folder, _ = trained
    card = (folder / "run" / "README.md").read_text()
    assert "pipeline_tag: summarization" in card
    assert "type: rouge" in card
    assert "'short: ' + " in card
    report([str(folder / "run"), f"--output={folder / 'page.html'}"])
    page = (folder / "page.html").read_text()
    for part in ("Worst pairs", "first sentences of the texts", "rougeLsum", "Ann left."):
        assert part in page, part
    heading = page.split("Worst pairs</h2>")[1].split("row ")[1][:300]
    row = int(heading.split(":")[0])
    assert f'test.jsonl#L{row}">test.jsonl:{row}</a>' in heading


@pytest.mark.slow
def test_two_models_are_compared_pair_by_pair(trained, tmp_path):
    """The other model writes every second reference, and else one word."""
    if find_spec("matplotlib") is None:
        pytest.skip("matplotlib is missing")
    from rouge_score.rouge_scorer import RougeScorer

    from report import main as report

    folder, rows = trained
    run, other = folder / "run", shutil.copytree(folder / "run", tmp_path / "other")
    found, _ = read_predictions_file(run)
    tokenizer = AutoTokenizer.from_pretrained(run)
    texts = [(row["summary"] or "no") if at % 2 else "new" for at, row in enumerate(rows)]
    ids = tokenizer(text_target=texts, padding=True, return_tensors="np").input_ids
    outputs = {"loss": found.outputs["loss"], "ids": ids.astype(np.int32)}
    write_predictions_file(other, found.split, found.fingerprint, outputs)
    page = report([str(run), str(other), f"--output={tmp_path / 'c.html'}"])
    text = page.read_text(encoding="utf-8")
    assert "On 10 pairs of the test data" in text
    lines = (run / "generated_predictions.txt").read_text().splitlines()
    written = tokenizer.batch_decode(ids, skip_special_tokens=True)
    found = re.findall(
        r"<tr><td>other</td><td>(.*?) \(.*?</td><td>(.*?) \(.*?</td><td>(.*?)</td>", text
    )
    for name, shown in zip(("rouge1", "rouge2", "rougeL"), found, strict=False):
        score = RougeScorer([name], use_stemmer=True).score
        ours, theirs = (
            np.array([
                100 * score(row["summary"], one)[name].fmeasure
                for row, one in zip(rows[:10], side, strict=False)
            ])
            for side in (lines, written)
        )  # fmt: skip
        gains = theirs - ours
        assert shown[:2] == (f"{theirs.mean():.2f}", f"{gains.mean():+.2f}"), name
        swaps = np.array([*itertools.product((1, -1), repeat=10)]) @ gains
        by_chance = (abs(swaps) >= abs(gains.sum()) - 1e-9).mean()
        assert 0.01 < by_chance < 1, "else a wrong p looks right"
        assert float(shown[2]) == pytest.approx(by_chance, abs=0.02), name
    better, worse = (gains > 0).sum(), (gains < 0).sum()
    assert better > 0
    assert worse > 0
    assert f"other has a higher ROUGE-L in {better} pairs and a lower one in {worse}." in text
    differ = text.split("Where they differ</h2>")[1]
    assert "Ann left. Bo stayed." in differ
    assert differ.count("<span>reference</span>") == better + worse
    for part in ("By words of the reference", "rougeLsum", "training loss"):
        assert part in text, part


def test_a_checkpoint_with_settings_for_beams_is_scored_greedily(trained, tmp_path):
    """Settings of beams contradict a greedy search, and could not be saved beside it."""
    folder, _ = trained
    shutil.copytree(folder / "run", tmp_path / "model")
    path = tmp_path / "model" / "generation_config.json"
    beams = {"num_beams": 4, "early_stopping": True, "length_penalty": 2.0, "min_length": 40}
    path.write_text(json.dumps(read_json(path) | beams))
    results = train_loop.main(
        [TASK, f"--model_name_or_path={tmp_path / 'model'}", "--num_beams=1", "--do_train",
         f"--train_file={folder / 'train.jsonl'}", "--max_train_steps=1", "--do_predict",
         f"--test_file={folder / 'test.jsonl'}", f"--output_dir={tmp_path / 'run'}",
         "--generation_max_length=12"]
    )  # fmt: skip
    assert results["test_gen_len"] == 11, "min_length of the checkpoint holds"
    saved = read_json(tmp_path / "run" / "generation_config.json")
    assert (saved["num_beams"], saved["max_length"], saved["min_length"]) == (1, 12, 40)


def test_weights_that_transformers_does_not_save_are_no_loss(models, tmp_path):
    """Marian computes its positions again, and its checkpoints lack them."""
    tokenizer = AutoTokenizer.from_pretrained(models / "t5")
    sizes = {"d_model": 16, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16}
    sizes |= {f"{part}_layers": 1 for part in ("encoder", "decoder")}
    sizes |= {f"{part}_attention_heads": 2 for part in ("encoder", "decoder")}
    MarianConfig(
        vocab_size=len(tokenizer), decoder_vocab_size=len(tokenizer), pad_token_id=0,
        eos_token_id=tokenizer.eos_token_id, decoder_start_token_id=0, forced_eos_token_id=None,
        max_position_embeddings=64, **sizes,
    ).save_pretrained(tmp_path / "model")  # fmt: skip
    tokenizer.save_pretrained(tmp_path / "model")
    data = write_rows(tmp_path / "train.jsonl", PAIRS[:24])
    results = train_loop.main(
        arguments(tmp_path, tmp_path / "model", data, f"--validation_file={data}",
                  "--max_source_length=32", "--max_target_length=16", "--max_train_steps=2",
                  "--eval_steps=1", "--load_best_model_at_end", "--no_predict_with_generate")
    )  # fmt: skip
    assert results["eval_loss"] > 0
    assert (tmp_path / "run" / "model.safetensors").is_file()


def test_a_checkpoint_that_returns_several_texts_gives_one_for_each_row(trained, tmp_path):
    folder, _ = trained
    written = []
    for name, further in {"one": {}, "two": {"num_return_sequences": 2}}.items():
        shutil.copytree(folder / "run", model := tmp_path / name)
        path = model / "generation_config.json"
        own = {"num_beams": 2, "return_dict_in_generate": bool(further)} | further
        path.write_text(json.dumps(read_json(path) | own))
        train_loop.main(
            [TASK, f"--model_name_or_path={model}", "--do_predict", "--generation_max_length=12",
             f"--test_file={folder / 'test.jsonl'}", f"--output_dir={tmp_path / 'run' / name}"]
        )  # fmt: skip
        written.append((tmp_path / "run" / name / "generated_predictions.txt").read_bytes())
    assert written[0] == written[1]


@pytest.mark.parametrize(
    ("columns", "options", "expected"),
    [
        ("text summary", {"summary_column": "text"}, ("summary", "text")),
        ("text summary", {"text_column_name": "summary"}, ("summary", "text")),
        ("de en", {"summary_column": "de"}, ("en", "de")),
        ("id text summary", {"summary_column": "text"}, None),  # Several may be the texts.
        ("id text summary", {"text_column_name": "summary"}, None),
        ("text summary", {"text_column_name": "text", "summary_column": "text"}, None),
    ],
)
def test_a_column_that_is_named_is_taken(columns, options, expected, tmp_path):
    rows = [{name: f"{name} 1" for name in columns.split()}] * 2
    config = Config(
        task_name="summarization", train_file=str(write_rows(tmp_path / "a.jsonl", rows)), **options
    )
    if expected is None:
        with pytest.raises(InputError, match="give --text_column_name and --summary_column"):
            read_pairs(config)
    else:
        row = read_pairs(config).splits["train"][0]
        assert (row["source"], row["target"]) == tuple(f"{name} 1" for name in expected)


BAD = {
    "an encoder": ("encoder", [], "no AutoModelForSeq2SeqLM for bert"),
    "padding": ("t5", ["--ignore_pad_token_for_loss=false"], "would learn to write padding"),
    "one length": ("t5", ["--max_length=64"], "give --max_source_length"),
    "labels": ("t5", ["--label_column_name=summary"], "given by --summary_column"),
    "a column": ("t5", ["--summary_column=abstract"], "no column 'abstract'"),
    "a length for nothing": (
        "t5", ["--no_predict_with_generate", "--num_beams=2"], "generates nothing",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_that_says_what_is_wrong(case, models, tmp_path):
    name, options, said = BAD[case]
    data = write_rows(tmp_path / "train.jsonl", PAIRS[:9])
    with pytest.raises(InputError) as caught:
        train_loop.main(arguments(tmp_path, models / name, data, *options))
    assert said in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_a_model_that_cannot_be_saved_or_started_is_refused_before_the_training(models, tmp_path):
    data = write_rows(tmp_path / "train.jsonl", PAIRS[:9])
    shutil.copytree(models / "t5", tmp_path / "model")
    path = tmp_path / "model" / "config.json"
    facts = read_json(path) | {"model_type": "bart", "decoder_start_token_id": None}
    path.write_text(json.dumps(facts))
    with pytest.raises(InputError, match="has no decoder_start_token_id"):
        train_loop.main(arguments(tmp_path, tmp_path / "model", data))
    alone = write_rows(tmp_path / "alone.jsonl", [{"text": "a"}] * 2)
    with pytest.raises(InputError, match=r"no column of the summaries; .*--summary_column"):
        train_loop.main(arguments(tmp_path, models / "t5", alone))
    several = [{"id": 1, "body": "It rained.", "short": "Rain."}] * 2
    with pytest.raises(InputError, match=r"id \('1'\), body \('It rained.'\).*--summary_column"):
        train_loop.main(
            arguments(tmp_path, models / "t5", write_rows(tmp_path / "c.jsonl", several))
        )
    blank = write_rows(tmp_path / "blank.jsonl", [{"text": "a", "summary": ""}] * 2)
    with pytest.raises(InputError, match="train: no row has a text and a summary"):
        train_loop.main(arguments(tmp_path, models / "t5", blank))


@pytest.mark.medium
def test_without_the_package_a_run_ends_at_its_start_with_the_remedy(models, tmp_path, monkeypatch):
    data = write_rows(tmp_path / "train.jsonl", PAIRS[:9])
    given = arguments(tmp_path, models / "t5", data, f"--validation_file={data}")
    monkeypatch.setattr("tagloop.tasks.summarization.scores.find_spec", lambda name: None)
    with pytest.raises(InputError, match="pip install rouge-score"):
        train_loop.main(given)
    results = train_loop.main([*given, "--no_predict_with_generate", "--max_train_steps=1"])
    assert results["eval_loss"] > 0
    assert "eval_rouge1" not in results
    assert not (tmp_path / "run" / "generated_predictions.txt").exists()


def test_rouge_sees_sentences_and_only_latin_letters():
    gold, found = "The cat sat. A dog ran.", "A dog ran. The cat sat."
    one, _, longest, by_sentence = rouge_of([gold], [found])[0]
    assert one == by_sentence == 1 > longest
    thai = ["สวัสดีชาวโลก"]
    assert rouge_of(thai, thai)[0].tolist() == [0, 0, 0, 0]
    assert is_blind(thai)
    assert not is_blind([gold, *thai])


def test_a_translation_may_be_longer_than_its_text(tmp_path, capfd):
    pairs = [("Ja .", "Yes , it is ."), ("Nein .", "No , it is not .")] * 5
    rows = [{"translation": {"de": f"{n} {de}", "en": f"{n} {en}"}}
            for n, (de, en) in enumerate(pairs)]  # fmt: skip
    train = write_rows(tmp_path / "train.jsonl", rows)
    assert train_loop.cli([TASK, f"--train_file={train}", "--check_data"]) == 0
    assert "longer than their text" not in capfd.readouterr().out


def test_check_data_names_empty_texts_long_summaries_and_leaks(tmp_path, capfd):
    long = {"text": "Too short .", "summary": "This summary has more words than its text ."}
    train = write_rows(tmp_path / "train.jsonl", [*PAIRS[:20], {"text": "", "summary": "a"}, long])
    dev = write_rows(tmp_path / "dev.jsonl", [*PAIRS[10:20], {"text": "A b c .", "summary": ""}])
    given = [TASK, f"--train_file={train}", f"--validation_file={dev}", "--check_data"]
    code = train_loop.cli([*given, "--show_examples=30"])
    said = capfd.readouterr().out
    assert code == 1
    for line in (
        f"{train}:21: no text",
        f"{train}:22: 9 words for 3",
        f"{dev}:11: no summary of A b c .",
        "the same text in two splits: 10",
        f"{dev}:1 (validation): as {train}:11 (train)",
    ):
        assert line in said, line
    assert f"{PAIRS[0]['text']} [{PAIRS[0]['summary']}]" in said
    clean = write_rows(tmp_path / "clean.jsonl", PAIRS[:20])
    assert train_loop.cli([TASK, f"--train_file={clean}", "--check_data"]) == 0


@pytest.mark.parametrize(
    ("columns", "shown"),
    [
        ([], "It rains . [Es regnet .]"),
        (["--text_column_name=de", "--summary_column=en"], "Es regnet . [It rains .]"),
    ],
)
def test_a_translation_is_a_pair(columns, shown, tmp_path, capfd):
    row = {"translation": {"en": "It rains .", "de": "Es regnet ."}}
    data = write_rows(tmp_path / "train.jsonl", [row])
    train_loop.cli([TASK, f"--train_file={data}", "--check_data", "--show_examples=1", *columns])
    assert shown in capfd.readouterr().out


@pytest.mark.slow
def test_the_command_of_the_examples_runs(models, corpora, tmp_path):
    """With a model from scratch: the thresholds of the examples need pretrained weights."""
    data = corpora / "samples" / "xsum_sample.json"
    results = train_loop.main(
        arguments(tmp_path, models / "t5", data, f"--validation_file={data}",
                  f"--test_file={data}", "--num_train_epochs=1", "--warmup_steps=8",
                  "--learning_rate=2e-4", "--per_device_train_batch_size=2",
                  "--per_device_eval_batch_size=1", "--predict_with_generate", "--do_train",
                  "--do_eval", "--do_predict", "--max_target_length=16", "--no_report")
    )  # fmt: skip
    assert results["test_rougeLsum"] >= 0
    assert results["test_baseline_rouge1"] > 5
    number = len(data.read_text().splitlines())
    lines = (tmp_path / "run" / "generated_predictions.txt").read_text().splitlines()
    assert len(lines) == number
