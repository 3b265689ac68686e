"""Language models: what is learned equals transformers' own loss; what is read, scored, written."""

import copy
import json
import math
import re
import shutil

import numpy as np
import pytest
import torch
from launches import read_json
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    BertConfig,
    DataCollatorForLanguageModeling,
    GPT2Config,
    T5Config,
    get_scheduler,
    pipeline,
)

import train_loop
from tagloop.errors import InputError
from tagloop.options.command_line import parse_config
from tagloop.outcome.predictions_file import read_predictions_file, write_predictions_file
from tagloop.sample.corpus import build_sample_texts
from tagloop.sample.model import add_sentinels, begin_with_cls, build_sample_tokenizer
from tagloop.tasks.language_modelling.predictor import load_predictor
from tagloop.training.losses import UnreadLosses
from tagloop.training.optim import parameter_groups

TEXTS = [row["text"] for row in build_sample_texts()["train"][:120]]
FIRST, SECOND = "<extra_id_0>", "<extra_id_1>"
SHORT = {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 64}
NARROW = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64,
    "max_position_embeddings": 64,
}  # fmt: skip


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Folders of models without dropout: a configuration and a tokenizer.

    The tokenizer of "t5" has no sentinels, and that of "few" has two.
    """
    folder = tmp_path_factory.mktemp("models")
    for name in ("decoder", "encoder", "t5", "spans", "few"):
        tokenizer = build_sample_tokenizer(map(str.split, TEXTS))
        tokenizer.model_max_length = 64
        if name == "decoder":
            begin_with_cls(tokenizer)
            rates = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
            ends = {"bos_token_id": 2, "eos_token_id": 3}
            config = GPT2Config(vocab_size=len(tokenizer), **SHORT, **rates, **ends)
        elif name == "encoder":
            rates = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
            config = BertConfig(vocab_size=len(tokenizer), **NARROW, **rates)
        elif name == "t5":
            config = T5Config(vocab_size=len(tokenizer), d_model=16, d_ff=16, num_layers=1)
        else:
            add_sentinels(tokenizer, 2 if name == "few" else 20)
            config = T5Config(
                vocab_size=len(tokenizer), d_model=32, d_ff=64, d_kv=16, num_heads=2, num_layers=2,
                dropout_rate=0.0, decoder_start_token_id=0, pad_token_id=0,
                eos_token_id=3,
            )  # fmt: skip
        config.save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
    return folder


def write_texts(path, texts):
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return path


def arguments(folder, model, data, *options, output="run"):
    return [
        f"--config_name={model}", f"--tokenizer_name={model}", f"--train_file={data}",
        f"--output_dir={folder / output}", "--validation_split_percentage=0", *options,
    ]  # fmt: skip


CASES = {
    "clm in blocks": ("decoder", ["--task_name=clm", "--block_size=24"]),
    "clm a text a row": ("decoder", ["--task_name=clm"]),
    "mlm in blocks": ("encoder", ["--task_name=mlm", "--max_seq_length=24"]),
    "mlm line by line": ("encoder", ["--task_name=mlm", "--line_by_line"]),
    "t5_mlm in blocks": ("spans", ["--task_name=t5_mlm", "--max_seq_length=24"]),
    "t5_mlm line by line": ("spans", ["--task_name=t5_mlm", "--line_by_line"]),
}


@pytest.mark.medium
@pytest.mark.parametrize("case", CASES)
def test_the_losses_of_20_updates_are_those_of_transformers(case, models, tmp_path):
    """The same model, batches and schedule; transformers' collator pads and makes the labels."""
    name, options = CASES[case]
    data = write_texts(tmp_path / "train.jsonl", TEXTS)
    config = parse_config(
        arguments(tmp_path, models / name, data, *options, "--learning_rate=1e-3",
                  "--max_train_steps=20", "--per_device_train_batch_size=8")
    )  # fmt: skip
    accelerator = train_loop.build_accelerator(mixed_precision=None, log_with=None)
    run = train_loop.build(config, accelerator, tmp_path / "run", None)
    assert bool(run.packing) == ("block" not in case and name != "spans")
    model = copy.deepcopy(run.model)
    optimizer = torch.optim.AdamW(parameter_groups(model, weight_decay=0.0), lr=1e-3, fused=True)
    schedule = get_scheduler("linear", optimizer, 0, 20)
    collator = DataCollatorForLanguageModeling(run.task.tokenizer, mlm=False)
    examples, step = run.task.examples["train"], 0
    for epoch in range(run.timetable.num_epochs):
        drawn = examples.at_epoch(config.seed, epoch)
        plan = train_loop.plan_epoch(
            drawn.lengths, seed=config.seed, epoch=epoch, global_batch_size=8,
            group_by_length=False,
        )  # fmt: skip
        updates = train_loop.build_dataloader(
            drawn, plan, accelerator, per_device_batch_size=8, packing=run.packing
        )
        for update in updates:
            if step == 20:
                break
            unread = UnreadLosses()
            unread.add(train_loop.train_step(run, update))
            step = run.state.step = run.state.step + 1
            unread.read(accelerator, run.state)
            own = run.state.take_log_loss()
            ids = update.example_ids
            if name == "encoder":  # with our masks
                batch = drawn.collate(ids)
            elif name == "spans":  # with our spans; T5 makes the decoder's inputs of the labels
                batch = drawn.collate(ids)
                del batch["decoder_input_ids"]
            else:
                offsets = examples.offsets
                rows = [examples.input_ids[offsets[i] : offsets[i + 1]].tolist() for i in ids]
                batch = dict(collator([{"input_ids": row} for row in rows]))
            loss = model.train()(**batch).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            assert own == pytest.approx(loss.item(), abs=1e-5), f"update {step}"
    assert step == 20


