"""The lock of an output folder: only one run at a time may write there.

The operating system keeps the lock on an open file, and frees it when the process of the lock ends
in any way. Only the main process of a run writes, so only this process holds the lock.
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
PATIENCE = 5.0  # the time in seconds that a killed run may need to end

# Descriptors of the locks of this process. A forked worker closes them, so that it does not hold
# the lock.
_held: set[int] = set()


class Lock:
    """The lock of an output folder. Only the main process makes one.

    A new object locks the folder at once, and makes the folder if it does not exist.

    Args:
        patience: seconds to wait for the end of another run.
        say: called with a message if the file system has no locks; the run then has no lock.

    Raises:
        InputError: another run holds the lock; the message names this run.
        OSError: the folder cannot be written.
    """

    def __init__(self, folder: Path, *, patience: float, say: Callable[[str], None]):
        self.path, self.folder_is_new = folder / LOCK, not folder.exists()
        deadline = time.monotonic() + patience
        while not self._try_to_lock(say):
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

    def _try_to_lock(self, say: Callable[[str], None]) -> bool:
        """Lock the folder; False if another run holds the lock."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        # The flags refuse to follow a link, or to wait for a pipe.
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
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
        try:  # A run that has just ended may have deleted the file.
            if os.path.samestat(os.fstat(self.descriptor), self.path.stat()):
                return True
        except FileNotFoundError:
            pass
        self._close()
        return False

    def _is_ours(self) -> bool:
        """True if the file is new or was written by a run."""
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
        """Free the folder: delete the file of the lock, and a new folder that is still empty.

        If the folder cannot be written any more, the file stays, and no error is raised: the
        operating system frees the lock, and the user sees the error that ended the run.
        """
        with contextlib.suppress(OSError):
            self.path.unlink(missing_ok=True)
        if self.folder_is_new:
            with contextlib.suppress(OSError):  # The folder is not empty, because it has a run.
                self.path.parent.rmdir()
        self._close()


def _close_in_fork() -> None:
    while _held:
        os.close(_held.pop())


os.register_at_fork(after_in_child=_close_in_fork)
