"""Signals that ask a run to stop, and how all processes agree on them."""

import os
import signal
from types import FrameType

import torch


class StopSignal:
    """SIGTERM, SIGUSR1 and Ctrl-C ask the run to stop; all processes agree at the next update.

    Further SIGTERM and SIGUSR1 change nothing, until the process has left. A second Ctrl-C ends
    the process at once, even while it computes; checkpoints are published whole, so none is torn.
    As a context manager, it restores the handlers it found if there was no signal.
    """

    SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)

    def __init__(self):
        self.received = 0
        # The question is asked after every update: on a CPU group, so that no GPU has to be idle.
        several = torch.distributed.is_initialized() and torch.distributed.get_world_size() > 1
        self.group = torch.distributed.new_group(backend="gloo") if several else None

    def __enter__(self):
        self.previous = {number: signal.signal(number, self._note) for number in self.SIGNALS}
        return self

    def __exit__(self, *_):
        for number, handler in self.previous.items():
            ignored = self.received and number != signal.SIGINT
            signal.signal(number, signal.SIG_IGN if ignored else handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.received = self.received or number
        if number == signal.SIGINT:
            # A launcher of several processes passes the first Ctrl-C on, and SIGTERM at the second.
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            if os.environ.get("RANK", "0") == "0":  # print() is not for signal handlers
                os.write(2, NOTICE)

    def agreed(self) -> int:
        """On all processes the signal that any has had, 0 if none. Every process must call this.

        Of Ctrl-C and another it is the other: a scheduler's signals save, whatever the options.
        """
        number = int(self.received)
        if self.group is not None:
            flag = torch.tensor([number])
            torch.distributed.all_reduce(flag, op=torch.distributed.ReduceOp.MAX, group=self.group)
            number = int(flag.item())
        if number:  # the launcher sends SIGTERM to all as soon as the first has left
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        return number


NOTICE = b"\nstopping when the update is done; Ctrl-C again ends the run at once\n"
