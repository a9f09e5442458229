"""`docs/studies`: one page for each study and a summary, from the committed results of full runs.

Beside the result files lie the three sentences of each page (``NAME.txt``) and the words that the
pages use (``pages.yaml``).
"""

import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from worldmodels.replay.files import write_text
from worldmodels.studies.base import Role

ROLES = {"failing": Role.BASELINE, "fixing": Role.METHOD, "control": Role.ABLATION}
"""The roles of a variant in older result files, which call variants arms."""

_INDEX = """\
# Studies

A study tests one claim about world models, planning or policy learning with a rule that was
written before the run. Studies that fail their rule are reported like those that pass.

| study | claim in short | result | key number |
|---|---|---|---|
@ROWS@

Each page gives the claim, the rule, the result, what was learned, the variants with their
numbers, and the command that repeats the study. The numbers of every seed are in
`docs/results/studies/`.

## How a study works

- **Rule before run.** The rule is a list of conditions on numbers, and all of them must hold. It
  is part of the study's code and of its result file, and a result that was measured under another
  rule is refused.
- **Seeds.** A full run repeats the whole experiment, from data collection to evaluation, with
  five seeds. Variants are compared seed by seed, as paired differences.
- **Intervals.** Every mean comes with its 95 % bootstrap interval over the seeds. With five seeds
  such an interval is rough, so the pages also say where an effect is weak.
- **Variants.** Each variant has a role. A *baseline* is what the claim says does not work, or
  works less well. A *method* is what it says works. An *ablation* has the same additional data or
  compute without the idea.
- **Sizes.** The sizes of a study (updates, episodes, candidates) are its fields, recorded with
  the result. They are chosen for two CPU cores, so models are small and trained for a short time.

```bash
worldmodels study --list
worldmodels study elites --smoke
worldmodels study elites
```

`--list` prints all studies with their claims. `--smoke` runs one seed at a small size, which
shows that the code works and gives no verdict. The full run writes `result.json` and `figure.png`
into `runs/studies/NAME`, and keeps what is already measured, so that an interrupted run
continues.
"""

_RUN = """\
## Run it

```bash
worldmodels study {name}
worldmodels study {name} --smoke
```

The second command runs one seed at a small size in minutes and gives no verdict.

<details markdown="1">
<summary>Conditions, further numbers, sizes and machine</summary>
"""

Texts = Mapping[str, Any]
"""What a person wrote for a page: ``learned`` (the sentences), ``short`` (the claim), ``key`` (the
number of the summary), ``main`` (the measures of the first table), ``labels`` and ``meanings`` of
measures and ``variants`` by their names where the page has other words, ``provenance``."""


def publish(runs: Path, docs: Path) -> list[str]:
    """Copies the results of full runs into the documentation and writes all pages anew.

    Args:
        runs: folder of the studies' runs.
        docs: the documentation's folder.

    Returns:
        The names of the studies copied.

    Raises:
        ValueError: when there is no full result to publish.
    """
    target = docs / "results" / "studies"
    full = {}
    for file in sorted(runs.glob("*/result.json")):
        result = json.loads(file.read_text())
        if not result["smoke"]:
            full[result["name"]] = file.parent
    if not full and not target.exists():
        raise ValueError(f"no full result in {runs}: run a study without --smoke first")
    target.mkdir(parents=True, exist_ok=True)
    for name, folder in full.items():
        shutil.copyfile(folder / "result.json", target / f"{name}.json")
        shutil.copyfile(folder / "figure.png", target / f"{name}.png")
    for name, text in pages(docs).items():
        write_text(docs / "studies" / f"{name}.md", text)
    return list(full)


def pages(docs: Path) -> dict[str, str]:
    """Every page by its name, ``index`` among them, from the committed results."""
    folder = docs / "results" / "studies"
    words = folder / "pages.yaml"
    written = yaml.safe_load(words.read_text()) if words.exists() else {}
    found, rows = {}, []
    for file in sorted(folder.glob("*.json")):
        result, texts = read_result(file), dict(written.get(file.stem, {}))
        sentences = file.with_suffix(".txt")
        if sentences.exists():
            texts["learned"] = sentences.read_text().strip()
        found[result["name"]] = page(result, texts)
        rows.append(_summary(result, texts))
    return found | {"index": _INDEX.replace("@ROWS@", "\n".join(rows))}


def read_result(file: Path) -> dict[str, Any]:
    """A result file in today's words."""
    return renamed(json.loads(file.read_text()))


def renamed(result: Mapping[str, Any]) -> dict[str, Any]:
    """A result in today's words: older ones have ``arms`` with other roles for ``variants``."""
    if "arms" not in result:
        return dict(result)
    variants = [arm | {"role": str(ROLES[arm["role"]])} for arm in result["arms"]]
    return {name: value for name, value in result.items() if name != "arms"} | {
        "variants": variants
    }


