"""Signals that ask a run to stop, and how all processes agree on them."""

import os
import signal
from types import FrameType

import torch


class StopSignal:
    """SIGTERM, SIGUSR1 and Ctrl-C ask the run to stop; all processes agree at the next update.

    Further SIGTERM and SIGUSR1 change nothing until the process ends. A second Ctrl-C ends the
    process at once, even while it computes. No checkpoint is damaged by this, because a checkpoint
    gets its name only when it is complete. At the end of a `with` block without any signal the
    earlier handlers are restored.
    """

    SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)

    def __init__(self):
        self.received = 0
        # The processes agree after every update. They use a group on the CPU, so that no GPU waits.
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
            # A launcher of several processes sends them SIGINT at the first Ctrl-C, and SIGTERM at
            # the second.
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            if os.environ.get("RANK", "0") == "0":  # A signal handler must not call print().
                os.write(2, NOTICE)

    def agreed(self) -> int:
        """The number of the signal that a process received; 0 if no process received one.

        Every process must call this, and every process gets the same number. If one process
        received Ctrl-C and another process a signal of a scheduler, the scheduler's signal counts,
        because a run always saves after it.
        """
        number = int(self.received)
        if self.group is not None:
            flag = torch.tensor([number])
            torch.distributed.all_reduce(flag, op=torch.distributed.ReduceOp.MAX, group=self.group)
            number = int(flag.item())
        if number:  # When the first process has ended, the launcher sends SIGTERM to all others.
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        return number


NOTICE = b"\nstopping when the update is done; Ctrl-C again ends the run at once\n"
