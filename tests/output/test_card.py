"""The model card: read by the hub's own parser, true to the results, and never at a user's cost."""

import json
import re
import shlex
import subprocess
from pathlib import Path

import pytest
from huggingface_hub import ModelCard
from launches import SMALL, read_json

import predict
import train_loop
from tagloop.checkpoints import checkpoint
from tagloop.options.lists import options_about

MODEL_OF_THE_FIXTURE = [
    f"--{option}={Path(__file__).parents[1] / 'fixtures' / 'checkpoint-v1' / 'model'}"
    for option in ("config_name", "tokenizer_name")
]
SHORT = [*SMALL, "--max_train_steps=2"]


def load(folder):
    return ModelCard.load(folder / "README.md")


def scores_of(card):
    """{(split, name): value} of the metadata."""
    return {(r.dataset_split, r.metric_name): r.metric_value for r in card.data.eval_results}


def tables(card):
    """The tables of a card, as lists of rows of cells, the header first."""
    found = re.findall(r"(?:^\|.*\|\n)+", card.text, re.MULTILINE)
    rows = [[line[2:-2].split(" | ") for line in table.splitlines()] for table in found]
    return [[row for row in table if row is not table[1]] for table in rows]


@pytest.mark.slow
def test_scores_are_those_of_the_run_and_of_every_type(trained, tmp_path):
    card, results = load(trained), read_json(trained / "all_results.json")
    assert card.data.pipeline_tag == "token-classification"
    assert (card.data.library_name, card.data.model_name) == ("transformers", trained.name)
    known = scores_of(card)
    for part, split in (("eval", "validation"), ("test", "test")):
        for name in ("f1", "precision", "recall", "accuracy", "strict_f1"):
            expected = pytest.approx(results[f"{part}_{name}"], abs=5e-5)
            assert known[split, name.replace("_", " ")] == expected
    # The same run, asked for every type, has them among its results.
    folder = tmp_path / "run"
    options = ["--max_length=20", "--stride=6", "--return_entity_level_metrics"]
    asked = train_loop.main([*SMALL, *options, f"--output_dir={folder}"])
    by_type = next(table for table in tables(card) if table[0][0] == "test, by type")
    assert by_type[0][1:] == ["precision", "recall", "f1", "number"]
    assert {row[0] for row in by_type[1:]} == {"LOC", "MISC", "ORG", "PER"}
    for type_, *cells in by_type[1:]:
        values = [asked[f"test_{type_}_{name}"] for name in ("precision", "recall", "f1")]
        assert cells == [*(f"{v:.4f}" for v in values), f"{asked[f'test_{type_}_number']:,}"]
        assert known["test", f"f1 of {type_}"] == pytest.approx(values[2], abs=5e-5)
    assert scores_of(load(folder)) == known
    assert "types" not in json.dumps(asked) + (folder / "metrics.jsonl").read_text()


def test_the_code_in_it_works(trained, monkeypatch, capsys):
    """The command, tagloop from Python, and transformers alone find the same entities."""
    text = load(trained).text.replace("A sentence.", "Ann Lee lives in Oslo .")
    (command,) = re.findall(r"```bash\ntagloop predict (.*?)\n```", text)
    own, others = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    monkeypatch.chdir(trained.parent)
    assert predict.cli(shlex.split(command)) == 0
    told = json.loads(capsys.readouterr().out)["entities"]
    names = {}
    exec(own, names)
    (tagged,) = names["predictor"]("Ann Lee lives in Oslo .")
    assert tagged.entities == told
    exec(others, names)
    found = names["tagger"]("Ann Lee lives in Oslo .")
    assert [(e["start"], e["end"]) for e in found] == [(e["start"], e["end"]) for e in told]


def test_data_options_and_versions_are_there_and_paths_are_not(trained, tmp_path, capfd):
    data = tmp_path / "secret-project" / "train.conll"
    data.parent.mkdir()
    data.write_text("Bruno B-PER\nlives O\n\nBonn B-LOC\nsaw O\n\n" * 12, encoding="utf-8")
    train_loop.main(
        [f"--train_file={data}", "--validation_fraction=0.25", f"--config_name={trained}",
         f"--tokenizer_name={trained}", "--ignore_mismatched_sizes", "--num_train_epochs=1",
         "--hub_token=hf_secret", f"--output_dir={tmp_path / 'run'}"]
    )  # fmt: skip
    card = load(tmp_path / "run")
    rows = {row[0]: row[1:] for table in tables(card) for row in table}
    assert rows["train"][0] == "train.conll"
    assert rows["validation"][0] == "0.25 of train.conll"
    assert "18 sentences, 36 words" in rows["train"][1]
    assert "3: B-LOC, B-PER, O" in card.text
    assert "    --validation_fraction 0.25\n" in card.text
    assert "    --train_file train.conll\n" in card.text
    versions = read_json(tmp_path / "run" / "run.json")["environment"]["versions"]
    assert f"torch {versions['torch']}" in card.text
    for private in ("secret-project", str(tmp_path), "hf_secret"):
        assert private not in str(card)


