"""Speech recognition: what is read, learned, scored and written."""

import copy
import json
import re
import shutil

import datasets
import numpy as np
import pytest
import torch
from launches import read_json
from recordings import TEXTS, tone, whisper_tokenizer, write_table, write_whisper
from transformers import (
    AutoModelForSpeechSeq2Seq,
    AutoProcessor,
    GenerationConfig,
    T5Config,
    get_scheduler,
)

import predict
import report
import train_loop
from tagloop.errors import InputError
from tagloop.outcome.predictions_file import read_predictions_file, write_predictions_file
from tagloop.sample.digits import as_wav
from tagloop.tasks.speech.predictor import load_predictor
from tagloop.tasks.speech.task import load_task
from tagloop.training.losses import UnreadLosses
from tagloop.training.optim import parameter_groups

SMALL = ["--per_device_train_batch_size=4", "--learning_rate=1e-2", "--max_train_steps=4"]

# Three updates are an epoch, so a checkpoint is inside of one.
LEARNING = ["--per_device_train_batch_size=3", "--max_train_steps=60", "--checkpointing_steps=20",
            "--eval_steps=20", "--generation_max_length=10"]  # fmt: skip


@pytest.fixture(scope="module")
def whisper(tmp_path_factory):
    """The files of a small Whisper."""
    return write_whisper(tmp_path_factory.mktemp("whisper") / "model")


def arguments(folder, whisper, *more):
    return [
        "--task_name=speech", f"--config_name={whisper}", f"--tokenizer_name={whisper}",
        "--no_report", f"--output_dir={folder / 'run'}", *SMALL, *map(str, more),
    ]  # fmt: skip


def run(folder, whisper, *more):
    return train_loop.main(arguments(folder, whisper, *more))


def load(folder, whisper, *more):
    config = train_loop.parse_config(arguments(folder, whisper, *more))
    return load_task(config, pad_to_multiple_of=1)


def refused(capfd, given, *fragments):
    assert train_loop.cli([*map(str, given)]) == 2
    error = capfd.readouterr().err
    assert "Traceback" not in error
    for fragment in fragments:
        assert fragment in error
    assert len(error.strip().splitlines()) == 1


# --- labels ---


def test_the_decoder_reads_one_start_and_learns_the_end(whisper, tmp_path):
    """Although padding, end and unknown token are one and the same id."""
    task = load(tmp_path, whisper, f"--train_file={write_table(tmp_path)}")
    tokenizer, examples = task.tokenizer, task.examples["train"]
    assert tokenizer.pad_token_id == tokenizer.eos_token_id
    batch = examples.collate(np.arange(len(TEXTS)))
    start = tokenizer.convert_tokens_to_ids("<|startoftranscript|>")
    assert ((batch["decoder_input_ids"] == start).sum(1) == 1).all()
    assert (batch["decoder_input_ids"][:, 0] == start).all()
    for text, labels in zip(TEXTS, batch["labels"], strict=True):
        own = labels[labels != -100]
        assert tokenizer.decode(own) == f"<|notimestamps|>{text}<|endoftext|>"
    assert examples.target_weights.sum() == (batch["labels"] != -100).sum()


def test_language_and_task_are_in_labels_and_in_generation_alike(tmp_path):
    whisper = write_whisper(tmp_path / "model", languages=True)
    data = write_table(tmp_path)
    task = load(tmp_path, whisper, f"--train_file={data}", "--language=english", "--task=translate")
    prompt = "<|en|><|translate|><|notimestamps|>"
    ids = task.examples["train"].collate(np.array([0]))["labels"][0]
    assert task.tokenizer.decode(ids) == f"{prompt}one two<|endoftext|>"
    settings = task.build_model().generation_config
    known = task.tokenizer.get_vocab()
    shown = [
        settings.lang_to_id["<|en|>"], settings.task_to_id[settings.task],
        settings.no_timestamps_token_id,
    ]  # fmt: skip
    assert (settings.language, shown) == ("english", [known[f"<|{n}|>"] for n in (
        "en", "translate", "notimestamps")])  # fmt: skip


