"""--profile: the time of every operation in a few updates."""

import torch
from torch.profiler import ProfilerActivity

from tagloop.run import Run

FIRST, LAST = 5, 15  # Updates after FIRST, up to LAST, are measured; earlier ones warm up.
ROWS = 20  # of the table


class Profile:
    """Measures a few updates of the main process and prints a table of their operations.

    Losses and weights are the same as without a profile.
    """

    def __init__(self, run: Run):
        self.run, self.seen = run, 0
        activities = [ProfilerActivity.CPU]
        self.column = "self_cpu_time_total"
        if run.accelerator.device.type == "cuda":
            activities.append(ProfilerActivity.CUDA)
            self.column = "self_device_time_total"
        self.profiler = torch.profiler.profile(activities=activities)

    def count(self) -> None:
        """Count an update; the loop calls this after every update."""
        self.seen += 1
        if self.seen == FIRST:
            self.profiler.start()
        elif self.seen == LAST:
            self.profiler.stop()
            averages = self.profiler.key_averages()
            table = averages.table(self.column, row_limit=ROWS, max_name_column_width=40)
            self.run.say(f"updates {FIRST + 1} to {LAST} of this process:\n{table}")

    def close(self) -> None:
        """End the profile; the user gets a message if the run was too short for one."""
        if FIRST <= self.seen < LAST:
            self.profiler.stop()
        if self.seen < LAST:
            self.run.say(f"--profile: nothing to show; it takes {LAST} updates")