@pytest.mark.slow
def test_only_options_that_tell_of_the_model_are_published(tmp_path):
    """The others name places of this machine, or how the work was done, shown and logged."""
    train_loop.main(
        [*SHORT, "--seed=7", "--weight_decay=0.1", "--no_report", "--no_packing", "--profile",
         "--preprocessing_num_workers=1", "--per_device_eval_batch_size=4", "--logging_steps=1",
         "--return_entity_level_metrics", "--dataloader_num_workers=0", "--auto_micro_batch",
         "--no_async_checkpoints", "--checkpointing_steps=2", f"--output_dir={tmp_path / 'run'}"]
    )  # fmt: skip
    text = load(tmp_path / "run").text
    published = set(re.findall(r"^    --(\w+)", text, re.MULTILINE))
    assert {"seed", "weight_decay", "max_train_steps", "learning_rate"} <= published
    assert published <= set(options_about("data", "model", "training"))
    assert published.isdisjoint(
        {"report", "packing", "profile", "preprocessing_num_workers", "logging_steps",
         "per_device_eval_batch_size", "auto_micro_batch", "return_entity_level_metrics",
         "group_by_length"}  # the last is as a new run decides by itself
    )  # fmt: skip


@pytest.mark.medium
@pytest.mark.parametrize("text", [b"---\nlicense: mit\n---\nMine\n", b"\xff\xfe"])
def test_a_card_of_somebody_else_stays(tmp_path, text, capfd):
    card = tmp_path / "README.md"
    card.write_bytes(text)
    train_loop.main([*SHORT, f"--output_dir={tmp_path}", "--overwrite_output_dir"])
    assert card.read_bytes() == text
    assert "README.md is not as tagloop wrote it and stays" in capfd.readouterr().out