def test_a_model_of_several_languages_needs_one_and_a_model_of_one_takes_none(
    tmp_path, whisper, capfd
):
    data = f"--train_file={write_table(tmp_path)}"
    refused(capfd, arguments(tmp_path, whisper, data, "--language=klingon"), "not known")
    several = write_whisper(tmp_path / "model", languages=True)
    given = ["--task_name=speech", f"--model_name_or_path={several}", data]
    given.append(f"--output_dir={tmp_path / 'out'}")
    GenerationConfig(is_multilingual=True).save_pretrained(several)
    refused(capfd, given, "knows several languages", "--language")
    GenerationConfig(is_multilingual=False).save_pretrained(several)
    refused(capfd, [*given, "--language=en"], "knows one language only")


# --- learning ---


@pytest.mark.slow
def test_the_losses_of_20_updates_are_those_of_transformers(tmp_path):
    """The labels are made as the collator of transformers' script makes them."""
    whisper = write_whisper(tmp_path / "model", dropout=0.0, attention_dropout=0.0)
    config = train_loop.parse_config(
        arguments(tmp_path, whisper, f"--train_file={write_table(tmp_path)}",
                  "--max_train_steps=20", "--learning_rate=1e-3")
    )  # fmt: skip
    accelerator = train_loop.build_accelerator(mixed_precision=None, log_with=None)
    run = train_loop.build(config, accelerator, tmp_path / "run", None)
    model = copy.deepcopy(run.model)
    optimizer = torch.optim.AdamW(parameter_groups(model, weight_decay=0.0), lr=1e-3, fused=True)
    schedule = get_scheduler("linear", optimizer, 0, 20)
    extractor, tokenizer = run.task.extractor, run.task.tokenizer
    examples, step = run.task.examples["train"], 0
    for epoch in range(run.timetable.num_epochs):
        plan = train_loop.plan_epoch(
            examples.lengths, seed=config.seed, epoch=epoch, global_batch_size=4,
            group_by_length=False,
        )  # fmt: skip
        updates = train_loop.build_dataloader(examples, plan, accelerator, per_device_batch_size=4)
        for update in updates:
            unread = UnreadLosses()
            unread.add(train_loop.train_step(run, update))
            step = run.state.step = run.state.step + 1
            unread.read(accelerator, run.state)
            own = run.state.take_log_loss()
            sounds = examples.source.sounds
            waves = [
                sounds.samples[sounds.offsets[i] : sounds.offsets[i + 1]].astype(np.float32) / 32768
                for i in update.example_ids
            ]
            features = extractor(waves, sampling_rate=16_000, return_tensors="pt").input_features
            padded = tokenizer.pad(
                [{"input_ids": tokenizer(TEXTS[i]).input_ids} for i in update.example_ids],
                return_tensors="pt",
            )
            labels = padded.input_ids.masked_fill(padded.attention_mask.ne(1), -100)[:, 1:]
            loss = model.train()(input_features=features, labels=labels).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            assert own == pytest.approx(loss.item(), abs=1e-5), f"update {step}"
    assert step == 20


@pytest.mark.slow
def test_a_frozen_encoder_stays_as_it_is(whisper, tmp_path):
    data = write_table(tmp_path)
    config = train_loop.parse_config(
        arguments(tmp_path, whisper, f"--train_file={data}", "--freeze_encoder")
    )
    before = load_task(config, pad_to_multiple_of=1).build_model().state_dict()
    run(tmp_path, whisper, f"--train_file={data}", "--freeze_encoder")
    after = AutoModelForSpeechSeq2Seq.from_pretrained(tmp_path / "run").state_dict()
    changed = {name for name, values in after.items() if not torch.equal(values, before[name])}
    assert not any("encoder." in name and "decoder." not in name for name in changed)
    assert any("decoder." in name for name in changed)


# --- a trained model ---


@pytest.fixture(scope="module")
def trained(whisper, tmp_path_factory):
    """The folder of a run that has learned its few recordings, with checkpoints."""
    folder = tmp_path_factory.mktemp("trained")
    data = write_table(folder)
    run(
        folder,
        whisper,
        f"--train_file={data}",
        f"--validation_file={data}",
        f"--test_file={data}",
        *LEARNING,
    )
    return folder


