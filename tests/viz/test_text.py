from rich.table import Table

from worldmodels.viz.text import table_text


def table(cells=("one", "2")):
    drawn = Table("name", "value", title="[b]numbers[/b]")
    drawn.add_row(*cells)
    return drawn


def test_a_table_is_plain_text(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    lines = table_text(table()).splitlines()
    assert lines[0].strip() == "numbers"
    assert lines[4].replace("│", " ").split() == ["one", "2"]
    assert "\x1b" not in "".join(lines)
    assert all(line == line.rstrip() for line in lines)


def test_a_table_is_as_wide_as_the_terminal_at_most(monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    assert max(map(len, table_text(table(("long " * 20, "2"))).splitlines())) <= 40