@pytest.mark.slow
def test_an_edited_card_stays_and_an_own_one_is_renewed(tmp_path, monkeypatch, capfd):
    folder = tmp_path / "run"
    train_loop.main([*SHORT, f"--output_dir={folder}"])
    card = folder / "README.md"
    first = card.read_text(encoding="utf-8")
    again = [*SHORT, f"--output_dir={folder}", "--overwrite_output_dir", "--seed=7"]
    with monkeypatch.context() as patch:
        patch.setattr(train_loop, "train", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            train_loop.main(again)
    assert not card.exists(), "scores of a run that is no more"
    (folder / "tmp-README.md").write_text(first[:50])  # killed while writing
    train_loop.main(again)
    assert "--seed 7" in load(folder).text
    assert not (folder / "tmp-README.md").exists()
    assert "README.md is not as" not in capfd.readouterr().out
    edited = card.read_text(encoding="utf-8").replace("## Use", "## How I use it")
    card.write_text(edited, encoding="utf-8")
    train_loop.main([*again, "--seed=8"])
    assert card.read_text(encoding="utf-8") == edited
    assert "README.md is not as" in capfd.readouterr().out


def test_tags_that_mean_something_to_markdown_or_yaml(trained, tmp_path):
    tags = ["|", "*", "`", "PRP$", "<b>", "-a", "null", "名"]
    file = tmp_path / "train.jsonl"
    rows = [{"tokens": ["a"] * len(tags), "pos_tags": tags}] * 8
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    train_loop.main(
        ["--task_name=pos", f"--train_file={file}", f"--validation_file={file}",
         f"--config_name={trained}", f"--tokenizer_name={trained}", "--ignore_mismatched_sizes",
         "--num_train_epochs=1", f"--output_dir={tmp_path / 'run'}"]
    )  # fmt: skip
    card = load(tmp_path / "run")
    assert {("validation", f"f1 of {tag}") for tag in tags} <= scores_of(card).keys()
    assert ("validation", "macro f1") in scores_of(card)
    for tag in (r"\|", r"\*", r"\`", r"PRP\$", r"\<b\>"):
        assert f"\n| {tag} | " in card.text
    assert "aggregation_strategy" not in card.text, "it would join neighbours of the same tag"


@pytest.mark.medium
@pytest.mark.parametrize("name", ["a\n\n# b\n", "| `c` |", "```\n# b", "it's\r# b", "\u2028# b"])
def test_names_of_files_and_folders_stay_in_their_places(tmp_path, name):
    data = tmp_path / f"{name}.conll"
    data.write_text("Bruno B-PER\nlives O\n\nBonn B-LOC\nsaw O\n\n" * 12, encoding="utf-8")
    folder = tmp_path / f"run {name}"
    train_loop.main(
        [f"--train_file={data}", f"--validation_file={data}", "--num_train_epochs=1",
         f"--output_dir={folder}", *MODEL_OF_THE_FIXTURE, "--checkpointing_steps=1"]
    )  # fmt: skip
    card = load(folder)
    lines = card.text.splitlines()
    assert [line for line in lines if line.startswith("## ")] == [
        "## Scores", "## Use", "## Labels", "## Data", "## Training"
    ]  # fmt: skip
    assert sum(line.startswith("# ") for line in lines) == 1
    assert sum(line.startswith("```") for line in lines) == 6
    assert card.data.pipeline_tag == "token-classification"
    rows = [row for table in tables(card) for row in table if row[0] in ("train", "validation")]
    assert {"train", "validation"} <= {row[0] for row in rows}
    for code in re.findall(r"```python\n(.*?)\n```", card.text, re.DOTALL):
        assert repr(folder.name) in code
    (option,) = [line for line in lines if line.startswith("    --train_file ")]
    command = ["bash", "-c", f"printf %s {option.split(' ', 5)[5]}"]
    told = subprocess.run(command, capture_output=True, check=True)
    assert told.stdout.decode() == data.name


@pytest.mark.parametrize("labels", [("good", "bad"), ("0.5", "2.0")])
def test_a_card_of_the_second_task(trained, tmp_path, labels):
    file = tmp_path / "train.csv"
    rows = [f"It was {label} .,{label}" for label in labels] * 6
    file.write_text("\n".join(["sentence,label", *rows, ""]), encoding="utf-8")
    train_loop.main(
        ["--task_name=classification", f"--train_file={file}", f"--validation_file={file}",
         f"--config_name={trained}", f"--tokenizer_name={trained}", "--ignore_mismatched_sizes",
         "--num_train_epochs=1", f"--output_dir={tmp_path / 'run'}"]
    )  # fmt: skip
    card = load(tmp_path / "run")
    assert card.data.pipeline_tag == "text-classification"
    names = {name for _, name in scores_of(card)}
    if labels[0] == "good":
        assert {"accuracy", "macro f1", "matthews", "f1 of good", "f1 of bad"} <= names
        assert "2: bad, good" in card.text
    else:
        assert names == {"pearson", "mse"}
        assert "A number for every text" in card.text
        assert "## Labels" not in card.text


@pytest.mark.slow
def test_scores_by_type_outlive_a_stop_before_the_card(tmp_path):
    """Also in a checkpoint of version 1, which kept them among the results."""
    folder = tmp_path / "run"
    options = [*SHORT, "--checkpointing_steps=1", f"--output_dir={folder}"]
    train_loop.main(options)
    expected = (folder / "README.md").read_text(encoding="utf-8")
    assert "validation, by type" in expected
    for is_old in (False, True):
        manifest = read_json(folder / "step_2" / "manifest.json")
        if is_old:
            state = manifest["state"]
            for which in ("last", "best"):
                state[f"{which}_results"]["types"] = state.pop(f"{which}_by_type")
            manifest.pop("sha256")
            manifest["sha256"] = checkpoint._digest(manifest)
            (folder / "step_2" / "manifest.json").write_text(json.dumps(manifest))
        for name in ("README.md", "run.json", "model.safetensors"):
            (folder / name).unlink()
        train_loop.main([*options, "--resume_from_checkpoint=auto"])
        found = (folder / "README.md").read_text(encoding="utf-8")
        assert found.split("## Training")[0] == expected.split("## Training")[0]


def test_only_scoring_writes_no_card(trained, tmp_path):
    folder = tmp_path / "scored"
    sample = Path(__file__).parents[1] / "fixtures" / "checkpoint-v1" / "train.conll"
    train_loop.main(
        ["--do_eval", f"--validation_file={sample}", f"--model_name_or_path={trained}",
         f"--output_dir={folder}"]
    )  # fmt: skip
    assert not (folder / "README.md").exists()
