"""The two READMEs say the same: commands, figures, links; and what they name exists."""

import re
from collections import Counter
from itertools import zip_longest

import pytest
from launches import REPO

ENGLISH, CHINESE = "README.md", "README.zh-CN.md"
BOTH = (ENGLISH, CHINESE)
FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", flags=re.DOTALL | re.MULTILINE)
# With its unit; not the digits of a name (F1, fp16, conll2003); 1,234 is one number, "1, 234" two.
NUMBER = re.compile(
    r"""(?<![A-Za-z0-9_.]) [-−]?
    (?: [0-9]{1,3} (?:,[0-9]{3})+ (?![0-9]) | [0-9]+ ) (?:\.[0-9]+)* (?:[eE][-+]?[0-9]+)?
    (?: \s? (?: % | (?: ms | s | min | h | [kMGT]?i?B | [kMG] ) (?![A-Za-z]) ) )?""",
    flags=re.VERBOSE,
)


def read(name: str) -> str:
    return (REPO / name).read_text(encoding="utf-8")


def tree_of(name: str) -> str:
    """The one code block without a language: the tree of files."""
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
    only = {ENGLISH: english - chinese, CHINESE: chinese - english}
    return "; ".join(
        f"only in {name}: {' '.join(sorted(numbers.elements()))}"
        for name, numbers in only.items()
        if numbers
    )


def links_of(name: str) -> list[str]:
    return re.findall(r"\]\(([^)\s]+)\)", FENCED.sub("", read(name)))


def paths_of(tree: str) -> set[str]:
    """What the tree names: its folders and its files (`.py`, `.md`, `.html`), comments included."""
    found, folders = set(), []  # folders: (indent, path) from the top to where the line stands
    for line in tree.split("\n"):
        indent = len(line) - len(line.lstrip())
        while folders and folders[-1][0] >= indent:
            folders.pop()
        if folder := re.match(r" *(\w+/)", line):
            folders.append((indent, (folders[-1][1] if folders else "") + folder[1]))
            found.add(folders[-1][1])
        names = re.findall(r"\b\w+\.(?:py|md|html)\b", line, flags=re.ASCII)
        # README.md is that of an output folder
        found |= {(folders[-1][1] if folders else "") + n for n in names if n != "README.md"}
    return found


def test_the_commands_are_the_same():
    english, chinese = ([b for b in FENCED.findall(read(name)) if b[0]] for name in BOTH)
    assert english
    for number, (ours, theirs) in enumerate(zip_longest(english, chinese), start=1):
        assert ours == theirs, f"code block {number} of {ENGLISH} and {CHINESE} differ"


def test_the_figures_are_the_same():
    """Tables cell by cell; in the text in any order, as sentences are built differently."""
    english, chinese = sections_of(ENGLISH), sections_of(CHINESE)
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
    assert not wrong, f"{ENGLISH} and {CHINESE} give other numbers:\n" + "\n".join(wrong)
    assert sum(len(numbers_of(text)) for _, text in english) > 20


@pytest.mark.parametrize("name", BOTH)
def test_links_lead_somewhere(name):
    relative = [link for link in links_of(name) if not re.match(r"[a-z]+:", link)]
    missing = [link for link in relative if not (REPO / link.split("#")[0]).exists()]
    assert not missing, f"{name} links to what is not there: {missing}"


def test_links_are_the_same_and_each_opens_with_one_to_the_other():
    english, chinese = links_of(ENGLISH), links_of(CHINESE)
    assert (english[0], chinese[0]) == (CHINESE, ENGLISH)
    found = difference(Counter(english[1:]), Counter(chinese[1:]))
    assert not found, f"other links: {found}"


@pytest.mark.parametrize("name", BOTH)
def test_the_tree_names_what_is_there(name):
    paths = paths_of(tree_of(name))
    assert {"train_loop.py", "tagloop/tasks/tagging/tagger.py", "tests/"} <= paths
    missing = sorted(path for path in paths if not (REPO / path).exists())
    assert not missing, f"the tree of {name} names what is not there: {missing}"


def test_the_trees_are_the_same():
    english, chinese = (paths_of(tree_of(name)) for name in BOTH)
    assert english == chinese, f"only in one of the trees: {sorted(english ^ chinese)}"
