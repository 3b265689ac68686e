"""Makes docs/report.png: the top of the report of a run on the built-in sample, in a browser.

    python docs/picture.py                    # trains the default run, which takes minutes
    python docs/picture.py --run runs/sample  # takes the page of a run that has ended

It needs chromium, and requirements-report.txt. The picture holds the numbers of its run, too, in a
text of PNG; tests/test_readme.py compares them with the README and with the default run of today.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

REPO = Path(__file__).resolve().parent.parent
KEY = "tagloop"  # of the text
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
WIDTH, HEIGHT = 1100, 1200  # pixels; the height ends below the section Errors


def main(argv: list[str] | None = None) -> Path:
    """Write the picture; return its path."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, help="output folder of a run (default: train one)")
    parser.add_argument("--output", type=Path, default=REPO / "docs" / "report.png")
    options = parser.parse_args(argv)
    from PIL import Image  # comes with matplotlib
    from PIL.PngImagePlugin import PngInfo

    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        sys.exit(f"no browser: install one of {', '.join(BROWSERS)}")
    with tempfile.TemporaryDirectory() as folder:
        run = options.run or train_default(Path(folder) / "sample")
        page = Path(folder) / "report.html"
        python(REPO / "report.py", run, "--output", page)
        subprocess.run(
            [
                browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
                "--disable-background-networking", f"--user-data-dir={folder}/profile",
                "--blink-settings=preferredColorScheme=1",  # light
                f"--window-size={WIDTH},{HEIGHT}", f"--screenshot={options.output.resolve()}",
                page.as_uri(),
            ],
            check=True, capture_output=True, timeout=600,
        )  # fmt: skip
        texts = PngInfo()
        texts.add_text(KEY, json.dumps(numbers_of(run)))
        with Image.open(options.output) as picture:
            picture.load()
            picture.save(options.output, pnginfo=texts, optimize=True)
    return options.output


def numbers_of(run: Path) -> dict[str, Any]:
    """What a run logged, its scores, and those by type, as its files have them."""
    metrics = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    record = json.loads((run / "run.json").read_text(encoding="utf-8"))
    return {
        "metrics": [json.loads(line) for line in metrics],
        "results": record["results"],
        "by_type": record["by_type"],
    }


def train_default(folder: Path) -> Path:
    """Train as `make train` does, into a folder; return the folder."""
    configuration = REPO / "accelerate_configs" / "cpu.yaml"
    launch = ("-m", "accelerate.commands.launch", "--config_file", configuration)
    python(*launch, REPO / "train_loop.py", "--output_dir", folder, "--no_report")
    return folder


def python(*arguments: str | Path) -> None:
    """Run this Python with these arguments in the repository. Raises CalledProcessError."""
    subprocess.run([sys.executable, *map(str, arguments)], cwd=REPO, check=True)


if __name__ == "__main__":
    main()
