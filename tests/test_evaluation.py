"""Scores and predictions are the same bytes for any number of processes and any batch size."""

import json

import pytest
from launches import launch
from recordings import PITCHES, write_table, write_whisper

import train_loop
from tagloop.sample.bulletins import build_sample_bulletins
from tagloop.sample.corpus import build_sample_corpus, build_sample_texts
from tagloop.sample.questions import build_sample_questions

SIZES = (1, 2, 3, 11, 2000)  # with 2 and 3 processes: one, world - 1, world, more, thousands
BATCH_SIZES = {1: (1, 7, 64), 2: (1, 8), 3: (3, 8)}  # processes -> evaluation batch sizes
CONTEXT = "ner with context"
# The loop is the same for all tasks, so only one has all sizes and batches. The others have fewer
# sentences than processes, and more than a batch.
EVERY_SIZE = "ner"
FEW_NUMBERS, FEW_SIZES = (2, 60), {1: (7,), 2: (8,), 3: (8,)}
FILES = {
    "ner": ("predictions.conll", "predictions.txt", "eval_results.json", "test_results.json"),
    CONTEXT: ("predictions.conll", "predictions.txt", "eval_results.json", "test_results.json"),
    "classification": ("predictions.tsv", "eval_results.json", "test_results.json"),
    "mlm": ("predictions.tsv", "eval_results.json", "test_results.json"),
    "t5_mlm": ("predictions.tsv", "eval_results.json", "test_results.json"),
    "qa": (
        "predict_predictions.json",
        "predict_nbest_predictions.json",
        "predict_null_odds.json",
        "eval_results.json",
        "test_results.json",
    ),
    "summarization": ("generated_predictions.txt", "eval_results.json", "test_results.json"),
    "speech": ("generated_predictions.txt", "eval_results.json", "test_results.json"),
}

LENGTHS = {"summarization": ["--max_source_length=24"], "speech": []}
STRIDES = {
    "ner": ["--stride=5"],
    CONTEXT: ["--stride=5", "--context_tokens=6"],
    "qa": ["--doc_stride=5", "--version_2_with_negative"],
}


def content(folder, name, batch_size):
    """What must be equal to the byte; a probability or a loss only in batches of the same size."""
    text = (folder / name).read_text()
    if name.endswith(".tsv") and batch_size != 8:
        return [line.split("\t")[0] for line in text.splitlines()]
    if name.startswith("predict_nbest") and batch_size != 8:
        return {id_: [one["text"] for one in best] for id_, best in json.loads(text).items()}
    return text


def arguments(task, folder, data, model, batch_size):
    return [
        f"--task_name={task.split()[0]}",
        "--do_eval", "--do_predict", f"--validation_file={data}", f"--test_file={data}",
        f"--model_name_or_path={model}", f"--per_device_eval_batch_size={batch_size}",
        *LENGTHS.get(task, ["--max_length=24"]),
        f"--output_dir={folder}",
        *STRIDES.get(task, []),  # so that many sentences are several windows
        *(["--line_by_line"] if task in ("mlm", "t5_mlm") else []),
        # Two rows are generated greedily, and all others with beams.
        *(["--num_beams=2"] if task == "summarization" and data.stem != "2" else []),
    ]  # fmt: skip


def write_recordings(folder) -> tuple[list[dict], list[str]]:
    """Rows of recordings, and the options with which a small Whisper learns them."""
    words = [*PITCHES]
    texts = [" ".join(words[(n * k) % 3] for k in range(1, 2 + n % 3)) for n in range(18)]
    table = write_table(folder, texts, seconds=0.5)
    rows = [
        {"audio": f"clips/{table.stem}-{number}.wav", "text": text}
        for number, text in enumerate(texts)
    ]
    whisper = write_whisper(folder / "whisper")
    return rows, [f"--config_name={whisper}", f"--tokenizer_name={whisper}", "--no_report",
                  f"--train_file={table}", "--learning_rate=1e-2",
                  "--per_device_train_batch_size=3", "--generation_max_length=10"]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "build", "score"),
    [
        ("ner", build_sample_corpus, "f1"),
        (CONTEXT, build_sample_corpus, "f1"),
        ("classification", build_sample_texts, "macro_f1"),
        ("mlm", build_sample_texts, "accuracy"),
        ("t5_mlm", build_sample_texts, "accuracy"),
        ("qa", build_sample_questions, "f1"),
        ("summarization", build_sample_bulletins, "rouge1"),
        ("speech", None, "wer"),
    ],
)
def test_evaluation_does_not_depend_on_processes_or_batches(task, build, score, tmp_path):
    model = tmp_path / "model"
    common = ["--max_train_steps=60", f"--output_dir={model}", "--do_train"]
    if task == "speech":
        rows, learning = write_recordings(tmp_path)
        common += learning
    else:
        rows = build()["train"]
    if task == CONTEXT:
        rows = [row | {"doc_id": number // 7} for number, row in enumerate(rows)]
    train_loop.main([f"--task_name={task.split()[0]}", *common])
    expected = {}
    sizes = SIZES if task == EVERY_SIZE else FEW_NUMBERS
    for size in sizes:
        data = tmp_path / f"{size}.jsonl"
        data.write_text("".join(json.dumps(row) + "\n" for row in rows[-size:]))
        folder = tmp_path / f"expected-{size}"
        results = train_loop.main(arguments(task, folder, data, model, 8))
        expected[size] = folder
    best = 100 if task in ("qa", "summarization") else 1
    assert 0 < results[f"test_{score}"] < best, "else equal predictions say little"
    for processes, batch_sizes in (BATCH_SIZES if task == EVERY_SIZE else FEW_SIZES).items():
        runs = {
            (size, batch_size): arguments(
                task,
                tmp_path / f"{processes}-{size}-{batch_size}",
                tmp_path / f"{size}.jsonl",
                model,
                batch_size,
            )
            for size in sizes
            for batch_size in batch_sizes
            if size < SIZES[-1] or batch_size == batch_sizes[-1]  # Thousands take long one by one.
        }
        plan = tmp_path / f"{processes}.json"
        plan.write_text(json.dumps(list(runs.values())))
        launch(str(plan), script="tests/mains_worker.py", processes=processes)
        for size, batch_size in runs:
            folder = tmp_path / f"{processes}-{size}-{batch_size}"
            for name in FILES[task]:
                case = f"{name}: {processes} processes, {size} sentences, batches of {batch_size}"
                found = content(folder, name, batch_size)
                assert found == content(expected[size], name, batch_size), case
