"""From a frame to the model in at most eight steps: a reader can follow one decision."""

import sys
from functools import partial
from pathlib import Path

import pytest
import torch

import worldmodels
from worldmodels.agent import Agent
from worldmodels.behaviours import ActorCritic
from worldmodels.dynamics import GaussianRSSM
from worldmodels.nn.decoders import ConvDecoder
from worldmodels.nn.encoders import ConvEncoder
from worldmodels.planning import CEM, MPC
from worldmodels.types import ActionSpace
from worldmodels.world_model import WorldModel

PACKAGE = Path(worldmodels.__file__).parent
SHAPE, SPACE = (3, 16, 16), ActionSpace(2, False)
MOST = 8


def stack_of(frame):
    """The project's functions from ``Agent.act`` down to ``frame``, as (file, name)."""
    stack = []
    while frame is not None:
        code = frame.f_code
        # Wrappers that check shapes lie elsewhere, and are none of ours.
        if code.co_filename.startswith(str(PACKAGE)):
            stack.append((str(Path(code.co_filename).relative_to(PACKAGE)), code.co_name))
            if (code.co_name, stack[-1][0]) == ("act", "agent.py"):
                return stack[::-1]
        frame = frame.f_back
    return []


def stacks_to_the_model(agent):
    """The stack whenever a function of ``dynamics/`` that advances the state is entered."""
    found = {}

    def watch(frame, event, argument):
        code = frame.f_code
        advances = code.co_name in ("predict_steps", "prior", "observe")
        if event == "call" and advances and "dynamics" in Path(code.co_filename).parts:
            stack = stack_of(frame)
            if stack:
                found.setdefault(code.co_name, stack)

    obs = torch.zeros(2, *SHAPE, dtype=torch.uint8)
    state, first = agent.initial(2, seed=0), torch.ones(2, dtype=torch.bool)
    before = sys.getprofile()
    sys.setprofile(watch)
    try:
        agent.act(obs, first, state)
    finally:
        sys.setprofile(before)
    return found


def world_model():
    return WorldModel(
        SHAPE,
        SPACE,
        encoder=partial(ConvEncoder, depth=2),
        decoder=partial(ConvDecoder, depth=2),
        dynamics=partial(GaussianRSSM, stoch=4, deter=8, hidden=8),
    )


def planning():
    planner = CEM(SPACE, horizon=3, candidates=8, iterations=2, elites=3)
    return Agent(world_model(), MPC(planner)).eval()


def by_policy():
    model = world_model()
    return Agent(model, ActorCritic(model.feature_dim, SPACE, hidden=8)).eval()


def guided():
    model = world_model()
    planner = CEM(SPACE, horizon=3, candidates=8, iterations=2, elites=3)
    behaviour = ActorCritic(model.feature_dim, SPACE, hidden=8)
    return Agent(model, MPC(planner, behaviour, proposals=2)).eval()


@pytest.mark.parametrize(
    ("make", "reached"),
    [
        (planning, {"observe", "predict_steps"}),
        (by_policy, {"observe"}),
        (guided, {"observe", "predict_steps", "prior"}),
    ],
)
def test_a_decision_is_at_most_eight_calls_and_files_deep(make, reached):
    found = stacks_to_the_model(make())
    assert found.keys() == reached
    for stack in found.values():
        story = " -> ".join(f"{file}:{name}" for file, name in stack)
        assert stack[0] == ("agent.py", "act"), story
        assert len(stack) <= MOST, story
        assert len({file for file, _ in stack}) <= MOST, story


def test_the_story_of_a_planned_decision():
    stack = stacks_to_the_model(planning())["predict_steps"]
    assert [name for _, name in stack] == [
        "act", "act", "plan", "__call__", "score", "_returns", "predict_steps",
    ]  # fmt: skip
    assert [file for file, _ in stack] == [
        "agent.py", "planning/mpc.py", "planning/sampling.py", "planning/scoring.py",
        "world_model.py", "world_model.py", "dynamics/rssm.py",
    ]  # fmt: skip