def page(result: Mapping[str, Any], texts: Texts) -> str:
    """One study: claim, rule, result, what was learned, variants and numbers."""
    name = result["name"]
    lines = [f"# {name}", "", f"**Claim.** {result['claim']}", ""]
    lines += [f"**Rule.** {result['rule']}", "", _outcome(result), ""]
    lines += [f"![Means, intervals and every seed of {name}](../results/studies/{name}.png)", ""]
    if "learned" in texts:
        lines += ["## What we learned", "", texts["learned"], ""]
    lines += [*_variants(result, texts), "", _RUN.format(name=name), *_details(result, texts)]
    if "provenance" in texts:
        lines += ["", texts["provenance"]]
    link = f"[The numbers of every seed](../results/studies/{name}.json)"
    return "\n".join([*lines, "", link, "", "</details>"]) + "\n"


def _summary(result: Mapping[str, Any], texts: Texts) -> str:
    """The row of the index."""
    name, outcome = result["name"], "passes" if result["passed"] else "fails"
    short = texts.get("short", result["claim"])
    return f"| [{name}]({name}.md) | {short} | {outcome} | {texts.get('key', '')} |"


def _outcome(result: Mapping[str, Any]) -> str:
    failed, total = sum(not check["passed"] for check in result["checks"]), len(result["checks"])
    fail = "fails" if failed == 1 else "fail"
    count = f"{failed} of {total} conditions {fail}" if failed else f"all {total} conditions hold"
    commits = [f"`{commit}`" for commit in result["git"] if commit != "None"]
    kind = "commit" if len(commits) == 1 else "commits"
    commit = f"{kind} {', '.join(commits)}" if commits else "no commit recorded"
    seeds = [seed["seed"] for seed in result["seeds"]]
    outcome = "passes" if result["passed"] else "fails"
    return (
        f"**Result: {outcome}** ({count}), {len(seeds)} seeds ({min(seeds)} to {max(seeds)}), "
        f"{commit}."
    )


def _variants(result: Mapping[str, Any], texts: Texts) -> list[str]:
    """The first table: every variant with the main measures, and what these mean."""
    main, labels = _main(result, texts), texts.get("labels", {})
    headings = " | ".join(_heading(measure, labels) for measure in main)
    lines = [
        "## Variants",
        "",
        "Means over the seeds with 95 % bootstrap intervals, rounded to three significant digits.",
        "",
        f"| variant | role | what it is | {headings} |",
        "|---|---|---|" + "---|" * len(main),
    ]
    for variant in result["variants"]:
        name = variant["name"]
        text = texts.get("variants", {}).get(name, variant["text"])
        cells = [_cell(result["intervals"][name].get(measure)) for measure in main]
        lines.append(f"| {name} | {variant['role']} | {text} | {' | '.join(cells)} |")
    return [*lines, "", "Measures:", "", *_meanings(main, result, texts, labels)]


def _details(result: Mapping[str, Any], texts: Texts) -> list[str]:
    """Conditions, the other measures, sizes and machine."""
    lines = ["| condition of the rule | holds |", "|---|---|"]
    lines += [f"| {c['text']} | {'yes' if c['passed'] else 'no'} |" for c in result["checks"]]
    main, intervals = _main(result, texts), result["intervals"]
    rest = [measure for measure in result["measures"] if measure not in main]
    if rest:
        names = [variant["name"] for variant in result["variants"]]
        shown = [name for name in names if any(m in intervals[name] for m in rest)]
        lines += ["", f"| measure | {' | '.join(shown)} |", "|---|" + "---|" * len(shown)]
        for measure in rest:
            cells = " | ".join(_cell(intervals[name].get(measure)) for name in shown)
            lines.append(f"| {measure} | {cells} |")
        lines += ["", *_meanings(rest, result, texts, {})]
    sizes = ", ".join(f"{name} {value:,}" for name, value in result["sizes"].items())
    versions = ", ".join(f"{name} {number}" for name, number in result["versions"].items())
    seconds = [seed["seconds"] for seed in result["seeds"]]
    took = f"A seed took {min(seconds):,.0f} to {max(seconds):,.0f} seconds on {result['machine']}"
    return [
        *lines, "", f"Sizes: {sizes}.", "", f"{took}; {versions}, Python {result['python']}.",
    ]  # fmt: skip


def _main(result: Mapping[str, Any], texts: Texts) -> list[str]:
    return texts.get("main", list(result["measures"]))


def _meanings(
    measures: Iterable[str], result: Mapping[str, Any], texts: Texts, labels: Mapping[str, str]
) -> list[str]:
    """Measures that mean the same share a line."""
    groups: dict[str, list[str]] = {}
    for measure in measures:
        meaning = texts.get("meanings", {}).get(measure, result["measures"][measure])
        groups.setdefault(meaning, []).append(_heading(measure, labels))
    return [f"- {'; '.join(names)}: {meaning}." for meaning, names in groups.items()]


def _heading(measure: str, labels: Mapping[str, str]) -> str:
    return f"{labels[measure]} (`{measure}`)" if measure in labels else measure


def _cell(interval: Sequence[float] | None) -> str:
    if interval is None:
        return "-"
    mean, low, high = map(_number, interval)
    return mean if mean == low == high else f"{mean} [{low}, {high}]"


def _number(number: float) -> str:
    """Three significant digits, of thousands all."""
    rounded = float(f"{number:.3g}")
    if rounded == 0:
        return "0"
    return f"{rounded:,.0f}" if abs(rounded) >= 1000 else f"{rounded:g}"