@pytest.fixture(scope="module")
def trained(models, tmp_path_factory):
    """Folders of a small decoder, encoder and T5 that were trained for a few updates."""
    folder = tmp_path_factory.mktemp("trained")
    data = write_texts(folder / "train.jsonl", TEXTS)
    long = " ".join(TEXTS[:12])
    test = write_texts(folder / "test.jsonl", ["", *TEXTS[:5], " ", long, "so"])
    for name, task in (("decoder", "clm"), ("encoder", "mlm"), ("spans", "t5_mlm")):
        rows = [] if task == "clm" else ["--line_by_line"]
        if task == "t5_mlm":  # It learns slowly, so it gets few texts.
            data = write_texts(folder / "few.jsonl", TEXTS[:2] * 120)
        train_loop.main(
            arguments(folder, models / name, data, f"--task_name={task}", *rows,
                      f"--test_file={test}", "--num_train_epochs=2", "--learning_rate=1e-2",
                      output=name)
        )  # fmt: skip
    return folder


@pytest.mark.parametrize("name", ["decoder", "encoder", "spans"])
def test_every_text_has_a_line_and_the_lines_make_the_scores(name, trained):
    folder = trained / name
    header, *lines = (folder / "predictions.tsv").read_text().splitlines()
    assert header.split("\t") == ["targets", "loss", "perplexity", "accuracy"]
    cells = [line.split("\t") for line in lines]
    assert len(cells) == 9
    assert [number for number, row in enumerate(cells) if row == ["0", "", "", ""]] == [0, 6]
    values = np.array([row for row in cells if row[1]], dtype=float)
    targets, loss, perplexity, accuracy = values.T
    assert perplexity == pytest.approx(np.exp(loss), rel=1e-3)
    results = read_json(folder / "test_results.json")
    assert results["test_loss"] == pytest.approx(loss @ targets / targets.sum(), abs=1e-3)
    assert results["test_perplexity"] == pytest.approx(math.exp(results["test_loss"]), rel=1e-6)
    assert results["test_accuracy"] == pytest.approx(accuracy @ targets / targets.sum(), abs=1e-3)
    assert results["test_unigram_perplexity"] > 1
    if name == "decoder":  # Every sub-token but the first of each text is a target, and the end.
        tokenizer = build_sample_tokenizer(map(str.split, TEXTS))
        begin_with_cls(tokenizer)
        texts = ["", *TEXTS[:5], " ", " ".join(TEXTS[:12]), "so"]
        expected = [len(tokenizer(text).input_ids) if text.strip() else 0 for text in texts]
        assert [int(row[0]) for row in cells] == expected
        assert max(expected) > 64, "a text is longer than the model"


