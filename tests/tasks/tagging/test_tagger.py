"""A trained folder -> tags and entities: those of the run itself, and of transformers' pipeline."""

import json
import random
import shutil

import pytest
import transformers
from safetensors.torch import load_file, save_file
from tiny import build_model, model_config, tokenizer_like

import train_loop
from tagloop.errors import InputError
from tagloop.tasks.tagging.tagger import load_tagger

# Other tests may have more; these the tokenizer of the sample splits into words as we do.
TEXTS = [
    "In Alderedstan , Ann Lee met Bob of Siemens .",
    "Ann Lee lives in Oslo and works for Siemens AG.",
    "Mary (63) left Paris on Monday!",
    "",
]


def read_conll(path) -> list[list[list[str]]]:
    """Sentences of lines of columns."""
    blocks = path.read_text(encoding="utf-8").strip("\n").split("\n\n")
    return [[line.split(" ") for line in block.splitlines()] for block in blocks]


@pytest.fixture(scope="module")
def tagger(trained):
    return load_tagger(trained)


@pytest.mark.slow
def test_tags_are_the_training_runs_own_predictions(trained, tagger):
    sentences = read_conll(trained / "predictions.conll")
    results = tagger([[columns[0] for columns in lines] for lines in sentences])
    own = (trained / "predictions.txt").read_text(encoding="utf-8").splitlines()
    assert [" ".join(result.tags) for result in results] == own
    assert len(set(" ".join(own).split())) > 3  # else equal tags say little


def test_a_long_text_is_tagged_in_the_windows_of_training(trained, tagger, tmp_path):
    """The run predicts a sentence of 1,500 words; other windows would give it other tags."""
    sentences = read_conll(trained / "predictions.conll")
    words = [columns[0] for lines in sentences * 4 for columns in lines][:1500]
    (tmp_path / "long.conll").write_text("\n".join(words) + "\n", encoding="utf-8")
    folder = tmp_path / "run"
    train_loop.main(
        ["--do_predict", f"--model_name_or_path={trained}", f"--output_dir={folder}",
         f"--predict_file={tmp_path / 'long.conll'}", "--max_length=20", "--stride=6"]
    )  # fmt: skip
    own = (folder / "predictions.txt").read_text(encoding="utf-8").split()
    assert tagger([words])[0].tags == own
    assert load_tagger(trained, batch_size=3)([words])[0].tags == own
    other = shutil.copytree(trained, tmp_path / "other")
    config = json.loads((other / "config.json").read_text(encoding="utf-8"))
    config["tagloop"]["max_length"] = 200
    (other / "config.json").write_text(json.dumps(config), encoding="utf-8")
    assert load_tagger(other)([words])[0].tags != own, "the windows make no difference here"


def test_entities_are_those_of_the_pipeline(trained, tmp_path):
    """The pipeline takes the likeliest label of every word."""
    folder = shutil.copytree(trained, tmp_path / "best")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config["tagloop"]["decoding"] = "best"
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    tagger = load_tagger(folder)
    pipeline = transformers.pipeline(
        "token-classification", str(trained), aggregation_strategy="first", device="cpu"
    )
    texts = TEXTS[:-1]
    sentences = read_conll(trained / "predictions.conll")
    short = [[columns[0] for columns in lines[at : at + 6]] for lines in sentences for at in (0, 6)]
    texts += [" ".join(words) for words in short if all(w.isalpha() or len(w) == 1 for w in words)]
    found = 0
    for text, result in zip(texts, tagger(texts), strict=True):
        if len(tagger.tokenizer(text).input_ids) > tagger.max_length:
            continue
        theirs = [(e["start"], e["end"], e["entity_group"]) for e in pipeline(text)]
        ours = [(e["start"], e["end"], e["label"]) for e in result.entities]
        assert ours == theirs, text
        for entity, other in zip(result.entities, pipeline(text), strict=True):
            assert entity["score"] == pytest.approx(other["score"], abs=1e-4)
        found += len(ours)
    assert found > 10


def test_entities_are_the_text_exactly_in_any_script(tagger):
    pieces = ["Ann", "Oslo", "Siemens", "AG", "👍🏽", "🇩🇪", "👨‍👩‍👧", "नरेंद्र",
              "上海", "e\u0301té", "𝒳",
              "\u00a0", "\u2028", "\u3000", "\u200b",
              "\u062f\u200c\u0631", "Ω", "(", ")", ".", "'s", "\t", "\x00"]  # fmt: skip
    rng = random.Random(0)
    texts = [
        "".join(p + rng.choice(["", " "]) for p in rng.choices(pieces, k=15)) for _ in range(99)
    ]
    found = 0
    for text, result in zip(texts, tagger(texts), strict=True):
        assert result.text == text
        assert len(result.tokens) == len(result.tags) == len(result.scores)
        assert all(0 < score <= 1 for score in result.scores)
        for entity in result.entities:
            assert text[entity["start"] : entity["end"]] == entity["text"] != ""
            assert 0 < entity["score"] <= 1
        found += len(result.entities)
    assert found > 50


def test_texts_words_and_both_may_be_mixed(tagger):
    words = ["Ann", "Lee", "lives", "in", "Oslo"]
    text = "Ann  Lee\tlives in Oslo"
    of_text, of_words, of_both, empty, nothing = tagger([text, words, (text, words), "", []])
    assert of_text.tags == of_words.tags == of_both.tags
    assert of_text.entities == of_both.entities
    assert of_text.tokens == words
    assert of_words.text == "Ann Lee lives in Oslo"
    assert empty.tokens == empty.tags == empty.entities == nothing.tokens == []
    assert [entity["text"] for entity in of_words.entities] == [
        entity["text"].replace("  ", " ").replace("\t", " ") for entity in of_text.entities
    ]


