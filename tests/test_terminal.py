"""A table and the lines of a header, on a terminal and in a file."""

import io

from tagloop.terminal import Table, entry, uses_colour, width_of


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_long_text_stands_beside_its_name_within_the_width():
    text = "one two three four five six seven eight nine ten eleven twelve"
    lines = entry("name", text, 40).splitlines()
    assert [line[:12].strip() for line in lines] == ["name", "", ""]
    assert " ".join(line[12:] for line in lines) == text
    assert max(map(len, lines)) <= 40
    assert entry("name", text, None) == f"name        {text}"


def test_a_table_shows_the_columns_that_fit_and_a_file_gets_all():
    row = {"update": "5", "loss": "0.5", "rate": "1e-3", "f1": "0.9", "recall": "0.8"}
    table = {"update": 6, "loss": 6, "rate": 6}
    narrow = Table(table, spare=("rate",), room=6).add(row, width=32, mark="best")
    assert narrow.splitlines() == ["update    loss   f1", "     5     0.5  0.9  best"]
    whole = Table(table, spare=("rate",), room=6).add(row, width=None)
    assert whole.split() == ["update", "loss", "rate", "f1", "recall", *row.values()]


def test_a_header_comes_again_with_new_columns_and_after_twenty_rows():
    table = Table({"update": 6, "loss": 6})
    rows = [table.add({"update": str(n), "loss": "1"}, width=80) for n in range(45)]
    assert [n for n, row in enumerate(rows) if "update" in row] == [0, 20, 40]
    assert table.add({"update": "45", "f1": "0.5"}, width=80).splitlines() == [
        "update    loss   f1",
        "    45          0.5",
    ]
    assert "update" not in table.add({"update": "46", "loss": "1"}, width=80)


def test_only_a_terminal_has_colours_and_a_width(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "70")
    monkeypatch.delenv("NO_COLOR", raising=False)
    closed = Terminal()
    assert (uses_colour(closed), width_of(closed)) == (True, 70)
    closed.isatty = io.StringIO.isatty.__get__(closed)
    closed.close()
    for stream in (io.StringIO(), None, closed):
        assert (uses_colour(stream), width_of(stream)) == (False, None)
    monkeypatch.setenv("NO_COLOR", "1")
    assert not uses_colour(Terminal())
