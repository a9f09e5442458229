"""The command line as a person meets it."""

import pytest


class Printed:
    """What a command printed and how it ended."""

    def __init__(self, capsys):
        self._capsys = capsys

    def __call__(self, *words):
        from worldmodels.cli.main import main

        self.status = main([str(word) for word in words])
        self.out, self.err = self._capsys.readouterr()
        return self

    def mistake(self, *words):
        """The one line of a command that was refused."""
        self(*words)
        assert self.status == 2
        assert self.out == ""
        assert self.err.endswith("\n")
        assert self.err.count("\n") == 1, self.err
        return self.err[:-1]


@pytest.fixture
def do(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return Printed(capsys)


@pytest.fixture(scope="session")
def counted(tmp_path_factory):
    """A data set of counting episodes, recorded by the command line."""
    from worldmodels.cli.main import main

    folder = tmp_path_factory.mktemp("counted") / "set"
    command = ["collect", "--env", "worldmodels/Counting-v0", "--size=[16,16]", "--episodes=3"]
    assert main([*command, "--out", str(folder)]) == 0
    return folder


@pytest.fixture
def mine(tmp_path):
    """``runs/mine``: a planner in the world of ``counted``."""
    from small_runs import COUNTING, save_run

    save_run(tmp_path / "runs" / "mine", COUNTING)
    return "runs/mine"


@pytest.fixture
def guided(tmp_path):
    """``runs/guided``: a planner that its student guides."""
    from small_runs import guided_run

    guided_run(tmp_path / "runs" / "guided")
    return "runs/guided"
