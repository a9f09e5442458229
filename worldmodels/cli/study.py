"""`worldmodels study`: run studies, list them, publish their results."""

import inspect
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from worldmodels.cli.status import announce
from worldmodels.config import OptionParser

FULL_SEEDS = 5
DOCS = Path("docs")


def study(arguments: Sequence[str]) -> None:
    """Runs studies: claims with a rule written before the run."""
    options = _parser().read(arguments)
    announce("study", "loading the studies")
    # Imported on use: the first line above need not wait for torch.
    from worldmodels.studies.catalogue import STUDIES, find_study
    from worldmodels.studies.page import publish

    if options.list:
        print("\n".join(f"{name:<20}{find_study(name).claim}" for name in STUDIES))
        return
    if options.all == (options.name is not None) and not options.publish:
        raise ValueError("give one study's name, --all, --list or --publish")
    for name in STUDIES if options.all else [options.name] if options.name else []:
        _run(name, options)
    if options.publish:
        copied = publish(options.out, DOCS)
        print(f"wrote the pages of {DOCS}/studies; results copied: {', '.join(copied) or 'none'}")


def _parser() -> OptionParser:
    parser = OptionParser(prog="worldmodels study", description=study.__doc__)
    add = parser.add_argument
    add("name", type=str | None, default=None, nargs="?", help="of a study, or pkg.module:Class")
    add("--all", action="store_true", help="run every study")
    add("--list", action="store_true", help="list the studies and their claims")
    add("--smoke", action="store_true", help="one seed in small sizes: minutes, and no verdict")
    add("--seeds", type=int | None, default=None, help=f"default: {FULL_SEEDS}, of a smoke run 1")
    add("--first_seed", type=int, default=0, help="after a change that known seeds suggested: new")
    add("--jobs", type=int, default=1, help="seeds measured at the same time")
    add("--fresh", action="store_true", help="forget what an earlier call measured")
    add("--publish", action="store_true", help="copy full results to docs/ and write its page")
    add("--out", type=Path, default=Path("runs/studies"), help="folder of the studies' runs")
    return parser


def _run(name: str, options: Any) -> None:
    from worldmodels.studies.catalogue import find_study
    from worldmodels.studies.runner import run_study

    cls = find_study(name)
    if inspect.isabstract(cls):
        raise TypeError(f"study '{name}' lacks {', '.join(sorted(cls.__abstractmethods__))}")
    short = name.rpartition(":")[2]
    folder = options.out / short / "smoke" if options.smoke else options.out / short
    seeds = (1 if options.smoke else FULL_SEEDS) if options.seeds is None else options.seeds
    if options.fresh:
        shutil.rmtree(folder, ignore_errors=True)
    chosen = cls.smoke() if options.smoke else cls()
    print(f"{short}: {chosen.claim}\nrule: {chosen.rule}", flush=True)
    numbers = range(options.first_seed, options.first_seed + seeds)
    _print(run_study(short, chosen, folder, numbers, options.jobs), folder)


def _print(result: Mapping[str, Any], folder: Path) -> None:
    for check in result["checks"]:
        print(f"  {'holds' if check['passed'] else 'FAILS'}: {check['text']}")
    outcome = "passes" if result["passed"] else "FAILS"
    scope = " (a smoke run: too small to count)" if result["smoke"] else ""
    print(f"{result['name']} {outcome}{scope}; wrote {folder}/result.json and figure.png")
