"""The commands of the examples' own tests, with the name of the script, files and model changed.

Their models need a download; here each is a narrow one from scratch, so no threshold is asked for.
The tests of tagging, classes and questions beside each task reach theirs with MiniLM.
"""

import datasets
import pytest
from launches import read_json
from recordings import PITCHES, TEXTS, tone, write_loud_weights, write_whisper
from tiny import model_config, tokenizer_like
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSeq2SeqLM,
)

import predict
import train_loop
from tagloop.sample.model import begin_with_cls, build_sample_tokenizer, end_with_sep

MODELS = {  # the class that makes the weights, and the type of the model
    "classification": (AutoModel, "bert"),
    "qa": (AutoModel, "bert"),
    "mlm": (AutoModelForMaskedLM, "bert"),
    "clm": (AutoModelForCausalLM, "gpt2"),
    "summarization": (AutoModelForSeq2SeqLM, "t5"),
}
NEW = {"mlm": ["--text", "The [MASK] had ceased"], "qa": ["--file", "{data}"]}  # else a text
NO_TRAINER = "--checkpointing_steps epoch --with_tracking"
QA = (
    "--version_2_with_negative --learning_rate=2e-4 --per_device_train_batch_size=2"
    " --per_device_eval_batch_size=1"
)
CASES = {  # task, fixture, command, scores that the test there reads
    "run_glue_no_trainer.py": (
        "classification", "mrpc_train.csv",
        "--per_device_train_batch_size=2 --per_device_eval_batch_size=1 --learning_rate=1e-4 "
        f"--seed=42 {NO_TRAINER}",
        ["accuracy"],
    ),
    "run_clm_no_trainer.py": (
        "clm", "sample_text.txt",
        "--block_size 128 --per_device_train_batch_size 5 --per_device_eval_batch_size 5 "
        f"--num_train_epochs 2 {NO_TRAINER}",
        ["perplexity"],
    ),
    "run_mlm_no_trainer.py": (
        "mlm", "sample_text.txt", f"--num_train_epochs=1 {NO_TRAINER}", ["perplexity"],
    ),
    "run_mlm.py": (
        "mlm", "sample_text.txt",
        "--overwrite_output_dir --do_train --do_eval --prediction_loss_only --num_train_epochs=1 "
        "--use_cpu",
        ["perplexity"],
    ),
    "run_qa_no_trainer.py": (
        "qa", "squad_sample.json",
        f"{QA} --seed=42 --max_train_steps=10 --num_warmup_steps=2 {NO_TRAINER}",
        ["f1", "exact"],
    ),
    "run_qa.py": (
        "qa", "squad_sample.json",
        f"{QA} --overwrite_output_dir --max_steps=10 --warmup_steps=2 --do_train --do_eval",
        ["f1", "exact"],
    ),
    "run_summarization_no_trainer.py": (
        "summarization", "xsum_sample.json",
        "--max_train_steps=10 --num_warmup_steps=8 --learning_rate=2e-4 "  # there 50 updates
        "--per_device_train_batch_size=2 --per_device_eval_batch_size=1 "
        f"{NO_TRAINER} --generation_max_length=4",  # This model does not write an end.
        ["rouge1", "rouge2", "rougeL", "rougeLsum"],
    ),
}  # fmt: skip


def write_model(folder, task, data):
    """A folder with a narrow model of the task."""
    auto_class, kind = MODELS[task]
    sizes = {"bert": {"max_position_embeddings": 384}, "gpt2": {"n_positions": 128}}.get(kind, {})
    tokenizer = build_sample_tokenizer([data.read_text(encoding="utf-8").split()])
    tokenizer.model_max_length = 384
    if kind == "gpt2":
        begin_with_cls(tokenizer)
    if kind == "t5":
        end_with_sep(tokenizer)
        sizes = {"eos_token_id": tokenizer.eos_token_id, "decoder_start_token_id": 0}
    labels = ["LABEL_0", "LABEL_1"]  # of a model without labels
    config = model_config(kind, labels, vocab_size=len(tokenizer), **sizes)
    auto_class.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("script", CASES)
