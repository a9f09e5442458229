"""The documentation site: study pages hold the numbers of their result files, links lead somewhere.

`make docs` builds the site; what is tested here needs no package of the `docs` extra.
"""

import json
import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
RESULTS = DOCS / "results" / "studies"
PAGES = sorted(DOCS.rglob("*.md"))
STUDIES = sorted(path.stem for path in RESULTS.glob("*.json"))
# Result files name the roles that studies had when they were measured.
ROLES = {"failing": "baseline", "fixing": "method", "control": "ablation"}
NUMBER = re.compile(r"(?<![\w.,])-?\d+(?:,\d{3})*(?:\.\d+)?(?:e[+-]?\d+)?(?!\w)")


def result(name):
    return json.loads((RESULTS / f"{name}.json").read_text())


def page(name):
    return (DOCS / "studies" / f"{name}.md").read_text()


def three_digits(number):
    return float(f"{number:.3g}")


def numbers(text):
    return [float(token.replace(",", "")) for token in NUMBER.findall(text)]


def tables(text):
    """Every table as rows of cells; its first row is the heading."""
    blocks = re.findall(r"(?:^\|.*\|\n)+", text + "\n", re.MULTILINE)
    split = [[line.strip("|").split("|") for line in block.splitlines()] for block in blocks]
    return [[[cell.strip() for cell in row] for row in [rows[0], *rows[2:]]] for rows in split]


def table(text, first):
    """The table whose first column has this heading; nothing where there is none."""
    found = [rows for rows in tables(text) if rows[0][0] == first]
    return found[0] if found else []


def measure(heading):
    """A measure's name in the result file: in backticks where the page has another word."""
    return (re.findall(r"`(.+)`", heading) or [heading])[0]


def shown(cell):
    """The numbers of a cell as (mean, low, high): an interval without width is told once."""
    found = numbers(cell)
    return found if len(found) == 3 else found * 3


def wanted(interval):
    return [three_digits(number) for number in interval]


def variants(about):
    return about.get("variants", about.get("arms"))


def check_cells(about, cells):
    """Holds ``{(variant, measure): cell}`` against a result file."""
    for (variant, name), cell in cells.items():
        interval = about["intervals"][variant].get(name)
        if interval is None:
            assert cell == "-", (variant, name)
        else:
            assert shown(cell) == wanted(interval), (variant, name)


@pytest.mark.parametrize("name", STUDIES)
def test_a_study_page_has_claim_rule_result_figure_and_command(name):
    about, text = result(name), page(name)
    lines = text.splitlines()
    assert lines[0] == f"# {name}"
    assert f"**Claim.** {about['claim']}" in lines
    assert f"**Rule.** {about['rule']}" in lines
    assert f"(../results/studies/{name}.png)" in text
    assert f"(../results/studies/{name}.json)" in text
    assert f"worldmodels study {name}" in lines
    found = re.search(
        r"^\*\*Result: (passes|fails)\*\* \((.+?)\), (\d+) seeds \((\d+) to (\d+)\), (.+)\.$",
        text,
        re.MULTILINE,
    )
    assert found is not None
    outcome, conditions, count, first, last, commits = found.groups()
    assert outcome == ("passes" if about["passed"] else "fails")
    failed = sum(not check["passed"] for check in about["checks"])
    expected = [failed, len(about["checks"])] if failed else [len(about["checks"])]
    assert numbers(conditions) == expected
    seeds = [seed["seed"] for seed in about["seeds"]]
    assert (int(count), int(first), int(last)) == (len(seeds), min(seeds), max(seeds))
    assert re.findall("`(.+?)`", commits) == [commit for commit in about["git"] if commit != "None"]


@pytest.mark.parametrize("name", STUDIES)
def test_a_study_page_holds_the_numbers_of_its_result_file(name):
    about, text = result(name), page(name)
    (heading, *rows), further = table(text, "variant"), table(text, "measure")
    roles = {variant["name"]: variant["role"] for variant in variants(about)}
    assert [row[0] for row in rows] == list(roles)
    assert [row[1] for row in rows] == [ROLES.get(role, role) for role in roles.values()]
    main = [measure(column) for column in heading[3:]]
    cells = {(row[0], name): cell for row in rows for name, cell in zip(main, row[3:], strict=True)}
    if further:
        who = further[0][1:]
        cells |= {
            (variant, row[0]): cell
            for row in further[1:]
            for variant, cell in zip(who, row[1:], strict=True)
        }
    check_cells(about, cells)
    # Nothing that was measured is left out.
    measured = {(v, m) for v, measures in about["intervals"].items() for m in measures}
    assert measured <= cells.keys()


@pytest.mark.parametrize("name", STUDIES)
def test_a_study_page_lists_every_condition_with_its_outcome(name):
    about = result(name)
    rows = table(page(name), "condition of the rule")[1:]
    assert [holds for _, holds in rows] == ["yes" if c["passed"] else "no" for c in about["checks"]]
    assert [text for text, _ in rows] == [check["text"] for check in about["checks"]]


def known_numbers(about):
    """All that a sentence about a study may tell: measured numbers, sizes, and its rule's."""
    found = [n for m in about["intervals"].values() for i in m.values() for n in i]
    found += list(about["sizes"].values())
    found += [n for seed in about["seeds"] for m in seed["numbers"].values() for n in m.values()]
    texts = [about["claim"], about["rule"], *about["measures"], *about["measures"].values()]
    texts += [check["text"] for check in about["checks"]]
    texts += [word for variant in variants(about) for word in (variant["name"], variant["text"])]
    return found + [n for text in texts for n in numbers(text)]