@pytest.mark.slow
def test_a_run_leaves_transcripts_scores_and_the_whole_processor(trained):
    lines = (trained / "run" / "generated_predictions.txt").read_text().split("\n")
    assert len(lines) == len(TEXTS) + 1
    results = read_json(trained / "run" / "all_results.json")
    for name in ("eval_wer", "eval_cer", "eval_loss", "test_wer", "test_wer_normalized"):
        assert results[name] >= 0
    assert results["test_baseline_wer"] == pytest.approx(10 / 14)  # "two" every time
    for folder in (trained / "run", trained / "run" / "step_20"):
        processor = AutoProcessor.from_pretrained(folder)
        assert processor.feature_extractor.feature_size == 8
        assert processor.tokenizer.tokenize("two") == ["two"]
        AutoModelForSpeechSeq2Seq.from_pretrained(folder)


@pytest.mark.slow
def test_predict_and_transformers_transcribe_as_the_run_did(trained, tmp_path, capsys):
    lines = (trained / "run" / "generated_predictions.txt").read_text().splitlines()
    clips = [trained / "clips" / f"train-{number}.wav" for number in range(len(TEXTS))]
    found = load_predictor(trained / "run", batch_size=3)([*map(str, clips)])
    assert [each.values["transcript"] for each in found] == lines
    assert len(set(lines)) > 1 or lines[0], "else equal transcripts say little"
    predict.main([str(trained / "run"), "--file", str(trained / "train.csv"),
                  "--output", str(tmp_path / "out.csv")])  # fmt: skip
    rows = datasets.load_dataset("csv", data_files=str(tmp_path / "out.csv"))["train"]
    assert [row or "" for row in rows["transcript"]] == lines
    task = load_task(train_loop.parse_config([
        "--task_name=speech", f"--model_name_or_path={trained / 'run'}", "--do_eval",
        f"--validation_file={trained / 'train.csv'}", f"--output_dir={tmp_path / 'o'}"
    ]), pad_to_multiple_of=1)  # fmt: skip
    features = task.examples["validation"].collate(np.arange(len(TEXTS)))["input_features"]
    model = AutoModelForSpeechSeq2Seq.from_pretrained(trained / "run").eval()
    ids = model.generate(input_features=features)
    theirs = task.tokenizer.batch_decode(ids, skip_special_tokens=True)
    assert [" ".join(text.split()) for text in theirs] == lines


@pytest.mark.slow
def test_a_run_that_was_stopped_goes_on_to_the_same_bytes(trained, whisper, tmp_path):
    """It goes on in the middle of an epoch, and over its end."""
    shutil.copytree(trained / "run", tmp_path / "run")
    for name in ("model.safetensors", "metrics.jsonl", "generated_predictions.txt"):
        (tmp_path / "run" / name).unlink()
    for step in (40, 60):
        shutil.rmtree(tmp_path / "run" / f"step_{step}")
    record = read_json(tmp_path / "run" / "run.json")
    (tmp_path / "run" / "run.json").write_text(json.dumps(record | {"finished": False}))
    data = trained / "train.csv"
    run(
        tmp_path,
        whisper,
        f"--train_file={data}",
        f"--validation_file={data}",
        f"--test_file={data}",
        *LEARNING,
        "--resume_from_checkpoint=auto",
    )
    for name in ("model.safetensors", "generated_predictions.txt", "test_results.json"):
        assert (tmp_path / "run" / name).read_bytes() == (trained / "run" / name).read_bytes(), name


@pytest.mark.slow
def test_the_card_and_the_report(trained):
    card = (trained / "run" / "README.md").read_text()
    assert "automatic-speech-recognition" in card
    assert "type: wer" in card
    report.main([str(trained / "run")])
    page = (trained / "run" / "report.html").read_text()
    for heading in ("word error rate", "Words that are most often wrong", "By length"):
        assert heading in page


def writing(run, folder, texts, **options):
    """A copy of a run that wrote these transcripts, and had these options."""
    shutil.copytree(run, folder)
    found, _ = read_predictions_file(run)
    tokenizer = whisper_tokenizer()
    rows = [tokenizer(text).input_ids for text in texts]
    ids = np.full((len(rows), max(map(len, rows))), tokenizer.eos_token_id, np.int32)
    for at, row in enumerate(rows):
        ids[at, : len(row)] = row
    outputs = {"row": found.outputs["row"], "ids": ids}
    write_predictions_file(folder, found.split, found.fingerprint, outputs)
    record = read_json(folder / "run.json")
    record["options"] |= options
    (folder / "run.json").write_text(json.dumps(record))
    return folder


