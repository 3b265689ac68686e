"""--profile: where the time of some updates went, operation by operation."""

import torch
from torch.profiler import ProfilerActivity

from tagloop.run import Run

FIRST, LAST = 5, 15  # updates: the first ones warm up
ROWS = 20


class Profile:
    """Watches a few updates of the main process and prints a table; the numbers stay the same."""

    def __init__(self, run: Run):
        self.run, self.seen = run, 0
        activities = [ProfilerActivity.CPU]
        self.column = "self_cpu_time_total"
        if run.accelerator.device.type == "cuda":
            activities.append(ProfilerActivity.CUDA)
            self.column = "self_device_time_total"
        self.profiler = torch.profiler.profile(activities=activities)

    def count(self) -> None:
        """After every update."""
        self.seen += 1
        if self.seen == FIRST:
            self.profiler.start()
        elif self.seen == LAST:
            self.profiler.stop()
            averages = self.profiler.key_averages()
            table = averages.table(self.column, row_limit=ROWS, max_name_column_width=40)
            self.run.say(f"updates {FIRST + 1} to {LAST} of this process:\n{table}")

    def close(self) -> None:
        """Say if the run was too short."""
        if FIRST <= self.seen < LAST:
            self.profiler.stop()
        if self.seen < LAST:
            self.run.say(f"--profile: nothing to show; it takes {LAST} updates")