def test_the_decoder_continues_texts_as_the_pipeline_does(trained):
    folder, texts = str(trained / "decoder"), ["The", "Carla won", "", "The club"]
    generate = pipeline("text-generation", model=folder)
    found = [answer.values["generated_text"] for answer in load_predictor(folder)(texts)]
    for text, own in zip(texts, found, strict=True):
        assert own.startswith(text)
        if text:
            (theirs,) = generate(text, max_new_tokens=50, do_sample=False)
            assert own == theirs["generated_text"]


def test_the_encoder_fills_gaps_as_the_pipeline_does(trained):
    folder = str(trained / "encoder")
    texts = ["The [MASK] won .", "[MASK] rose [MASK] points", "no gap", "A [MASK]"]
    answers = load_predictor(folder)(texts)
    fill = pipeline("fill-mask", model=folder)
    for number in (0, 3):
        theirs = fill(texts[number])
        assert answers[number].values["sequence"] == theirs[0]["sequence"]
        (own,) = answers[number].more["fillings"]
        assert [each["token_str"] for each in own] == [each["token_str"] for each in theirs]
        assert [each["score"] for each in own] == pytest.approx(
            [each["score"] for each in theirs], abs=1e-4
        )
    assert len(answers[1].more["fillings"]) == 2
    assert "[MASK]" not in answers[1].values["sequence"]
    assert answers[2].values == {"sequence": "no gap", "score": None}


def test_a_text_that_is_too_long_keeps_its_end_and_a_gap_there_is_refused(trained):
    words = " ".join(["The club won"] * 30)
    (answer,) = load_predictor(str(trained / "encoder"))(f"A [MASK] . {words}")
    assert answer.values["sequence"].endswith(words[-60:])
    assert answer.values["sequence"].lower().count("won") >= 30
    for model, gap in (("encoder", "[MASK]"), ("spans", FIRST)):
        with pytest.raises(InputError, match="has a gap after the 64 sub-tokens"):
            load_predictor(str(trained / model))(f"{words} {gap}")


def test_a_t5_fills_sentinels_with_what_generate_writes(trained):
    folder = trained / "spans"
    texts = [f"The {FIRST} won {SECOND} .", f"{SECOND} rose {FIRST}", "no gap", f"It {FIRST}"]
    answers = load_predictor(folder)(texts)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSeq2SeqLM.from_pretrained(folder)
    for text, answer in zip(texts, answers, strict=True):
        inputs = tokenizer(text, return_tensors="pt", return_token_type_ids=False)
        assert inputs.input_ids[0, -1] == tokenizer.eos_token_id
        (ids,) = model.generate(**inputs, do_sample=False, num_beams=1, max_new_tokens=100)
        theirs = tokenizer.decode(ids).split("[SEP]")[0]
        spans = {
            sentinel: " ".join("".join(re.findall(f"{sentinel}([^<]*)", theirs)).split())
            for sentinel in (FIRST, SECOND)
        }
        assert answer.more["fillings"] == [spans[name] for name in re.findall("<.*?>", text)]
        assert answer.values["sequence"] == re.sub("<.*?>", lambda m, s=spans: s[m[0]], text)
    assert any(answers[0].more["fillings"]), "else equal answers say little"


def test_text_scores_are_those_of_the_hidden_sub_tokens_alone(trained):
    folder = trained / "spans"
    config = parse_config(
        ["--task_name=t5_mlm", "--line_by_line", f"--model_name_or_path={folder}", "--do_predict",
         f"--test_file={trained / 'test.jsonl'}"]
    )  # fmt: skip
    examples = train_loop.load_task(config, pad_to_multiple_of=1).examples["test"]
    batch = examples.collate(np.arange(len(examples)))
    with torch.no_grad():
        logits = AutoModelForSeq2SeqLM.from_pretrained(folder)(**batch).logits
    names = AutoTokenizer.from_pretrained(folder).convert_ids_to_tokens
    labels = batch["labels"].flatten()
    is_text = torch.tensor(
        [i >= 0 and not names(i).startswith(("<extra_id_", "[SEP]")) for i in labels.tolist()]
    )
    logits, labels = logits.flatten(0, 1)[is_text], labels[is_text]
    results = read_json(folder / "test_results.json")
    loss = torch.nn.functional.cross_entropy(logits, labels).item()
    assert results["test_text_perplexity"] == pytest.approx(math.exp(loss), rel=1e-4)
    right = (logits.argmax(-1) == labels).float().mean().item()
    assert results["test_text_accuracy"] == pytest.approx(right)
    assert 0 < right < results["test_accuracy"], "sentinels are easier"


