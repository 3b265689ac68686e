"""The values of the settled options (packing, group_by_length, decoding), if nobody gave them.

A fresh run takes the defaults that stand in _fresh_values; a resumed run goes on as it began. It
also goes on to save checkpoints. With another optimizer than AdamW the vocabulary is full.
"""

import dataclasses

from tagloop.options.config import FIELDS, FORMERLY, Config

SETTLED = tuple(name for name, field in FIELDS.items() if field.metadata["settled"])


def settle(config: Config, earlier_options: dict | None) -> Config:
    """The options, with a value for each settled option that nobody gave.

    Args:
        earlier_options: the options of the run that is resumed, by name; None for a fresh run.
    """
    values = _fresh_values(config)
    if earlier_options is not None:
        known = FORMERLY | earlier_options
        values = {name: known[name] for name in SETTLED}
        # The end of a run without --checkpointing_steps deletes its checkpoints. A resumed run must
        # not delete those that the user asked for when the run began.
        values["checkpointing_steps"] = config.checkpointing_steps or known["checkpointing_steps"]
    if config.optimizer != "AdamW":  # It may change rows that have no gradient in its own way.
        values["full_vocabulary"] = True
    given = {name: getattr(config, name) for name in SETTLED if getattr(config, name) is not None}
    return dataclasses.replace(config, **values | given)


def _fresh_values(config: Config) -> dict[str, bool | str | None]:
    """The defaults of a fresh run; `unset` of these options says the same in words."""
    learns_spans = config.do_train and config.task_name in FIELDS["decoding"].metadata["tasks"]
    return {
        "packing": not config.pad_to_max_length,
        "group_by_length": False,
        "decoding": "legal" if learns_spans else None,
    }
