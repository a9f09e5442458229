"""One thread for every test: small tensors gain nothing from more, and busy machines lose."""

import jaxtyping
import pytest
import torch

torch.set_num_threads(1)

TEACHER = "{class_path: CEM, init_args: {horizon: 2, candidates: 4, iterations: 1, elites: 2}}"
DISTILL = [
    "--env.id=worldmodels/CliffHill-v0", "--env.size=[16,16]", "--env.time_limit=4",
    "--model.encoder.depth=2", "--model.decoder.depth=2", "--model.dynamics.stoch=4",
    "--model.dynamics.deter=8", "--model.dynamics.hidden=8", "--planner=CEM",
    "--planner.horizon=2", "--planner.candidates=4", "--planner.iterations=1",
    "--planner.elites=2",
    "--behaviour=Distillation", f"--behaviour.teacher={TEACHER}", "--behaviour.horizon=2",
    "--behaviour.starts=4", "--behaviour.hidden=8", "--behaviour.queries=4",
    "--mpc.proposals=2",
    "--batches.batch_size=2", "--batches.batch_length=4", "--updates=1", "--round_updates=1",
    "--collect.prefill=20", "--evaluate.every=0",
]  # fmt: skip


@pytest.fixture
def without_shape_checks():
    """Hundreds of updates go without shape checks, which take half of their time.

    For tests that learn something: other tests meet every line of theirs with the checks.
    """
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture(scope="session")
def distilled(tmp_path_factory):
    """A run with a behaviour, trained for one update: a planner that its student guides."""
    # Not above: what is imported before the tests begin escapes the shape checks.
    from worldmodels.cli.fit import fit

    return fit([*DISTILL, f"--out={tmp_path_factory.mktemp('distilled')}"]).path
