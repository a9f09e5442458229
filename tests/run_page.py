"""Does what pages of documentation say, in the working directory: python run_page.py PAGE ...

Programs and YAML whose first line is a comment with a path are written to that path, as a reader
would. Commands run in this process. Pages share it and the folder: a command that one page has in
common with another runs once. ``TINY`` lists all that is added to a command, ``NOT_RUN`` all that
is left out.
"""

import gc
import re
import shlex
import sys
from pathlib import Path

import torch

from worldmodels.cli.main import main

BLOCK = re.compile(r"^```(bash|python|yaml)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

NOT_RUN = {
    "pip install .": "the wheel has a test of its own",
    "worldmodels demo": "trains for minutes: tests/training/test_demo.py runs it in tiny sizes",
    "make test": "would run this test in itself",
    "make check": "lints and type-checks: run on every change",
    "worldmodels bench plan": "measures for a minute, and best on a quiet machine",
    "worldmodels fit --config dreamerv3 --config size12m --config pong --trainer.accelerator gpu "
    "--trainer.precision bf16-mixed": "needs a GPU; its options are parsed below",
}

SHORT = ["--updates=4", "--round_updates=2", "--batches.batch_size=2", "--batches.batch_length=6"]
MODEL = ["--model.decoder.depth=2", "--model.dynamics.deter=8", "--model.dynamics.hidden=8"]
ENCODER = ["--model.encoder.depth=2"]
PLANNER = ["--planner.horizon=2", "--planner.candidates=4", "--planner.elites=2"]
WORLD = [
    "--env.size=[16,16]", "--env.num_envs=2", "--collect.prefill=60", "--evaluate.episodes=2",
]  # fmt: skip
# By the run's name: what makes a `fit` command tiny. Nothing else is added to any command.
TINY = {
    "cliffhill": SHORT + MODEL + ENCODER + PLANNER + WORLD,
    "cliffhill --resume": ["--updates=6", *SHORT[1:], *MODEL, *ENCODER, *PLANNER, *WORLD],
    "reach": SHORT + MODEL + ENCODER + PLANNER + WORLD,
    "offline": SHORT + MODEL + ENCODER + PLANNER,
    "inside": [*SHORT, "--behaviour.starts=4", "--behaviour.hidden=8"],
    "plugged": SHORT + MODEL + PLANNER + WORLD,
    "plugged-yaml": SHORT + MODEL + PLANNER + WORLD,
}


def blocks(page):
    """(language, text) of every block, from top to bottom."""
    return BLOCK.findall(page.read_text())


def blocks_text(page):
    """Every block of a page, as one text."""
    return "".join(text for _, text in blocks(page))


def commands(text):
    """Commands of a shell block as lists of words, without comments."""
    lines = text.replace("\\\n", " ").splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def tiny(words):
    """What is added to a command."""
    if words[:2] != ["worldmodels", "fit"]:
        return []
    name = words[words.index("--name") + 1]
    return TINY[f"{name} --resume" if "--resume" in words else name]


def run_command(words, done):
    if " ".join(words) in NOT_RUN or words in done:
        return
    done.append(words)
    if words == ["export", "PYTHONPATH=."]:
        return
    assert words[0] == "worldmodels", f"neither a command of ours nor in NOT_RUN: {words}"
    assert main([*words[1:], *tiny(words)]) == 0, " ".join(words)
    # A run's recorder holds the lock of its folder until it is gone, as at a process's end.
    gc.collect()


def run_page(page, done):
    """Does what a page says; returns the names its programs define.

    ``done`` holds the commands that have run already, and takes in the new ones.
    """
    names = {}
    for language, text in blocks(page):
        path = re.match(r"# (\S+\.(py|yaml))\n", text)
        if path:
            Path(path[1]).parent.mkdir(parents=True, exist_ok=True)
            Path(path[1]).write_text(text)
        elif language == "python":
            exec(compile(text, str(page), "exec"), names)
        elif language == "bash":
            for words in commands(text):
                run_command(words, done)
    return names


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.path.insert(0, str(Path.cwd()))
    finished = []
    for page in sys.argv[1:]:
        print(f"== {page}")
        for name, value in run_page(Path(page), finished).items():
            if isinstance(value, torch.Tensor):
                print(f"{name} {tuple(value.shape)}")