def test_the_command_of_the_examples_runs(script, corpora, tmp_path):
    task, fixture, command, scores = CASES[script]
    if task == "summarization":
        pytest.importorskip("rouge_score", reason="pip install -r requirements-summarization.txt")
    data = corpora / "samples" / fixture
    model, folder = write_model(tmp_path / "model", task, data), tmp_path / "run"
    results = train_loop.main(
        [f"--task_name={task}", f"--model_name_or_path={model}", f"--train_file={data}",
         f"--validation_file={data}", f"--output_dir={folder}", *command.split()]
    )  # fmt: skip
    assert all(results[f"eval_{score}"] >= 0 for score in scores)
    assert (folder / "epoch_0").is_dir() == (NO_TRAINER in command)
    assert (folder / f"{task}_no_trainer").is_dir() == (NO_TRAINER in command)
    applied = [word.format(data=data) for word in NEW.get(task, ["--text", "The rain had"])]
    assert predict.cli([str(folder), *applied]) == 0


@pytest.mark.slow
def test_values_of_the_configuration_are_replaced(corpora, tmp_path, capfd):
    """run_clm.py; and a name or a value that the configuration has not is said in one line."""
    tokenizer_like("byte_level", "$A", eos_token="[SEP]").save_pretrained(tmp_path / "tokenizer")
    given = [
        "--task_name=clm", "--model_type=gpt2", f"--tokenizer_name={tmp_path / 'tokenizer'}",
        f"--train_file={corpora / 'samples' / 'sample_text.txt'}", "--use_cpu",
        f"--output_dir={tmp_path / 'run'}", "--num_train_epochs=1",
    ]  # fmt: skip
    small = "n_embd=10,n_head=2,n_layer=1,vocab_size=400"
    train_loop.main([*given, "--config_overrides", small])
    facts = read_json(tmp_path / "run" / "config.json")
    assert [facts[name] for name in ("n_embd", "n_head", "n_layer")] == [10, 2, 1]
    for wrong in ("n_embed=10", "n_embd=ten", "n_embd"):
        more = ["--config_overrides", wrong, "--overwrite_output_dir"]
        assert train_loop.cli([*given, *more]) == 2
        error = capfd.readouterr().err
        assert error.startswith(f"error: --config_overrides {wrong}: ")
        assert len(error.splitlines()) == 1


SPEECH = {
    "run_flax_speech_recognition_seq2seq.py": (
        "--dataset_config clean --overwrite_output_dir --num_train_epochs=2 "
        "--max_train_samples 10 --max_eval_samples 10 --warmup_steps=8 --do_train --do_eval "
        "--learning_rate=2e-4 --per_device_train_batch_size=2 --per_device_eval_batch_size=1 "
        "--predict_with_generate"
    ),
    "run_speech_recognition_seq2seq.py": (
        "--dataset_config_name clean --do_train --do_eval --learning_rate 1e-4 "
        "--per_device_train_batch_size 2 --per_device_eval_batch_size 4 "
        "--remove_unused_columns False --overwrite_output_dir True "
        "--preprocessing_num_workers 2 --max_steps 10 --seed 42"
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("script", SPEECH)
def test_the_command_of_the_examples_hears(script, tmp_path):
    """Their dataset has one split, called validation, and transcripts in capital letters."""
    rows = [
        {"file": "a.flac", "speaker_id": 1, "text": text.upper(),
         "audio": {"path": None, "bytes": tone(0.6, *(PITCHES[word] for word in text.split()))}}
        for text in [*TEXTS, *TEXTS[:4]]
    ]  # fmt: skip
    splits = datasets.DatasetDict(validation=datasets.Dataset.from_list(rows))
    splits.save_to_disk(tmp_path / "data")
    write_loud_weights(write_whisper(tmp_path / "model"))
    results = train_loop.main(
        ["--task_name=speech", f"--model_name_or_path={tmp_path / 'model'}",
         f"--dataset_name={tmp_path / 'data'}", "--train_split_name", "validation",
         "--eval_split_name", "validation", "--trust_remote_code",
         f"--output_dir={tmp_path / 'run'}", *SPEECH[script].split()]
    )  # fmt: skip
    assert results["eval_wer"] > 0
    assert results["eval_loss"] > 0
