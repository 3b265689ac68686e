"""Work beside the loop: one thread of the main process, one piece at a time, its errors for all."""

import threading
from collections.abc import Callable

from accelerate import Accelerator
from accelerate.utils import broadcast_object_list

from tagloop.errors import Preempted, RunStopped


class Background:
    """What the main process does beside training. As a context manager, it leaves nothing undone.

    Where all processes stop, they wait for the main one: a launcher kills those that linger.

    Args:
        in_thread: False: do it at once, and let training wait.
    """

    def __init__(self, accelerator: Accelerator, *, in_thread: bool):
        self.accelerator, self.in_thread = accelerator, in_thread
        self.thread: threading.Thread | None = None
        self.failure: str | None = None

    def start(self, action: Callable[[], str | None]) -> None:
        """Begin on the main process; `action` returns why it failed. Every process must call this.

        Raises:
            RunStopped: on every process, if an earlier action has failed, or this one at once.
        """
        self.wait()
        if self.accelerator.is_main_process:
            self.thread = threading.Thread(target=self._run, args=(action,))
            self.thread.start()
        if not self.in_thread:
            self.wait()

    def _run(self, action: Callable[[], str | None]) -> None:
        try:
            self.failure = action()
        except BaseException as error:
            self.failure = f"the main process failed: {error!r}"
            raise

    def check(self) -> None:
        """Raise what has failed so far, without waiting. Every process must call this.

        Raises:
            RunStopped: on every process.
        """
        failure = [None if self.thread and self.thread.is_alive() else self.failure]
        broadcast_object_list(failure)
        if failure[0]:
            self.failure = None
            raise RunStopped(failure[0])

    def wait(self) -> None:
        """Wait for the action in flight, if any; else as `check`."""
        self._join()
        self.check()

    def _join(self) -> None:
        if self.thread is not None:
            self.thread.join()
            self.thread = None

    def __enter__(self) -> "Background":
        return self

    def __exit__(self, kind: type | None, *raised: object) -> None:
        self._join()
        if kind is not None and issubclass(kind, (RunStopped, Preempted)):
            broadcast_object_list([None])
