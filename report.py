"""Look at a run: one page with its curves, scores, errors and worst sentences; or compare runs.

    python report.py runs/mine                  # writes runs/mine/report.html
    python report.py runs/a runs/b              # writes comparison.html: a paired test
    python report.py runs/seed1 runs/seed2 ...  # runs that differ only in their seed are a group

The page is one file: pictures are inside it, nothing is fetched. It needs matplotlib and jinja2.
"""

import argparse
import os
from pathlib import Path

from tagloop.errors import InputError
from tagloop.files import is_no_page, is_plain
from tagloop.options.scripts import ScriptParser, path, run_script, saved_folder
from tagloop.streams import leave, write_line


def parse_options(argv: list[str] | None) -> argparse.Namespace:
    """Command line -> options. Raises InputError."""
    parser = ScriptParser("report.py", __doc__)
    parser.add_argument(
        "run_dirs", type=saved_folder, nargs="+", metavar="RUN_DIR", help="output folder of a run"
    )
    parser.add_argument(
        "--output", type=path, help="file to write (default: RUN_DIR/report.html, comparison.html)"
    )
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> Path:
    """Write the page and say where it is; return its path."""
    options = parse_options(argv)
    from tagloop.report.build import check_folders, write_report  # imports that take seconds

    folders = options.run_dirs
    check_folders(folders)
    alone = folders[0] / "report.html" if len(folders) == 1 else Path("comparison.html")
    output = options.output or alone
    if output.is_dir() or not output.parent.is_dir():  # known before all the computing
        what = "is a folder" if output.is_dir() else f"{output.parent} is no folder"
        raise InputError(f"--output {output}: {what}; name a file in a folder that exists")
    if options.output is None and os.path.lexists(output) and not is_plain(output):
        raise InputError(f"{output}: is a link or no plain file; name a file with --output")
    if is_no_page(output):
        raise InputError(f"{output}: is no page, and would be replaced; name a file with --output")
    write_report(folders, output)
    write_line(str(output), "stdout")
    return output


def cli(argv: list[str] | None = None) -> int:
    """main() as a command; returns the exit code."""
    return run_script(main, argv)


if __name__ == "__main__":
    leave(cli())