def test_a_string_is_one_text(tagger):
    (result,) = tagger(TEXTS[0])
    assert result.tokens == tagger([TEXTS[0]])[0].tokens
    assert len(result.tokens) > 5


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_length", 1), ("max_length", 2), ("max_length", "20"), ("max_length", True),
        ("stride", -1), ("stride", 2.5), ("words", "letters"), ("task", ["ner"]),
    ],
)  # fmt: skip
def test_a_record_that_no_run_wrote_is_refused(trained, tmp_path, name, value):
    folder = shutil.copytree(trained, tmp_path / "model")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config["tagloop"][name] = value
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(InputError, match=rf"config\.json: tagloop\.{name}"):
        load_tagger(folder)


def test_weights_that_are_not_finite_are_refused(trained, tmp_path):
    folder = shutil.copytree(trained, tmp_path / "model")
    weights = load_file(folder / "model.safetensors")
    weights["classifier.weight"][0, 0] = float("nan")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match="not finite"):
        load_tagger(folder)


def test_a_folder_without_tokenizer_files_is_refused(trained, tmp_path):
    folder = shutil.copytree(trained, tmp_path / "model")
    for path in folder.glob("*token*"):
        path.unlink()
    with pytest.raises(InputError, match=r"vocabulary is empty.*tokenizer\.json"):
        load_tagger(folder)


def test_the_card_says_that_the_pipeline_decodes_in_another_way(trained):
    card = (trained / "README.md").read_text(encoding="utf-8")
    assert "(`--decoding legal`); `pipeline` takes the likeliest label of each word" in card


def test_the_way_of_splitting_is_recorded_and_can_be_overridden(trained):
    saved = json.loads((trained / "config.json").read_text(encoding="utf-8"))
    recorded = {
        "task": "ner", "words": "punctuation", "max_length": 20, "stride": 6, "decoding": "legal",
    }  # fmt: skip
    assert saved["tagloop"] == recorded
    assert load_tagger(trained)(["won."])[0].tokens == ["won", "."]
    assert load_tagger(trained, words="blanks")(["won."])[0].tokens == ["won."]
    assert load_tagger(trained, words="characters")(["won."])[0].tokens == list("won.")


def test_the_record_is_not_part_of_the_runs_identity(trained, tmp_path):
    """A model that carries a record can be trained again, resumed, and then has its own record."""
    rows = [{"tokens": ["Ann", "won."], "ner_tags": ["B-PER", "O"]}] * 8
    data = tmp_path / "train.jsonl"
    data.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    options = [
        f"--model_name_or_path={trained}", f"--train_file={data}",
        f"--output_dir={tmp_path / 'run'}",
        "--checkpointing_steps=1", "--num_train_epochs=2",
    ]  # fmt: skip
    train_loop.main([*options, "--resume_from_checkpoint=auto"])
    (tmp_path / "run" / "run.json").write_text(
        (tmp_path / "run" / "run.json").read_text().replace('"finished": true', '"finished": false')
    )
    train_loop.main([*options, "--resume_from_checkpoint=auto"])
    identity = json.dumps(json.loads((tmp_path / "run/step_1/manifest.json").read_text()))
    assert '"punctuation"' not in identity
    saved = json.loads((tmp_path / "run" / "config.json").read_text(encoding="utf-8"))
    assert saved["tagloop"]["words"] == "blanks"


def test_a_model_of_other_origin_and_without_spans(tmp_path):
    tokenizer_like("word_piece").save_pretrained(tmp_path)
    build_model(model_config("bert", labels=("NOUN", "VERB"))).save_pretrained(tmp_path)
    (result,) = load_tagger(tmp_path)(["john lives in berlin and " * 40])
    assert len(result.tags) == 200  # more than the 64 positions of the model
    assert set(result.tags) <= {"NOUN", "VERB"}
    assert result.entities == []


def test_bf16_agrees_with_float32(trained, tagger):
    words = [[columns[0] for columns in s] for s in read_conll(trained / "predictions.conll")]
    tags = [tag for result in tagger(words) for tag in result.tags]
    half = load_tagger(trained, mixed_precision="bf16")(words)
    half_tags = [tag for result in half for tag in result.tags]
    assert sum(map(str.__eq__, tags, half_tags)) / len(tags) > 0.97


def test_a_folder_that_cannot_tag_is_named(trained, tmp_path):
    def broken(name: str, change) -> str:
        folder = tmp_path / name
        shutil.copytree(trained, folder)
        change(folder)
        with pytest.raises(InputError) as caught:
            load_tagger(folder)
        message = str(caught.value)
        assert message.startswith(str(folder))
        assert "\n" not in message
        return message

    assert "no config.json" in broken("run", lambda folder: (folder / "config.json").unlink())
    assert "config.json" in broken("json", lambda f: (f / "config.json").write_text("{"))
    assert "model" in broken("weights", lambda f: (f / "model.safetensors").write_bytes(b"x" * 99))
    with pytest.raises(InputError, match="no such folder"):
        load_tagger(tmp_path / "nothing")
    bare = transformers.BertModel(transformers.AutoConfig.from_pretrained(trained))
    bare.save_pretrained(tmp_path / "bare")
    tokenizer_like("word_piece").save_pretrained(tmp_path / "bare")
    with pytest.raises(InputError, match="no trained head"):
        load_tagger(tmp_path / "bare")
