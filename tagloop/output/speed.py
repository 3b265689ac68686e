"""Measures the speed of the training loop, for the progress bar and for the results."""

import time
import warnings

from tqdm import TqdmExperimentalWarning, TqdmWarning

from tagloop.batches.dataloader import Update
from tagloop.output.profile import Profile
from tagloop.run import Run
from tagloop.terminal import is_notebook

with warnings.catch_warnings():
    # In a notebook this is a widget, or a bar of text where the package of the widgets is missing.
    warnings.simplefilter("ignore", TqdmExperimentalWarning)
    warnings.simplefilter("ignore", TqdmWarning)
    from tqdm.auto import tqdm

LAYOUT = "{percentage:.0f}% {n_fmt}/{total_fmt} |{bar}| {elapsed}<{remaining}{postfix}"


class Meter:
    """Counts units, cells and seconds of the training loop, and shows a progress bar."""

    def __init__(self, run: Run):
        self.unit = run.task.examples["train"].unit
        self.started = time.perf_counter()
        self.units = self.sub_tokens = self.cells = 0
        has_profile = run.config.profile and run.accelerator.is_main_process
        self.profile = Profile(run) if has_profile else None
        is_hidden = False if is_notebook() else None  # None asks tqdm to look for a terminal.
        self.bar = tqdm(
            total=run.timetable.num_updates,
            initial=run.state.step,
            bar_format=LAYOUT,
            dynamic_ncols=True,
            disable=is_hidden if run.accelerator.is_main_process else True,
        )

    def count(self, update: Update) -> None:
        """Count one update."""
        self.units += update.num_units
        self.sub_tokens += update.num_sub_tokens
        self.cells += update.num_cells
        self.bar.update()
        if self.profile:
            self.profile.count()

    def show(self, values: dict[str, float]) -> None:
        """Show logged values beside the bar. This does not wait for the device.

        Args:
            values: loss and learning rate, as log_training returns them.
        """
        speed = f"{self.units / self._seconds():,.0f}"
        loss, rate = (f"{values[name]:.3g}" for name in ("loss", "learning_rate"))
        self.bar.set_postfix({"loss": loss, "rate": rate, f"{self.unit}/s": speed})

    def _seconds(self) -> float:
        return time.perf_counter() - self.started

    def close(self) -> dict:
        """End the bar.

        Returns:
            `runtime` in seconds, `UNIT_per_second` of all processes, and `padding_share`: the share
            of padding cells in this process. Nothing if no update was taken.
        """
        self.bar.close()
        if self.profile:
            self.profile.close()
        if not self.cells:  # The run was resumed after its last update.
            return {}
        seconds = self._seconds()
        return {
            "runtime": round(seconds, 3),
            f"{self.unit}_per_second": round(self.units / seconds, 1),
            "padding_share": round(1 - self.sub_tokens / self.cells, 4),
        }
