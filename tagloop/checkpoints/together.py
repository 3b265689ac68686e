"""Lets all processes write one checkpoint, each process the files of its share.

    main process                     the other processes
    makes tmp-step_20/        -->    learn where it is
    writes its files                 write their files
    learns sizes and digests  <--    of these files, or why one could not be written
    writes the manifest, renames

Every process does so in its background thread, beside training. So the messages of the threads go
through a process group of their own: those of training would mix with them.
"""

from collections.abc import Callable
from pathlib import Path

from torch import distributed

from tagloop.files import WRITE_ERRORS, describe_write_error, sync_file


class WrittenTogether:
    """A folder that all processes write.

    Args:
        group: the result of `build_thread_group`.
        write: writes the files of this process into a folder, and returns their names.
    """

    def __init__(self, group: distributed.ProcessGroup, write: Callable[[Path], list[str]]):
        self.group, self.write, self.has_begun = group, write, False

    def lead(self, into: Path) -> dict[str, dict]:
        """Write the files of all processes into an existing folder. Only the main process calls it.

        Returns:
            Size and sha256 of every file that was written, as `sync_file` returns them.

        Raises:
            RuntimeError: a process could not write a file, or has died.
        """
        self._announce(str(into))
        outcomes = [None] * distributed.get_world_size(self.group)
        distributed.gather_object(self._outcome(into), outcomes, dst=0, group=self.group)
        for number, outcome in enumerate(outcomes):
            if isinstance(outcome, str):
                raise RuntimeError(f"process {number}: {outcome}" if number else outcome)
        return {name: facts for outcome in outcomes for name, facts in outcome.items()}

    def follow(self) -> None:
        """Write the files of this process when `lead` asks. The other processes call it."""
        try:
            where = [None]
            distributed.broadcast_object_list(where, src=0, group=self.group)
            if where[0] is not None:
                distributed.gather_object(self._outcome(Path(where[0])), dst=0, group=self.group)
        except RuntimeError:
            return  # The main process has died, as the loop learns from its own next message.

    def release(self) -> None:
        """Let the other processes go on if `lead` was never called."""
        if not self.has_begun:
            self._announce(None)

    def _announce(self, where: str | None) -> None:
        self.has_begun = True
        distributed.broadcast_object_list([where], src=0, group=self.group)

    def _outcome(self, into: Path) -> dict[str, dict] | str:
        """Size and sha256 of the files of this process, or why one could not be written."""
        try:
            return {name: sync_file(into / name) for name in self.write(into)}
        except WRITE_ERRORS as error:
            return describe_write_error(error)
        except Exception as error:  # A fault of this project: the others must not wait for ever.
            return repr(error)
