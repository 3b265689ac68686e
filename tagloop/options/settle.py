"""Options that nobody gave: a new run takes their defaults, a resumed run those of the earlier."""

import dataclasses

from tagloop.options.config import FORMERLY, Config


def settle(config: Config, earlier_options: dict | None) -> Config:
    """The options with those decided that nobody gave: a resumed run goes on as it began."""
    decided = {"packing": not config.pad_to_max_length, "group_by_length": False}
    if earlier_options is not None:
        options = FORMERLY | earlier_options
        decided = {name: options[name] for name in decided}
    given = {name: getattr(config, name) for name in decided if getattr(config, name) is not None}
    return dataclasses.replace(config, **decided | given)
