"""A trained tagger on data with tags that it never saw: scored as a training run scores them."""

import pytest
from launches import SMALL, read_json

import train_loop
from tagloop.sample.corpus import build_sample_corpus
from tagloop.tasks.tagging.scores import TokenScores


def write_corpus(path, rename):
    lines = []
    for row in build_sample_corpus()["test"][:60]:
        lines += [f"{w} {rename(t)}" for w, t in zip(row["tokens"], row["ner_tags"], strict=True)]
        lines.append("")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def read_predictions(folder):
    """Gold and predicted tags of every sentence of predictions.conll."""
    blocks = (folder / "predictions.conll").read_text(encoding="utf-8").strip().split("\n\n")
    rows = [[line.split(" ") for line in block.split("\n")] for block in blocks]
    return [[row[1] for row in block] for block in rows], [[r[2] for r in b] for b in rows]


@pytest.mark.slow
@pytest.mark.parametrize("labels", [[], ["--label_all_tokens"]])
def test_tags_that_the_model_never_saw_count_as_missed(labels, trained, tmp_path, capfd):
    known = write_corpus(tmp_path / "known.conll", lambda tag: tag)
    new = write_corpus(tmp_path / "new.conll", lambda tag: tag.replace("ORG", "FIRM"))
    results = {}
    for file in (known, new):
        folder = tmp_path / file.stem
        train_loop.main(
            ["--do_eval", "--do_predict", f"--validation_file={file}", f"--test_file={file}",
             f"--model_name_or_path={trained}", f"--output_dir={folder}", *labels]
        )  # fmt: skip
        results[file.stem] = read_json(folder / "all_results.json")
        gold, predicted = read_predictions(folder)
        scores = TokenScores().compute(predictions=predicted, references=gold, task="ner")
        for name in ("f1", "recall", "precision", "strict_f1", "accuracy"):
            assert results[file.stem][f"eval_{name}"] == pytest.approx(scores[name])
            assert results[file.stem][f"test_{name}"] == pytest.approx(scores[name])
    assert any("B-FIRM" in tags for tags in gold)
    assert not any("B-FIRM" in tags for tags in predicted)
    assert 0 < results["new"]["eval_recall"] < results["known"]["eval_recall"]
    said = capfd.readouterr().out
    assert said.count("the model was not trained on B-FIRM, I-FIRM of the data") == 1
    assert len((tmp_path / "new" / "predictions.txt").read_text().splitlines()) == 60


def test_data_of_which_it_knows_no_tag_is_refused(trained, tmp_path, capfd):
    other = write_corpus(tmp_path / "a.conll", lambda tag: tag and tag.replace("-", "-X"))
    arguments = ["--do_eval", f"--validation_file={other}", f"--model_name_or_path={trained}"]
    assert train_loop.cli([*arguments, f"--output_dir={tmp_path / 'o'}"]) == 2
    assert "a head has to be trained on them first" in capfd.readouterr().err


def test_training_on_new_tags_still_asks_for_a_new_head(trained, tmp_path, capfd):
    new = write_corpus(tmp_path / "new.conll", lambda tag: tag.replace("ORG", "FIRM"))
    arguments = [*SMALL, f"--train_file={new}", f"--model_name_or_path={trained}"]
    assert train_loop.cli([*arguments, f"--output_dir={tmp_path / 'o'}"]) == 2
    assert "--ignore_mismatched_sizes" in capfd.readouterr().err