def unknown_numbers(about, text):
    """Numbers of a sentence that are neither in the result file nor, times 100, its shares."""
    known = {three_digits(number) for number in known_numbers(about)}
    percent = {three_digits(100 * number) for number in known_numbers(about)}
    told = re.findall(NUMBER.pattern + r"(?: %)?", text)
    return [
        token
        for token in told
        if three_digits(numbers(token)[0]) not in (known | percent if "%" in token else known)
    ]


def learned(name):
    return re.findall(r"## What we learned\n\n(.+?)\n\n## ", page(name), re.DOTALL)[0]


@pytest.mark.parametrize("name", STUDIES)
def test_what_was_learned_is_at_most_three_sentences_with_measured_numbers(name):
    text = " ".join(learned(name).split())
    assert 1 <= len(re.findall(r"[^.0-9]\.(?= |$)|\d\.(?= |$)|\)\.(?= |$)", text)) <= 3
    assert unknown_numbers(result(name), text) == []
    # The remark from which the page can be written again.
    assert (RESULTS / f"{name}.txt").read_text().strip() == learned(name)


def test_a_number_that_was_not_measured_is_noticed():
    about = result("cliff")
    assert unknown_numbers(about, "Falls drop from 90 % to 36 %, in 3,000 steps.") == []
    assert unknown_numbers(about, "Falls drop from 90 % to 37 %.") == ["37 %"]
    interval = about["intervals"]["random data"]["promised"]
    check_cells(about, {("random data", "promised"): "6.37 [5.95, 6.93]"})
    assert shown("6.38 [5.95, 6.93]") != wanted(interval)
    with pytest.raises(AssertionError, match="promised"):
        check_cells(about, {("random data", "promised"): "6.38 [5.95, 6.93]"})


def test_every_study_of_the_catalogue_has_a_result_and_a_page():
    from worldmodels.studies import catalogue

    assert set(STUDIES) == set(catalogue.STUDIES)
    pages = {path.stem for path in (DOCS / "studies").glob("*.md")} - {"index"}
    assert pages == set(STUDIES)


def test_the_summary_lists_every_study_with_its_outcome_and_measured_numbers():
    rows = {
        row[0]: row[1:] for row in table((DOCS / "studies" / "index.md").read_text(), "study")[1:]
    }
    assert rows.keys() == {f"[{name}]({name}.md)" for name in STUDIES}
    for name in STUDIES:
        _, outcome, key = rows[f"[{name}]({name}.md)"]
        assert outcome == ("passes" if result(name)["passed"] else "fails")
        assert unknown_numbers(result(name), key) == []


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(DOCS)))
def test_no_cell_of_a_table_is_long(path):
    cells = [cell for rows in tables(path.read_text()) for row in rows for cell in row]
    assert [cell for cell in cells if len(cell) > 200] == []


def slug(title):
    """A heading as it is linked to."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def broken_links(path):
    """Links of a page whose file, or heading in it, is not there."""

    def leads(link):
        target, _, heading = link.partition("#")
        file = path.parent / target if target else path
        if not file.exists() or not heading:
            return file.exists()
        return heading in map(slug, re.findall(r"^#+ (.+)$", file.read_text(), re.MULTILINE))

    links = re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`\n]*`", "", path.read_text()))
    return [link for link in links if not link.startswith("http") and not leads(link)]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(DOCS)))
def test_links_lead_to_files_and_headings(path):
    assert broken_links(path) == []


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(DOCS)))
def test_programs_in_pages_are_python(path):
    for text in re.findall(r"^```python\n(.*?)^```$", path.read_text(), re.MULTILINE | re.DOTALL):
        compile(text, str(path), "exec")


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(DOCS)))
def test_recipes_in_pages_are_shipped_or_written_on_the_page(path):
    text = path.read_text()
    shipped = {file.stem for folder in (ROOT, ROOT / "worldmodels")
               for file in (folder / "configs").rglob("*.yaml")}  # fmt: skip
    written = set(re.findall(r"^# (\S+\.yaml)$", text, re.MULTILINE))
    assert set(re.findall(r"--config (\S+)", text)) <= shipped | written


def nav_pages(entry):
    """Every page that a part of the navigation names."""
    if isinstance(entry, str):
        return [entry]
    parts = entry.values() if isinstance(entry, dict) else entry
    return [page for part in parts for page in nav_pages(part)]


def test_the_navigation_holds_every_page_once():
    nav = yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]
    assert sorted(nav_pages(nav)) == sorted(str(path.relative_to(DOCS)) for path in PAGES)


def test_the_reference_has_a_page_for_every_room():
    targets = [
        target
        for path in sorted((DOCS / "api").glob("*.md"))
        for target in re.findall(r"^::: ([\w.]+)$", path.read_text(), re.MULTILINE)
    ]
    files = [ROOT / target.replace(".", "/") for target in targets]
    assert [f for f in files if not (f.is_dir() or f.with_suffix(".py").exists())] == []
    rooms = [path.stem for path in sorted((ROOT / "worldmodels").iterdir())
             if path.suffix == ".py" or (path / "__init__.py").exists()]  # fmt: skip
    rooms = [f"worldmodels.{room}" for room in rooms if not room.startswith("__")]
    assert [room for room in rooms if room not in targets] == []
