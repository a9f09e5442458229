"""Runs a study seed by seed; what was measured is kept, so an interrupted study goes on."""

import json
import multiprocessing
import os
import platform
import shutil
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import redirect_stdout
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from worldmodels.replay.files import write_text
from worldmodels.studies.base import Study
from worldmodels.studies.results import Results
from worldmodels.training.run import git_revision
from worldmodels.viz.plots import save_figure

_PACKAGES = ("worldmodels", "torch", "numpy")

Record = dict[str, Any]
"""What one seed left behind, as JSON."""


def run_study(
    name: str, study: Study, folder: Path, seeds: Sequence[int], jobs: int = 1
) -> dict[str, Any]:
    """Measures the seeds that ``folder`` does not hold yet, judges, and writes the result.

    Writes ``seeds/K.json`` the moment seed K is done, ``seeds/K.log`` with what it printed, and at
    the end ``result.json`` and ``figure.png``.

    Args:
        name: what the study is called.
        study: the experiment in its sizes.
        folder: of this study.
        seeds: which.
        jobs: processes at a time.

    Returns:
        The result as in ``result.json``.

    Raises:
        ValueError: when a number does not fit, or the folder holds seeds of other sizes.
    """
    if jobs < 1 or not seeds:
        raise ValueError(f"jobs={jobs}, seeds={list(seeds)}: choose 1 or more of both")
    done = {seed: read_seed(study, folder, seed) for seed in seeds}
    missing = [seed for seed, record in done.items() if record is None]
    for record in _measured(study, folder, missing, jobs):
        done[record["seed"]] = record
        print(f"{name}: seed {record['seed']} done in {record['seconds']:.0f} s", flush=True)
    records = [record for record in done.values() if record is not None]
    results = Results([record["numbers"] for record in records])
    result = summary(name, study, records, results, jobs)
    write_text(folder / "result.json", json.dumps(result, indent=1))
    save_figure(study.figure(results), folder / "figure.png")
    return result


def read_seed(study: Study, folder: Path, seed: int) -> Record | None:
    """What an earlier call measured (None when nothing).

    Raises:
        ValueError: when it was measured in other sizes or for another rule.
    """
    file = _seed_file(folder, seed)
    if not file.exists():
        return None
    record = json.loads(file.read_text())
    if (record["sizes"], record["rule"]) != (asdict(study), study.rule):
        raise ValueError(f"{file} was measured in other sizes or for another rule: give --fresh")
    return record


def run_seed(study: Study, folder: Path, seed: int, threads: int) -> Record:
    """Measures one seed and keeps the numbers."""
    file = _seed_file(folder, seed)
    work = file.with_suffix("")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    torch.set_num_threads(threads)
    # For what draws from torch's global generator; studies seed the rest themselves.
    torch.manual_seed(seed)
    started = time.perf_counter()
    with file.with_suffix(".log").open("w") as log, redirect_stdout(log):
        numbers = study.run(seed, work)
    record = {
        "seed": seed,
        "seconds": round(time.perf_counter() - started, 1),
        "git": git_revision(),
        "sizes": asdict(study),
        "rule": study.rule,
        "numbers": {
            variant: {measure: float(value) for measure, value in measures.items()}
            for variant, measures in numbers.items()
        },
    }
    write_text(file, json.dumps(record, indent=1))
    shutil.rmtree(work)
    return record


def summary(
    name: str, study: Study, records: Sequence[Record], results: Results, jobs: int
) -> dict[str, Any]:
    """Everything about a study's outcome, as plain data."""
    checks = study.verdict(results)
    return {
        "name": name,
        "claim": study.claim,
        "rule": study.rule,
        "passed": all(check.passed for check in checks),
        "checks": [check._asdict() for check in checks],
        "variants": [variant._asdict() for variant in study.variants],
        "measures": dict(study.measures),
        "intervals": {
            variant: {
                measure: list(results.interval(variant, measure))
                for measure in results.measures(variant)
            }
            for variant in results.variants()
        },
        "seeds": [
            {key: record[key] for key in ("seed", "seconds", "numbers")} for record in records
        ],
        "sizes": asdict(study),
        "smoke": study == type(study).smoke(),
        "seconds": round(sum(record["seconds"] for record in records), 1),
        "jobs": jobs,
        "git": sorted({str(record["git"]) for record in records}),
        "versions": {name: version(name) for name in _PACKAGES},
        "machine": f"{platform.machine()}, {os.cpu_count()} processors",
        "python": platform.python_version(),
    }


def _measured(study: Study, folder: Path, seeds: Sequence[int], jobs: int) -> Iterator[Record]:
    if jobs == 1:
        for seed in seeds:
            yield run_seed(study, folder, seed, torch.get_num_threads())
        return
    threads = max(1, (os.cpu_count() or 1) // jobs)
    # Spawned, not forked: torch's threads do not survive a fork.
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn")) as pool:
        running = [pool.submit(run_seed, study, folder, seed, threads) for seed in seeds]
        for finished in as_completed(running):
            yield finished.result()


def _seed_file(folder: Path, seed: int) -> Path:
    return folder / "seeds" / f"{seed}.json"
