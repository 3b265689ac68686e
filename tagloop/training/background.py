"""Runs one job at a time in a thread beside the training loop: on the main process, or on all.

If a job fails, all processes raise its error.
"""

import threading
from collections.abc import Callable
from datetime import timedelta

from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from torch import distributed

from tagloop.errors import Preempted, RunStopped

PATIENCE = timedelta(days=1)  # A thread waits for the slowest disk of all, and not for ever.


class Background:
    """Jobs that are done beside training, by the main process or by all processes.

    At the end of a `with` block a process waits for its last job. The other processes also wait
    for the main process if the block ends with a RunStopped or Preempted, because a launcher kills
    the main process soon after another process has ended.

    Args:
        in_thread: True runs a job in a thread; False runs it at once, so that training waits.

    Attributes:
        group: for the messages of jobs that all processes do; None if only the main process has
            jobs.
    """

    def __init__(self, accelerator: Accelerator, *, in_thread: bool):
        self.accelerator, self.in_thread = accelerator, in_thread
        self.group = build_thread_group(accelerator)
        self.thread: threading.Thread | None = None
        self.failure: str | None = None

    def start(
        self, action: Callable[[], str | None], helper: Callable[[], None] | None = None
    ) -> None:
        """Start a job. Every process must call this.

        Args:
            action: the job of the main process; it returns None, or the reason why it failed.
            helper: the job of every other process; None if they have none. If it fails, `action`
                has to learn why.

        Raises:
            RunStopped: on every process, if an earlier job has failed, or if this job was not run
                in a thread and has failed.
        """
        self.wait()
        job = action if self.accelerator.is_main_process else helper
        if job is not None:
            self.thread = threading.Thread(target=self._run, args=(job,))
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


def build_thread_group(accelerator: Accelerator) -> distributed.ProcessGroup | None:
    """A group in which background threads of all processes exchange messages beside training.

    Every process must call this.

    Returns:
        None without FSDP2, or with one process: then no process writes a share of a checkpoint.
    """
    if not accelerator.is_fsdp2 or accelerator.num_processes == 1:
        return None
    return distributed.new_group(backend="gloo", timeout=PATIENCE)