KINDS = (
    ("decoder", "text-generation"), ("encoder", "fill-mask"), ("spans", "text2text-generation"),
)  # fmt: skip


def test_the_report_and_the_card_of_a_language_model(trained):
    from report import main as report

    for name, kind in KINDS:
        card = (trained / name / "README.md").read_text()
        assert f"pipeline_tag: {kind}" in card
        assert "perplexity" in card
        page = trained / f"{name}.html"
        report([str(trained / name), f"--output={page}"])
        text = page.read_text()
        for part in ("perplexity of a unigram", "Hardest texts", "tokens a second", "By length"):
            assert part in text, part


@pytest.mark.slow
@pytest.mark.parametrize("name", ["decoder", "encoder"])
def test_two_language_models_are_compared_text_by_text(name, trained, tmp_path):
    """The other model loses a tenth of a nat less at every sub-token."""
    from report import main as report

    other, page = tmp_path / "surer", tmp_path / "page.html"
    shutil.copytree(trained / name, other)
    found, _ = read_predictions_file(other)
    targets = found.outputs["targets"]
    outputs = found.outputs | {"loss": found.outputs["loss"] - np.float32(0.1) * targets}
    write_predictions_file(other, found.split, found.fingerprint, outputs)
    report([str(trained / name), str(other), f"--output={page}"])
    text = page.read_text(encoding="utf-8")
    perplexity = read_json(trained / name / "all_results.json")["test_perplexity"]
    for value in (f"{perplexity:.4g}", f"{perplexity * math.exp(-0.1):.4g}"):
        assert f"<td>{value} (" in text
    assert f"<td>{perplexity * (math.exp(-0.1) - 1):+.4g} (" in text
    assert "perplexity (lower is better)" in text
    assert "none: the same numbers in every text" not in text.split("accuracy</th>")[0]
    number = np.count_nonzero(np.bincount(found.outputs["text"], targets))
    assert f"surer has a lower loss in {number} texts and a higher one in 0." in text
    outputs["targets"] = targets + 1  # as with another tokenizer
    write_predictions_file(other, found.split, found.fingerprint, outputs)
    with pytest.raises(InputError, match="text 2 is another one, or has other sub-tokens"):
        report([str(trained / name), str(other), f"--output={page}"])


