import pytest


@pytest.fixture(scope="session")
def guided(tmp_path_factory):
    """A run's folder: a small planner and the student that guides it, untrained."""
    from small_runs import guided_run

    return guided_run(tmp_path_factory.mktemp("guided") / "run")


@pytest.fixture(scope="session")
def counting(tmp_path_factory):
    """A run in the world that pays 1, 2, ..., 10 whatever is done."""
    from small_runs import COUNTING, save_run

    return save_run(tmp_path_factory.mktemp("counting") / "run", COUNTING)
