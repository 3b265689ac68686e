"""How a run ends when it does not end well. Each is one message, never a traceback."""

EXIT_INPUT = 2  # what the user gave cannot work; nothing was started
EXIT_STOPPED = 3  # the run had to stop: non-finite loss, full disk; the last checkpoint is good
EXIT_PREEMPTED = 75  # a signal asked to stop; saved, resume with --resume_from_checkpoint auto


class InputError(ValueError):
    """Bad data, option or environment. The message names the place and the remedy."""

    exit_code = EXIT_INPUT


class RunStopped(RuntimeError):
    """The run cannot go on. The message says why, and where it can be taken up again."""

    exit_code = EXIT_STOPPED


class NotFinite(RunStopped):
    """Weights, moments or a loss are not numbers any more; the message says since when."""


class Preempted(RuntimeError):
    """A signal asked the run to stop, and it did, with a checkpoint."""

    exit_code = EXIT_PREEMPTED