BAD = {
    "a block that is too long": ("decoder", ["--task_name=clm", "--block_size=65"], "at most 64"),
    "a row that is too long": ("encoder", ["--task_name=mlm", "--max_length=65"], "at most 64"),
    "an encoder": ("encoder", ["--task_name=clm"], "BertLMHeadModel is an encoder"),
    "a decoder": ("decoder", ["--task_name=mlm"], "no AutoModelForMaskedLM for gpt2"),
    "both": ("t5", ["--task_name=mlm"], "AutoModelForMaskedLM for t5"),
    "labels": ("decoder", ["--task_name=clm", "--label_column_name=a"], "--label_column_name"),
    "a block and a row": (
        "decoder", ["--task_name=clm", "--block_size=8", "--max_length=8"], "give one of them",
    ),
    "a decoder for spans": ("decoder", ["--task_name=t5_mlm"], "no sentinels"),
    "no sentinels": ("t5", ["--task_name=t5_mlm"], "no sentinels"),
    "too few sentinels": ("few", ["--task_name=t5_mlm"], "needs 3 sentinels"),
    "a T5 for mlm": ("spans", ["--task_name=mlm"], "AutoModelForMaskedLM for t5"),
    "short spans": (
        "spans", ["--task_name=t5_mlm", "--mean_noise_span_length=0.5"], "must be at least 1",
    ),
    "another task": ("decoder", ["--task_name=clm", "--mlm_probability=0.2"], "is for mlm"),
    "a column": ("decoder", ["--task_name=clm", "--text_column_name=b"], "there are text"),
    "several columns": (
        "decoder", ["--task_name=clm", "--train_file={}/ids.csv"], "id ('1'), body ('Rain.')",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_that_says_what_is_wrong(case, models, tmp_path):
    name, options, said = BAD[case]
    data = write_texts(tmp_path / "train.jsonl", TEXTS[:20])
    (tmp_path / "ids.csv").write_text("id,body\n1,Rain.\n")
    options = [option.format(tmp_path) for option in options]
    with pytest.raises(InputError) as caught:
        train_loop.main(arguments(tmp_path, models / name, data, *options))
    assert said in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    assert caught.value.exit_code == 2


def test_a_tokenizer_without_a_mask_token_and_texts_without_words_are_refused(models, tmp_path):
    data = write_texts(tmp_path / "train.jsonl", TEXTS[:20])
    shutil.copytree(models / "encoder", tmp_path / "encoder")
    path = tmp_path / "encoder" / "tokenizer_config.json"
    facts = read_json(path)
    path.write_text(json.dumps({k: v for k, v in facts.items() if k != "mask_token"}))
    with pytest.raises(InputError, match="no mask token"):
        train_loop.main(arguments(tmp_path, tmp_path / "encoder", data, "--task_name=mlm"))
    blank = write_texts(tmp_path / "blank.jsonl", ["", " "])
    for task, model in (("clm", "decoder"), ("mlm", "encoder")):
        with pytest.raises(InputError, match=r"train: no text has any .*--text_column_name names"):
            train_loop.main(arguments(tmp_path, models / model, blank, f"--task_name={task}"))


@pytest.mark.medium
@pytest.mark.parametrize(
    ("task", "name", "head"),
    [
        ("clm", "decoder", AutoModelForCausalLM),
        ("mlm", "encoder", AutoModelForMaskedLM),
        ("t5_mlm", "spans", AutoModelForSeq2SeqLM),
    ],
)
def test_ids_above_the_vocabulary_are_refused_if_the_data_has_them(
    task, name, head, models, tmp_path, capfd
):
    model = tmp_path / "model"
    head.from_config(AutoConfig.from_pretrained(models / name)).save_pretrained(model)
    data = write_texts(tmp_path / "train.jsonl", [*TEXTS[:20], "brandnew word"])
    given = [
        f"--task_name={task}", f"--model_name_or_path={model}", f"--train_file={data}",
        "--validation_split_percentage=0", "--max_train_steps=1", "--overwrite_output_dir",
        f"--output_dir={tmp_path / 'run'}",
    ]  # fmt: skip
    for word, options in (("unseen", []), ("brandnew", ["--allow_partial_weights"])):
        tokenizer = AutoTokenizer.from_pretrained(models / name)
        tokenizer.add_tokens([word])
        tokenizer.save_pretrained(model)
        train_loop.main([*given, *options])
        assert "the others start from random ones" in capfd.readouterr().out
    assert train_loop.cli(given) == 2
    error = capfd.readouterr().err
    for fragment in (f"{model}: the tokenizer has ", "'brandnew'", "--allow_partial_weights"):
        assert fragment in error
    assert len(error.strip().splitlines()) == 1


def test_spans_need_an_encoder_decoder_and_a_tokenizer_with_an_end(models, tmp_path):
    data = write_texts(tmp_path / "train.jsonl", TEXTS[:20])
    given = ["--task_name=t5_mlm", f"--train_file={data}", f"--output_dir={tmp_path / 'run'}"]
    for model in ("encoder", "decoder"):
        with pytest.raises(
            InputError, match=r"no AutoModelForSeq2SeqLM for (bert|gpt2), .*; name another model$"
        ):
            train_loop.main(
                [*given, f"--config_name={models / model}", f"--tokenizer_name={models / 'spans'}"]
            )
    shutil.copytree(models / "spans", tmp_path / "endless")
    path = tmp_path / "endless" / "tokenizer_config.json"
    path.write_text(json.dumps({k: v for k, v in read_json(path).items() if k != "eos_token"}))
    endless = [f"--{name}={tmp_path / 'endless'}" for name in ("config_name", "tokenizer_name")]
    with pytest.raises(InputError, match="no end-of-text token"):
        train_loop.main([*given, *endless])


@pytest.mark.medium
def test_the_first_rows_validate_without_a_validation_file(models, tmp_path, capfd):
    data = tmp_path / "train.txt"
    data.write_text("".join(f"{text}\n\n" for text in TEXTS))
    options = ["--task_name=clm", "--block_size=16", "--max_train_steps=1", "--do_train"]
    given = arguments(tmp_path, models / "decoder", data, *options, "--do_eval")
    given.remove("--validation_split_percentage=0")
    results = train_loop.main(given)
    assert "validation  12 texts" in capfd.readouterr().out, "5% of 240 lines"
    assert results["eval_perplexity"] > 1
    one = tmp_path / "one.txt"
    one.write_text(TEXTS[0])
    with pytest.raises(InputError, match="the training split has only one row"):
        train_loop.main([*given, f"--train_file={one}", "--overwrite_output_dir"])


def test_check_data_names_blank_rows_and_texts_in_two_splits(models, tmp_path, capfd):
    train = write_texts(tmp_path / "train.jsonl", [*TEXTS[:20], " "])
    dev = write_texts(tmp_path / "dev.jsonl", [*TEXTS[10:20], "fine"])
    given = [f"--train_file={train}", f"--validation_file={dev}", "--check_data"]
    code = train_loop.cli(["--task_name=clm", *given, f"--tokenizer_name={models / 'decoder'}"])
    said = capfd.readouterr().out
    assert code == 1
    assert f"{train}:21: no text" in said
    assert "the same text in two splits: 10" in said
    assert f"{dev}:1 (validation): as {train}:11 (train)" in said
    assert "sub-tokens:" in said
    code = train_loop.cli(["--task_name=mlm", f"--train_file={dev}", "--check_data"])
    assert code == 0
    for model, expected in (("t5", 1), ("spans", 0)):
        code = train_loop.cli(
            ["--task_name=t5_mlm", f"--train_file={dev}", "--check_data",
             f"--tokenizer_name={models / model}"]
        )  # fmt: skip
        assert code == expected
        assert ("tokenizers without sentinels" in capfd.readouterr().out) == bool(expected)


SUITE = {  # what the examples' own tests give
    "clm": ["--block_size=128", "--num_train_epochs=2", "--logging_steps=2", "--eval_steps=2"],
    "mlm": ["--max_seq_length=128", "--num_train_epochs=1", "--logging_steps=2"],
    "t5_mlm": [
        "--max_seq_length=128", "--num_train_epochs=2", "--logging_steps=2", "--eval_steps=2",
    ],
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("task", SUITE)
def test_the_commands_of_the_examples_run(task, models, corpora, tmp_path):
    """With a model from scratch: the thresholds of the examples need pretrained weights."""
    text, model = corpora / "samples" / "sample_text.txt", tmp_path / "model"
    names = {"clm": "decoder", "mlm": "encoder", "t5_mlm": "spans"}
    shutil.copytree(models / names[task], model)
    for name, values in (
        ("config.json", {"n_positions": 128, "max_position_embeddings": 128}),
        ("tokenizer_config.json", {"model_max_length": 128}),
    ):
        facts = read_json(model / name)
        changed = {key: value for key, value in values.items() if key in facts}
        (model / name).write_text(json.dumps(facts | changed))
    results = train_loop.main(
        [f"--task_name={task}", f"--config_name={model}", f"--tokenizer_name={model}",
         f"--train_file={text}", f"--validation_file={text}", "--do_train", "--do_eval",
         "--per_device_train_batch_size=4", "--per_device_eval_batch_size=4",
         "--overwrite_output_dir", f"--output_dir={tmp_path / 'run'}", *SUITE[task]]
    )  # fmt: skip
    metrics = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").open()]
    losses = [line["loss"] for line in metrics if "loss" in line]
    assert losses[-1] < losses[0], "it learns something"
    assert results["eval_perplexity"] == pytest.approx(math.exp(results["eval_loss"]), rel=1e-6)
    if task != "mlm":  # Nothing of the text is lost; clm also keeps the line ends.
        length, *_ = SUITE[task]
        config = parse_config([f"--task_name={task}", f"--config_name={model}", length,
                               f"--tokenizer_name={model}", f"--train_file={text}",
                               "--validation_split_percentage=0"])  # fmt: skip
        examples = train_loop.load_task(config, pad_to_multiple_of=1).examples["train"]
        rows, end = (examples, "\n") if task == "clm" else (examples.texts, "")
        tokenizer = AutoTokenizer.from_pretrained(model)
        lines = text.read_text(encoding="utf-8").split("\n")[:-1]
        special = {"add_special_tokens": task == "clm"}
        expected = [i for line in lines for i in tokenizer(line + end, **special).input_ids]
        assert rows.input_ids.tolist() == expected
        assert set(rows.lengths[:-1].tolist()) == {128 if task == "clm" else 141}
        assert set(examples.output_lengths[:-1].tolist()) == {128 if task == "clm" else 29}
