"""One run at a time in an output folder, and no process outlives its launcher.

The lock is the operating system's, on an open file: it goes with the process that holds it, however
that ends. Only the main process of a run writes, so it alone holds the lock.
"""

import contextlib
import errno
import fcntl
import os
import socket
import stat
import time
from collections.abc import Callable
from pathlib import Path

from tagloop.errors import InputError

LOCK = "run.lock"
PATIENCE = 5.0  # seconds that a killed run may take to disappear

_held: set[int] = set()  # descriptors; workers forked from here must not keep the lock alive


class Lock:
    """The folder's lock, taken when made; so is the folder, if need be. Main process only.

    Args:
        patience: seconds to wait for another run to end.
        say: told when the file system knows no locks; the run goes on without.

    Raises:
        InputError: another run holds it; names that one.
        OSError: the folder cannot be written.
    """

    def __init__(self, folder: Path, *, patience: float, say: Callable[[str], None]):
        self.path, self.folder_is_new = folder / LOCK, not folder.exists()
        deadline = time.monotonic() + patience
        while not self._taken(say):
            if time.monotonic() > deadline:
                holder = self.path.read_text(encoding="utf-8", errors="replace")[:200].strip()
                raise InputError(
                    f"--output_dir {folder}: in use by {holder or 'another run'}; wait for its "
                    "end, stop it, or name another folder"
                )
            time.sleep(0.05)
        started = time.strftime("%Y-%m-%d %H:%M:%S %z")
        holder = f"process {os.getpid()} on {socket.gethostname()}, started {started}\n"
        os.ftruncate(self.descriptor, 0)
        os.pwrite(self.descriptor, holder.encode(), 0)

    def _taken(self, say: Callable[[str], None]) -> bool:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        flags = (
            os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
        )  # no link, no wait for a pipe
        try:
            self.descriptor = os.open(self.path, flags, 0o666)
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise self._foreign() from None
            raise
        _held.add(self.descriptor)
        if not self._is_ours():
            self._close()
            raise self._foreign()
        try:
            fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._close()
            return False
        except OSError as error:
            say(f"{self.path}: cannot be locked ({error.strerror}); start no second run there")
            return True
        try:  # a run that has just ended may have taken the file away
            if os.path.samestat(os.fstat(self.descriptor), self.path.stat()):
                return True
        except FileNotFoundError:
            pass
        self._close()
        return False

    def _is_ours(self) -> bool:
        """True for a new file, or one that a run wrote."""
        if not stat.S_ISREG(os.fstat(self.descriptor).st_mode):
            return False
        text = os.pread(self.descriptor, 100, 0)
        return not text or text.startswith(b"process ")

    def _foreign(self) -> InputError:
        return InputError(
            f"{self.path}: is no lock of a run, and is left alone; move it away, or name another "
            "--output_dir"
        )

    def _close(self) -> None:
        _held.discard(self.descriptor)
        os.close(self.descriptor)

    def release(self) -> None:
        """Give the folder free; nothing of the lock is left in it, nor a new folder of nothing.

        Where the folder cannot be written any more, the lock's file stays: the operating system
        frees the lock, and the error that ended the run is the one to be told.
        """
        with contextlib.suppress(OSError):
            self.path.unlink(missing_ok=True)
        if self.folder_is_new:
            with contextlib.suppress(OSError):  # it holds a run
                self.path.parent.rmdir()
        self._close()


def _close_in_fork() -> None:
    while _held:
        os.close(_held.pop())


os.register_at_fork(after_in_child=_close_in_fork)