def table_rows(page, name):
    """The cells of every table's row with this name."""
    rows = re.findall(f"<tr><td>{name}</td>(.*?)</tr>", page.read_text(encoding="utf-8"))
    return [[*re.findall("<td>(.*?)</td>", row)] for row in rows]


# Of the 14 words of TEXTS five are wrong here, and nine below.
WRITTEN = [
    "one two",
    "two",
    "two one",
    "one",
    "three three three",
    "two",
    "one three",
    "one two one two",
]
OTHERS = ["one", "three", "one", "one", "one", "one", "one", "one"]


@pytest.mark.slow
def test_two_models_are_compared_recording_by_recording(trained, tmp_path):
    """The rates are ratios of sums; of 64 swaps of six recordings, 14 differ as much by chance."""
    first = writing(trained / "run", tmp_path / "first", WRITTEN)
    other = writing(trained / "run", tmp_path / "other", OTHERS, learning_rate=1.0)
    page = report.main([str(first), str(other), f"--output={tmp_path / 'c.html'}"])
    text = page.read_text(encoding="utf-8")
    assert "On 8 recordings of the test data" in text
    assert "word error rate (lower is better)" in text
    assert table_rows(page, "first")[0][0].startswith(f"{5 / 14:.4f} (")
    rate, difference, p_value = table_rows(page, "other")[0]
    assert rate.startswith(f"{9 / 14:.4f} (")
    assert difference.startswith(f"{4 / 14:+.4f} (")
    assert float(p_value) == pytest.approx(14 / 64, abs=0.02)
    assert "other has fewer errors in 1 recordings and more in 5." in text
    for title in ("character error rate", "By length", "validation word error rate"):
        assert title in text
    differ = text.split("Where they differ</h2>")[1]
    assert "recording 2: 1 → 0 errors" in differ
    assert '<mark class="wrong">two<small>three\u00a0✗</small></mark>' in differ
    # The page of one run marks the same words, and links to the rows of the table.
    alone = report.main([str(other)]).read_text(encoding="utf-8")
    assert 'train.csv#L4">train.csv:4</a>' in alone.split("recording 3: 2 errors")[1][:300]


@pytest.mark.slow
def test_groups_of_seeds_are_compared(trained, tmp_path):
    groups = {"a1": WRITTEN, "a2": TEXTS, "b1": OTHERS, "b2": OTHERS}
    folders = [
        writing(trained / "run", tmp_path / name, texts, seed=int(name[1]),
                learning_rate={"a": 1e-2, "b": 1.0}[name[0]])
        for name, texts in groups.items()
    ]  # fmt: skip
    page = report.main([*map(str, folders), f"--output={tmp_path / 'c.html'}"])
    (rate, *_), _, (seeds, spread, _) = table_rows(page, "a1, 2")
    assert rate.startswith(f"{2.5 / 14:.4f} (")
    assert (seeds, spread) == ("1, 2", f"{2.5 / 14:.4f} ± {np.std([5 / 14, 0], ddof=1):.4f}")
    _, difference, p_value = table_rows(page, "b1, 2")[0]
    assert difference.startswith(f"{6.5 / 14:+.4f} (")
    assert float(p_value) < 0.1


@pytest.mark.slow
def test_other_recordings_and_runs_without_transcripts_are_not_compared(whisper, trained, tmp_path):
    """The transcripts are the same, but the recordings are longer."""
    data, step = f"--train_file={trained / 'train.csv'}", "--max_train_steps=1"
    longer = write_table(tmp_path / "longer", seconds=0.7)
    run(tmp_path / "a", whisper, data, step, f"--test_file={longer}")
    with pytest.raises(InputError, match="recording 1 is another one, or has other gold transc"):
        report.main([str(trained / "run"), str(tmp_path / "a" / "run")])
    test = f"--test_file={trained / 'train.csv'}"
    run(tmp_path / "b", whisper, data, step, test, "--no_predict_with_generate")
    with pytest.raises(InputError, match=r"b/run: no predictions .* --predict_with_generate"):
        report.main([str(trained / "run"), str(tmp_path / "b" / "run")])


# --- what is read ---


