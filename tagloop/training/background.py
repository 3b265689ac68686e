"""Runs one job at a time in a thread of the main process, beside the training loop.

If a job fails, all processes raise its error.
"""

import threading
from collections.abc import Callable

from accelerate import Accelerator
from accelerate.utils import broadcast_object_list

from tagloop.errors import Preempted, RunStopped


class Background:
    """Jobs that the main process does beside training.

    At the end of a `with` block the main process waits for its last job. The other processes wait
    with it if the block ends with a RunStopped or Preempted, because a launcher kills the main
    process soon after another process has ended.

    Args:
        in_thread: True runs a job in a thread; False runs it at once, so that training waits.
    """

    def __init__(self, accelerator: Accelerator, *, in_thread: bool):
        self.accelerator, self.in_thread = accelerator, in_thread
        self.thread: threading.Thread | None = None
        self.failure: str | None = None

    def start(self, action: Callable[[], str | None]) -> None:
        """Start a job on the main process. Every process must call this.

        Args:
            action: the job; it returns None, or the reason why it failed.

        Raises:
            RunStopped: on every process, if an earlier job has failed, or if this job was not run
                in a thread and has failed.
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
        """Raise the error of a job that has failed. Every process must call this.

        A job that is still running goes on.

        Raises:
            RunStopped: on every process, with the reason that the job returned.
        """
        failure = [None if self.thread and self.thread.is_alive() else self.failure]
        broadcast_object_list(failure)
        if failure[0]:
            self.failure = None
            raise RunStopped(failure[0])

    def wait(self) -> None:
        """Wait for the running job, if there is one, then `check`. Every process must call this."""
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
