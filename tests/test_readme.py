"""The pages that people read: English and Chinese say the same, and what the pages name exists."""

import json
import re
import shlex
from collections import Counter
from itertools import zip_longest

import pytest
from launches import REPO, SMALL, finish, read_metrics, start, wait_for_updates
from page_commands import FENCED, commands_of, read, training_options

import predict
import report
import train_loop
from tagloop.errors import InputError
from tagloop.options.command_line import parse_config
from tagloop.sample.__main__ import main as write_sample

ENGLISH, CHINESE = "README.md", "README.zh-CN.md"
# Pages that say the same in both languages.
PAIRS = [
    (ENGLISH, CHINESE),
    *((f"docs/{name}.md", f"docs/zh/{name}.md") for name in ("measured", "devices", "outputs")),
]
TREES = ("docs/house.md", "docs/zh/house.md")
DOCS = sorted(str(path.relative_to(REPO)) for path in REPO.glob("docs/**/*.md"))
PAGES = [ENGLISH, CHINESE, *DOCS, "benchmarks/README.md"]
MOST_WORDS = 1000  # of a README, as `wc -w` counts
# With its unit; not the digits of a name (F1, fp16, conll2003); 1,234 is one number, "1, 234" two.
NUMBER = re.compile(
    r"""(?<![A-Za-z0-9_.]) [-−]?
    (?: [0-9]{1,3} (?:,[0-9]{3})+ (?![0-9]) | [0-9]+ ) (?:\.[0-9]+)* (?:[eE][-+]?[0-9]+)?
    (?: \s? (?: % | (?: ms | s | min | h | [kMGT]?i?B | [kMG] ) (?![A-Za-z]) ) )?""",
    flags=re.VERBOSE,
)


def tree_of(name: str) -> str:
    """The one code block of a page that has no language: the tree of files."""
    (tree,) = [code for language, code in FENCED.findall(read(name)) if not language]
    return tree


def sections_of(name: str) -> list[tuple[str, str]]:
    """(heading, text) of every section, without code; first what stands before the first one."""
    first, *others = re.split(r"^## ", FENCED.sub("", read(name)), flags=re.MULTILINE)
    return [("(top)", first), *(tuple(part.split("\n", 1)) for part in others)]


def numbers_of(text: str) -> Counter:
    """`{"1.20GiB": 1}` of "took 1.20 GiB"; a unit stays as it is in a translation."""
    return Counter("".join(number.split()) for number in NUMBER.findall(text))


def cells_of(text: str) -> list[tuple[str, list[Counter]]]:
    """(row, the numbers of each cell) for every row of a table."""
    rows = [line for line in text.split("\n") if line.startswith("|")]
    return [(row, [numbers_of(cell) for cell in row.split("|")]) for row in rows]


def prose_of(text: str) -> str:
    return "\n".join(line for line in text.split("\n") if not line.startswith("|"))


def difference(english: Counter, chinese: Counter) -> str:
    only = {"English": english - chinese, "Chinese": chinese - english}
    return "; ".join(
        f"only in {name}: {' '.join(sorted(numbers.elements()))}"
        for name, numbers in only.items()
        if numbers
    )


def links_of(name: str) -> list[str]:
    return re.findall(r"\]\(([^)\s]+)\)", FENCED.sub("", read(name)))