@pytest.mark.slow
def test_every_kind_of_table_gives_the_same_examples(whisper, tmp_path):
    expected = load(tmp_path, whisper, f"--train_file={write_table(tmp_path)}").fingerprints
    clips = [f"clips/train-{number}.wav" for number in range(len(TEXTS))]
    rows = [{"file_name": clip, "transcription": t} for clip, t in zip(clips, TEXTS, strict=True)]
    (tmp_path / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    contents = [(tmp_path / clip).read_bytes() for clip in clips]
    inside = datasets.Dataset.from_dict({
        "audio": [{"path": None, "bytes": content} for content in contents], "text": TEXTS,
    })  # fmt: skip
    inside.to_parquet(tmp_path / "inside.parquet")
    decoded = inside.cast_column("audio", datasets.Audio(decode=True))
    datasets.DatasetDict({"train": decoded}).save_to_disk(tmp_path / "saved")
    for given in (
        [f"--train_file={tmp_path / 'metadata.jsonl'}"],
        [f"--train_file={tmp_path / 'inside.parquet'}"],
        [f"--dataset_name={tmp_path / 'saved'}"],
    ):
        assert load(tmp_path, whisper, *given).fingerprints == expected, given
    inside = f"--train_file={tmp_path / 'inside.parquet'}"
    parts = [load(tmp_path, whisper, inside, "--folds=2", f"--fold={fold}") for fold in (1, 2)]
    assert sum(len(part.examples["test"]) for part in parts) == len(TEXTS)


@pytest.mark.slow
def test_names_of_files_count_from_their_own_table(whisper, tmp_path):
    """Two tables of the same content, each beside other recordings."""
    one = load(tmp_path, whisper, f"--train_file={write_table(tmp_path / 'a')}")
    other = load(tmp_path, whisper, f"--train_file={write_table(tmp_path / 'b', seconds=0.7)}")
    assert one.fingerprints != other.fingerprints
    changed = tmp_path / "a" / "clips" / "train-0.wav"
    changed.write_bytes(tone(0.1))
    again = load(tmp_path, whisper, f"--train_file={tmp_path / 'a' / 'train.csv'}")
    assert again.fingerprints != one.fingerprints


@pytest.mark.slow
def test_what_is_too_long_is_left_out_and_counted(whisper, tmp_path):
    """Nothing is cut: the model hears one second and writes 16 sub-tokens."""
    data = write_table(tmp_path, ["one", "two", " ".join(["three"] * 14), "one two"])
    (tmp_path / "clips" / "train-1.wav").write_bytes(tone(1.01))
    task = load(tmp_path, whisper, f"--train_file={data}", f"--validation_file={data}",
                "--min_duration_in_seconds=0.61")  # fmt: skip
    train, validation = task.examples["train"], task.examples["validation"]
    assert validation.rows.tolist() == [0, 2, 3]  # 14 words, a prompt and an end are 16
    assert train.rows.tolist() == [2, 3]
    assert [*train.left_out.values()] == [1, 1]
    shown = "\n".join(text for _, text in task.describe())
    assert "1 recordings are left out: longer than the 1 s that the model hears" in shown
    assert any("validation: 1 of 4 recordings are left out" in line for line in task.warnings)
    data = write_table(tmp_path, ["one", " ".join(["three"] * 15)], name="more.csv")
    task = load(tmp_path, whisper, f"--train_file={data}")
    assert task.examples["train"].rows.tolist() == [0]


@pytest.mark.slow
def test_lines_of_predictions_are_rows_also_where_one_is_left_out(trained, tmp_path):
    data = write_table(tmp_path, ["one", "two", "three"], name="new.csv")
    (tmp_path / "clips" / "new-1.wav").write_bytes(tone(1.5))
    train_loop.main([
        "--task_name=speech", f"--model_name_or_path={trained / 'run'}", "--do_predict",
        f"--predict_file={data}", f"--output_dir={tmp_path / 'out'}",
    ])  # fmt: skip
    lines = (tmp_path / "out" / "generated_predictions.txt").read_text().split("\n")
    assert (len(lines), lines[1], lines[3]) == (4, "", "")


BAD = {
    "missing file": (None, "cannot be read"),
    "text": (b"hello, I am a text", "is no file of sound"),
    "cut off": (tone(0.3)[:-300], "cut off"),
    "empty": (b"", "the file is empty"),
    "no samples": (as_wav(np.zeros(0, np.int16), 16_000), "no samples"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_recording_ends_the_run_in_one_line(case, whisper, tmp_path, capfd):
    content, fragment = BAD[case]
    data = write_table(tmp_path)
    clip = tmp_path / "clips" / "train-2.wav"
    clip.unlink() if content is None else clip.write_bytes(content)
    given = arguments(tmp_path, whisper, f"--train_file={data}")
    refused(capfd, given, "train.csv:4", "clips/train-2.wav", fragment)


def test_other_rates_and_channels_are_said_once(whisper, tmp_path):
    data = write_table(tmp_path)
    (tmp_path / "clips" / "train-0.wav").write_bytes(tone(0.3, rate=8000))
    (tmp_path / "clips" / "train-1.wav").write_bytes(tone(0.3, channels=2))
    lines = [text for _, text in load(tmp_path, whisper, f"--train_file={data}").describe()]
    assert "resampled to 16,000 Hz: 1 of 8000 Hz" in lines
    assert "1 recordings have several channels: their mean is heard" in lines


def test_a_table_without_recordings_names_its_columns(whisper, tmp_path, capfd):
    (tmp_path / "a.csv").write_text("sound,text\nx.wav,one\n")
    given = arguments(tmp_path, whisper, f"--train_file={tmp_path / 'a.csv'}")
    refused(capfd, given, "no column 'audio'; there are sound, text", "--audio_column_name")


def test_an_extractor_of_another_model_is_refused(whisper, tmp_path, capfd):
    other = write_whisper(tmp_path / "other", max_source_positions=10)
    given = arguments(tmp_path, other, f"--train_file={write_table(tmp_path)}")
    refused(capfd, given, "8 mels in 20 frames", "--feature_extractor_name")


def test_a_model_of_texts_and_a_table_without_words_are_refused(whisper, tmp_path, capfd):
    T5Config(decoder_start_token_id=0).save_pretrained(tmp_path / "t5")
    data = write_table(tmp_path)
    given = arguments(tmp_path, tmp_path / "t5", f"--train_file={data}")
    given.append(f"--tokenizer_name={whisper}")
    refused(capfd, given, "no AutoModelForSpeechSeq2Seq for t5", "name another model")
    data = write_table(tmp_path, ["", ""])
    given = arguments(tmp_path, whisper, f"--train_file={data}")
    refused(capfd, given, "train: no transcript of the column 'text'", "--text_column_name")


def test_check_data_names_what_is_wrong(whisper, tmp_path, capfd):
    train = write_table(tmp_path, ["one", "", "two", "three"])
    dev = write_table(tmp_path, ["one", "two"], name="dev.csv")
    clips = tmp_path / "clips"
    (clips / "train-2.wav").write_bytes(as_wav(np.zeros(4000, np.int16), 16_000))
    (clips / "train-3.wav").write_bytes(b"no sound")
    (clips / "dev-1.wav").write_bytes(tone(31))
    code = train_loop.cli(["--task_name=speech", "--check_data", f"--train_file={train}",
                           f"--validation_file={dev}", f"--tokenizer_name={whisper}"])  # fmt: skip
    shown = capfd.readouterr()
    assert code == 1, shown.err
    for line in (
        "recordings that cannot be read: 1", "train-3.wav: is no file of sound",
        "empty transcripts: 1", "silent recordings: 1", "recordings that are too long",
        "the same recording in two splits: 1", "2 of 16000 Hz",
    ):  # fmt: skip
        assert line in shown.out, line


def test_task_is_short_for_task_name_but_before_the_words_of_whisper():
    given = ["--train_file=a.csv", "--model_name_or_path=m", "--language=en"]
    config = train_loop.parse_config(["--task_name=speech", *given, "--task", "translate"])
    assert (config.task_name, config.whisper_task) == ("speech", "translate")
    config = train_loop.parse_config(["--task=pos", *given[:2]])
    assert (config.task_name, config.whisper_task) == ("pos", "transcribe")


def test_whisper_tokenizer_knows_the_words():
    tokenizer = whisper_tokenizer()
    assert tokenizer.tokenize("two one three") == ["two", "Ġone", "Ġthree"]
