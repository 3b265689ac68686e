"""The options that say how scores are made: several seeds, cross-validation, and the last run.

A command with --seeds or --folds trains one run after the other; tagloop/output/several.py does
it. Each of these runs has the options `seed`, or `folds` and `fold`, of its own.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tagloop.options.marks import option

NEED_EVALUATION = (
    "do_eval", "eval_steps", "metric_for_best_model", "load_best_model_at_end",
    "early_stopping_patience",
)  # fmt: skip
LARGEST_SEED = 2**63 - 1


@dataclass(frozen=True)
class ProtocolOptions:
    """The options of several runs in one command, and of a last run on all data."""

    seeds: str | None = option(
        None,
        "Train a run for each of these seeds (1,2,3), one after the other, into seed_N of "
        "output_dir; the same command goes on where it was stopped.",
        about="stage",
        group="Several runs, the last run",
        unset="one run",
        is_list=True,
    )
    folds: int | None = option(
        None,
        "Cross-validation: divide the training data into K parts that keep documents together; "
        "run N, in fold_N of output_dir, is trained on the others and tested on part N.",
        about="data",
        unset="one run on all training data",
        least=2,
    )
    fold: int | None = option(
        None, "With --folds: train only the run of this part.", about="data", unset="all", least=1
    )
    train_on_validation: bool = option(
        False,
        "Add the validation data to the training data, for a last run; nothing is evaluated.",
        about="data",
    )

    @property
    def is_several_runs(self) -> bool:
        """True if the command trains several runs."""
        return self.seeds is not None or (self.folds is not None and self.fold is None)

    @property
    def list_of_seeds(self) -> list[int]:
        """The numbers in --seeds, in their order; [] without the option."""
        return [int(text) for text in (self.seeds or "").split(",") if text.strip()]


def find_problems(config: Any) -> Iterator[str]:
    """Messages about these options and what contradicts them, one line each."""
    if config.seeds is not None:
        yield from _seed_problems(config)
    if config.folds is not None:
        yield from _fold_problems(config)
    elif config.fold is not None:
        yield "--fold needs --folds, the number of parts"
    if config.is_several_runs:
        yield from _problems_of_several(config)
    if config.train_on_validation:
        for name in NEED_EVALUATION:
            if getattr(config, name):
                yield (
                    f"--{name} with --train_on_validation: the validation data is trained on, so "
                    "no data is left to evaluate on; leave one of them out"
                )


def _seed_problems(config: Any) -> Iterator[str]:
    """What is wrong with the list of seeds."""
    texts = [text.strip() for text in config.seeds.split(",")]
    digits = len(str(LARGEST_SEED))  # Python refuses to read thousands of them.
    wrong = [
        text
        for text in texts
        if not text.isdecimal() or len(text) > digits or int(text) > LARGEST_SEED
    ]
    if wrong:
        yield f"--seeds {config.seeds}: must be whole numbers with commas between them, as 1,2,3"
    elif len({*map(int, texts)}) < len(texts):
        yield f"--seeds {config.seeds}: has a seed twice, which would be the same run"
    if config.folds is not None:
        yield "--seeds with --folds: give one of them, and --seed to divide the data otherwise"


def _fold_problems(config: Any) -> Iterator[str]:
    """What cross-validation cannot be together with."""
    if config.fold is not None and config.folds >= 2 and config.fold > config.folds:
        yield "--fold: must be at most --folds, the number of parts"
    for name in ("test_file", "predict_file"):
        if getattr(config, name):
            yield f"--{name} with --folds: the part that is left out is the test data of its run"
    if (config.do_train or config.do_eval) and not config.do_predict:
        yield "--folds needs --do_predict if any --do_ option is given: it scores what is left out"


def _problems_of_several(config: Any) -> Iterator[str]:
    """What a command with several runs cannot do."""
    name = "folds" if config.seeds is None else "seeds"
    if config.output_dir is None:
        yield f"--{name} needs --output_dir: the same command goes on there if it was stopped"
    if (config.do_eval or config.do_predict) and not config.do_train:
        yield f"--{name} trains several runs: it needs --do_train if any --do_ option is given"
    if config.resume_from_checkpoint not in (None, "auto"):
        yield (
            f"--resume_from_checkpoint {config.resume_from_checkpoint} with --{name}: each run has "
            "checkpoints of its own; leave it out, as the command goes on by itself"
        )
    if config.push_to_hub:
        yield f"--push_to_hub with --{name}: there is no single model; upload the one you choose"