def anchors_of(name: str) -> set[str]:
    """The anchors that GitHub makes of the headings of a page."""
    titles = re.findall(r"^#+ (.*)$", FENCED.sub("", read(name)), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def paths_of(tree: str) -> set[str]:
    """The folders and the files (`.py`, `.md`, `.html`) that a tree names, comments included."""
    found, folders = set(), []  # folders: (indent, path) from the top to where the line stands
    for line in tree.split("\n"):
        indent = len(line) - len(line.lstrip())
        while folders and folders[-1][0] >= indent:
            folders.pop()
        if folder := re.match(r" *(\w+/)", line):
            folders.append((indent, (folders[-1][1] if folders else "") + folder[1]))
            found.add(folders[-1][1])
        names = re.findall(r"\b\w+\.(?:py|md|html)\b", line, flags=re.ASCII)
        # README.md is the model card of an output folder.
        found |= {(folders[-1][1] if folders else "") + n for n in names if n != "README.md"}
    return found


@pytest.mark.parametrize("pair", PAIRS)
def test_the_commands_are_the_same(pair):
    english, chinese = ([b for b in FENCED.findall(read(name)) if b[0]] for name in pair)
    assert english
    for number, (ours, theirs) in enumerate(zip_longest(english, chinese), start=1):
        assert ours == theirs, f"code block {number} of {' and '.join(pair)} differ"


@pytest.mark.parametrize("pair", PAIRS)
def test_the_figures_are_the_same(pair):
    """Tables cell by cell; in the text in any order, as sentences are built differently."""
    english, chinese = (sections_of(name) for name in pair)
    titles = [[title for title, _ in sections] for sections in (english, chinese)]
    assert len(english) == len(chinese), f"sections (## ) do not pair up: {titles}"
    wrong = []
    for (title, ours), (translated, theirs) in zip(english, chinese, strict=True):
        where = f'"{title}" / "{translated}"'
        rows, their_rows = cells_of(ours), cells_of(theirs)
        if len(rows) != len(their_rows):
            wrong.append(f"{where}: {len(rows)} rows of tables, but {len(their_rows)} translated")
        for (row, cells), (their_row, their_cells) in zip(rows, their_rows, strict=False):
            if cells != their_cells:
                wrong.append(f"{where}, a row of a table:\n    {row}\n    {their_row}")
        if found := difference(numbers_of(prose_of(ours)), numbers_of(prose_of(theirs))):
            wrong.append(f"{where}, text: {found}")
    assert not wrong, f"{' and '.join(pair)} give other numbers:\n" + "\n".join(wrong)


def test_there_are_figures_to_compare():
    assert sum(len(numbers_of(text)) for _, text in sections_of("docs/measured.md")) > 60


@pytest.mark.parametrize("name", [ENGLISH, CHINESE])
def test_a_readme_is_short(name):
    assert len(read(name).split()) <= MOST_WORDS


def test_the_readme_shows_what_the_console_and_the_report_look_like():
    (console,) = [code for language, code in FENCED.findall(read(ENGLISH)) if language == "text"]
    assert 8 <= len(console.splitlines()) <= 16
    assert max(map(len, console.splitlines())) <= 100
    assert "docs/report.png" in links_of(ENGLISH)


def numbers_of_the_picture() -> dict:
    """What docs/picture.py wrote into the picture: the numbers of the run that it shows."""
    image = pytest.importorskip("PIL.Image", reason="pip install -r requirements-report.txt")
    with image.open(REPO / "docs" / "report.png") as picture:
        return json.loads(picture.text["tagloop"])


def test_the_console_lines_are_of_the_run_that_the_picture_shows():
    numbers = numbers_of_the_picture()
    (console,) = [code for language, code in FENCED.findall(read(ENGLISH)) if language == "text"]
    by_type = [values for part in numbers["by_type"].values() for values in part.values()]
    values = [
        value
        for entry in (*numbers["metrics"], numbers["results"], *by_type)
        for value in entry.values()
        if isinstance(value, float)
    ]
    known = {f"{value:.4f}" for value in values} | {f"{value:.4g}" for value in values}
    found = re.findall(r"\b[0-9]+\.[0-9]{3,}\b", console)
    assert len(found) > 20
    assert set(found) <= known


@pytest.mark.slow
def test_the_default_run_begins_as_the_run_of_the_picture(tmp_path):
    """Else `python docs/picture.py` draws another picture, and the README's figures are old."""
    run = start(f"--output_dir={tmp_path / 'run'}")
    try:  # until the first log
        wait_for_updates(
            tmp_path / "run", 1, run, output=lambda: "the run ended before its first log"
        )
    finally:
        run.terminate()
        finish(run, check=False)
    now, then = read_metrics(tmp_path / "run")[0], numbers_of_the_picture()["metrics"][0]
    assert now["step"] == then["step"] == 50
    for name in ("epoch", "loss", "grad_norm", "learning_rate"):  # machines round differently
        assert now[name] == pytest.approx(then[name], rel=0.01), name


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_somewhere(name):
    folder = (REPO / name).parent
    wrong = []
    for link in links_of(name):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = folder / path if path else REPO / name
        if not target.exists() or (anchor and anchor not in anchors_of(str(target))):
            wrong.append(link)
    assert not wrong, f"{name} links to what is not there: {wrong}"


def test_links_are_the_same_and_each_opens_with_one_to_the_other():
    """The Chinese README also links to the Chinese pages."""
    english, chinese = links_of(ENGLISH), links_of(CHINESE)
    assert (english[0], chinese[0]) == (CHINESE, ENGLISH)
    chinese = [link for link in chinese if not link.startswith("docs/zh/")]
    found = difference(Counter(english[1:]), Counter(chinese[1:]))
    assert not found, f"other links: {found}"


def test_every_page_can_be_found():
    """From the index; the Chinese pages from the Chinese README."""
    english = {f"docs/{link.split('#')[0]}" for link in links_of("docs/index.md")}
    pages = {name for name in DOCS if "/zh/" not in name} - {"docs/index.md"}
    assert pages <= english, f"docs/index.md lacks {sorted(pages - english)}"
    chinese = {name for name in DOCS if "/zh/" in name}
    assert chinese <= set(links_of(CHINESE)), f"{CHINESE} lacks a page of docs/zh/"


@pytest.mark.parametrize("name", DOCS)
def test_a_page_opens_with_commands(name):
    """Before its first section; an indented line is code, too."""
    opening = read(name).split("\n## ")[0]
    assert "```" in opening or re.search(r"\n\n    \w", opening)


@pytest.mark.parametrize("name", [ENGLISH, *DOCS])
def test_commands_have_options_that_exist(name):
    for command in commands_of(name):
        if (options := training_options(command)) is not None:
            assert parse_config(options), command


# Pages for people who work in a checkout; each says so. Their commands start its scripts.
FOR_A_CHECKOUT = ("editing", "house", "measured", "new_task", "numbers")


@pytest.mark.parametrize("name", [name for name in PAGES if not name.startswith("benchmarks")])
def test_commands_are_those_of_an_installed_package(name):
    """Whoever has installed tagloop has no train_loop.py to start, and no accelerate_configs/."""
    if any(name.endswith(f"/{page}.md") for page in FOR_A_CHECKOUT):
        assert re.search("checkout|源码仓库", read(name)), "the page must say what it is for"
        return
    indented = re.findall(r"^    (?=\S)(.*)", FENCED.sub("", read(name)), flags=re.MULTILINE)
    scripts = r"\b(train_loop|predict|report|export)\.py\b| accelerate_configs/"
    wrong = [command for command in [*commands_of(name), *indented] if re.search(scripts, command)]
    assert not wrong, f"{name} shows commands that only a checkout has: {wrong}"


def test_the_corpus_of_the_chinese_page_is_read_and_gb18030_answered(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    page = read("docs/zh/quickstart.md")
    (tmp_path / "data").mkdir()
    corpus = re.search(r"<<'END'\n(.*?)^END$", page, flags=re.DOTALL | re.MULTILINE)[1]
    (tmp_path / "data" / "zh.conll").write_text(corpus, encoding="utf-8")
    (tmp_path / "data" / "gb.conll").write_text(corpus, encoding="gb18030")
    (check,) = [c for c in commands_of("docs/zh/quickstart.md") if c.startswith("tagloop check")]
    train_loop.main(training_options(check))
    assert "no problems found" in capfd.readouterr().out
    with pytest.raises(InputError):
        train_loop.main(["--check_data", "--train_file=data/gb.conll"])
    (message,) = [line for line in page.split("\n") if line.startswith("data/gb.conll:1:")]
    assert message in capfd.readouterr().out


@pytest.mark.slow
def test_the_steps_of_the_readme_work_as_written(tmp_path, monkeypatch, no_dropout):
    """The first commands and those for your own data; few updates, and a model that is there."""
    monkeypatch.chdir(tmp_path)
    ran = Counter()
    scripts = {"train": train_loop, "check": train_loop, "predict": predict, "report": report}
    for command in commands_of(ENGLISH, before="## The promise"):
        words = shlex.split(command)
        if command.startswith("python -m tagloop.sample "):
            assert write_sample(words[3:]) == 0
        elif words[0] == "tagloop":
            arguments = words[2:]
            if words[1] == "check":
                arguments = ["--check_data", *arguments]
            if words[1] == "train":
                if "--model_name_or_path" in arguments:
                    at = arguments.index("--model_name_or_path")
                    arguments[at + 1] = str(no_dropout)
                arguments += SMALL[:2] + SMALL[3:5]
            scripts[words[1]].main(arguments)
            ran[words[1]] += 1
        else:
            assert words[:2] in (["pip", "install"], ["make", "train"], ["make", "test"])
    assert ran == {"train": 2, "predict": 4, "check": 1, "report": 2}
    for name in ("out.jsonl", "out.conll", "runs/mine/report.html", "comparison.html"):
        assert (tmp_path / name).stat().st_size > 500, name


@pytest.mark.parametrize("name", TREES)
def test_the_tree_names_what_is_there(name):
    paths = paths_of(tree_of(name))
    missing = sorted(path for path in paths if not (REPO / path).exists())
    assert not missing, f"the tree of {name} names what is not there: {missing}"
    files = [*REPO.glob("*.py"), *REPO.glob("tagloop/**/*.py")]
    modules = {str(file.relative_to(REPO)) for file in files if file.name != "__init__.py"}
    assert modules <= paths, f"the tree of {name} lacks {sorted(modules - paths)}"
