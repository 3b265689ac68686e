"""Names that are no option: what is said to users of other trainers, and of a slip."""

import re
import tomllib

import pytest
from launches import REPO

import export
import predict
import report
import tagloop
from tagloop.errors import InputError
from tagloop.options.command_line import parse_config
from tagloop.options.config import FIELDS
from tagloop.options.reading.renamed import ELSEWHERE, RENAMED
from tagloop.options.reading.suggestions import SPELLINGS

OF_THE_LAUNCHER = {"config_file", "num_processes", "dynamo_backend"}


def refused(argv: list[str]) -> str:
    with pytest.raises(InputError) as caught:
        parse_config(argv)
    return str(caught.value)


@pytest.mark.parametrize(
    ("typed", "named"),
    [
        ("--epochs 3", "--num_train_epochs"),
        ("--num_epochs 3", "--num_train_epochs"),
        ("--max_epochs 3", "--num_train_epochs"),
        ("--max-epoch 3", "--num_train_epochs"),
        ("--lr 1e-4", "--learning_rate"),
        ("--lr=1e-4", "--learning_rate"),
        ("--learning-rat 1e-4 --learningrate 1", "--learning_rate"),
        ("--batch_size 8", "--per_device_train_batch_size"),
        ("--batch-size=8", "--per_device_train_batch_size"),
        ("--train_batch_size 8", "--per_device_train_batch_size"),
        ("--per_gpu_train_batch_size 8", "--per_device_train_batch_size"),
        ("--mini_batch_size 8", "--per_device_train_batch_size"),
        ("--eval_batch_size 8", "--per_device_eval_batch_size"),
        ("--accumulate_grad_batches 2", "--gradient_accumulation_steps"),
        ("--update-freq 2", "--gradient_accumulation_steps"),
        ("--warmup_proportion 0.1", "--num_warmup_steps"),
        ("--warmup-updates 10", "--num_warmup_steps"),
        ("--patience 3", "--early_stopping_patience"),
        ("--clip-norm 1", "--max_grad_norm"),
        ("--gradient_clip_val 1", "--max_grad_norm"),
        ("--device cuda", "accelerate_configs/"),
        ("--gpus 2", "accelerate_configs/"),
        ("--gpu-id 0", "accelerate_configs/"),
        ("--no_cuda", "accelerate_configs/cpu.yaml"),
        ("--precision 16", "--mixed_precision"),
        ("--fp16", "--mixed_precision"),
        ("--bf16 true", "--mixed_precision"),
        ("--workers 4", "--dataloader_num_workers"),
        ("--num_workers=4", "--dataloader_num_workers"),
        ("--model bert-base-cased", "--model_name_or_path"),
        ("--arch bert", "--model_type"),
        ("--dataset conll2003", "--dataset_name"),
        ("--data_dir d", "--train_file"),
        ("--dev_file d", "--validation_file"),
        ("--paths.train d", "--train_file"),
        ("--save-dir d", "--output_dir"),
        ("--default_root_dir d", "--output_dir"),
        ("--load_checkpoint d", "--resume_from_checkpoint"),
        ("--val_check_interval 10", "--eval_steps"),
        ("--eval_frequency 10", "--eval_steps"),
        ("--eval", "--do_eval"),
        ("--random_seed 1", "--seed"),
        ("--max_seq_len 8 --seq_len 1", "--max_length"),
        ("--use_crf", "docs/editing.md"),
    ],
)
def test_names_of_other_trainers_are_answered(typed, named):
    first = refused(typed.split()).splitlines()[-1]
    assert first.startswith("unknown option --")
    assert named in first.partition(";")[2]


@pytest.mark.parametrize(
    ("typed", "name", "value"),
    [
        ("--lr cosine", "lr_scheduler_type", "cosine"),
        ("--output o", "output_dir", "o"),
        ("--warmup 5", "num_warmup_steps", 5),
        ("--max_len 99", "max_length", 99),
        ("--eval_step 7", "eval_steps", 7),
        ("--deb", "debug", True),
    ],
)
def test_a_shortened_name_whose_value_fits_is_still_that_option(typed, name, value):
    assert getattr(parse_config(typed.split()), name) == value


def test_other_mistakes_are_reported_beside_them_and_their_values_are_not_mistaken():
    typed = "--epochs 3 --lr 1e-4 5e-5 --seed x --lerning_rate 1 --patience=2"
    lines = refused(typed.split())
    names = [line.split()[2].rstrip(";") for line in lines.splitlines() if "unknown" in line]
    assert names == ["--epochs", "--lr", "--patience", "--lerning_rate"]
    assert "--seed x: must be a whole number" in lines
    assert len(lines.splitlines()) == 5


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        ("--learning_rate 1e-4 2e-4", "2e-4: is no option, and --learning_rate takes one value"),
        ("--output_dir my run", "a value that holds a blank needs quotes"),
        ("--report_to wandb mlflow", "several with commas"),
    ],
)
def test_two_values_of_one_option(typed, says):
    assert says in refused(typed.split())


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("--numtrain_epoch", "--num_train_epochs"),
        ("--traln_file", "--train_file"),
        ("--outputdir", "--output_dir"),
        ("--checkpoint_total_limit", "--checkpoints_total_limit"),
        ("--steps_eval", "--eval_steps"),
        ("--best_metric_for_model", "--metric_for_best_model"),
    ],
)
def test_a_slip_is_answered_by_the_closest_name(typed, meant):
    assert f"did you mean {meant}?" in refused([typed, "1"])


@pytest.mark.parametrize("typed", ["--xyzzyqq", "--foo", "--magic_number", "--hotel"])
def test_what_resembles_nothing_gets_no_absurd_suggestion(typed):
    assert refused([typed, "1"]).endswith("--help lists all options")


def test_the_tables_name_options_that_there_are_and_none_twice():
    assert not RENAMED.keys() & ELSEWHERE.keys()
    ours = {spelling[2:] for spelling in SPELLINGS}
    assert not ours & (RENAMED.keys() | ELSEWHERE.keys())
    negated = {f"no_{option}" for option in FIELDS}
    for answer in ELSEWHERE.values():
        named = set(re.findall(r"--(\w+)", answer)) - OF_THE_LAUNCHER
        assert named <= FIELDS.keys() | negated, answer


def test_a_file_of_options_is_answered_as_well(tmp_path):
    path = tmp_path / "options.yaml"
    path.write_text("epochs: 3\n", encoding="utf-8")
    assert "here --num_train_epochs" in refused(["--config", str(path)])


@pytest.mark.parametrize("read", [parse_config, predict.main, report.main, export.main])
def test_every_script_says_its_version(read, capsys):
    with pytest.raises(SystemExit) as ended:
        read(["--version"])
    assert ended.value.code == 0
    known = tomllib.loads((REPO / "pyproject.toml").read_text(encoding="utf-8"))
    assert known["project"]["version"] == tagloop.__version__
    assert capsys.readouterr().out == f"tagloop {tagloop.__version__}\n"
