"""The recipes with a behaviour are read, built and stepped, and end in an agent that acts so."""

from functools import partial

import pytest

from worldmodels.agent import Agent
from worldmodels.behaviours import (
    DQN,
    MBPO,
    PPO,
    SAC,
    ActorCritic,
    Distillation,
    DynamicsBackprop,
    ModelFree,
    Reinforce,
)
from worldmodels.checkpoint import load
from worldmodels.cli.fit import fit, fit_parser
from worldmodels.evaluation.evaluate import evaluate
from worldmodels.evaluation.imagine import imagine
from worldmodels.planning import MPC
from worldmodels.world_model import WorldModel

SMALL = [
    "--env.size=[32,32]", "--env.time_limit=6", "--env.num_envs=1", "--collect.prefill=12",
    "--batches.batch_size=2", "--batches.batch_length=4",
    "--updates=2", "--round_updates=2", "--evaluate.every=0",
]  # fmt: skip


def fitted(out, *configs, options=()) -> Agent:
    """The agent that a shortened run of shipped configurations leaves behind."""
    named = [f"--config={name}" for name in configs]
    fit([*named, *SMALL, *options, f"--out={out}", "--name=run"])
    return load(out / "run")


@pytest.mark.parametrize(
    ("recipe", "behaviour", "gradient"),
    [
        ("dreamer", ActorCritic, DynamicsBackprop),
        ("dreamerv3_small", ActorCritic, Reinforce),
        ("dreamerv3 size1m", ActorCritic, Reinforce),
        ("distill", Distillation, None),
    ],
)
def test_a_recipe_trains_and_its_agent_acts_as_it_says(tmp_path, recipe, behaviour, gradient):
    agent = fitted(tmp_path, *recipe.split(), "cartswing", options=["--behaviour.horizon=2"])
    assert type(agent.behaviour) is behaviour
    if gradient is None:
        # A planner acts, and the student guides it.
        assert isinstance(agent.actor, MPC)
        assert agent.actor.guide is agent.behaviour
    else:
        assert agent.actor is agent.behaviour
        assert type(agent.behaviour.gradient) is gradient


@pytest.mark.parametrize(
    ("recipe", "env", "behaviour", "algorithm"),
    [
        ("mbpo_sac", "cartswing", MBPO, SAC),
        ("mbpo_ppo", "cartswing", MBPO, PPO),
        ("mbpo_dqn", "detourmaze", MBPO, DQN),
        ("sac", "cartswing", ModelFree, SAC),
        ("ppo", "cartswing", ModelFree, PPO),
        ("dqn", "detourmaze", ModelFree, DQN),
    ],
)
def test_an_algorithm_trains_with_a_model_and_without(tmp_path, recipe, env, behaviour, algorithm):
    agent = fitted(tmp_path, recipe, env, options=["--replay.held_out=0.3"])
    assert type(agent.behaviour) is behaviour
    assert type(agent.behaviour.algorithm) is algorithm
    assert agent.actor is agent.behaviour
    assert isinstance(agent.world_model, WorldModel) == (behaviour is MBPO)


def test_ppo_replays_one_round_that_its_older_policy_collected():
    options = fit_parser().read(["--config=cartswing", "--config=ppo"])
    rows = options.batches.batch_size * options.batches.batch_length
    steps = options.round_updates * rows / options.collect.replay_ratio
    assert options.behaviour.init_args.algorithm.init_args.refresh == options.round_updates
    assert options.replay.sampler.init_args.window == pytest.approx(steps)


def test_a_model_free_agent_is_evaluated_by_its_returns_and_imagines_nothing(tmp_path):
    fitted(tmp_path, "sac", "cartswing")
    report = evaluate(tmp_path / "run", episodes=2)
    assert report.returns.lengths.tolist() == [6, 6]
    assert report.open_loop is None
    with pytest.raises(ValueError, match="is model-free: its LatentModel predicts nothing"):
        imagine(tmp_path / "run", context=2, horizon=2)


def test_a_model_free_behaviour_does_not_train_a_world_model(tmp_path):
    train = partial(fitted, tmp_path, "cartswing", options=["--behaviour=ModelFree"])
    with pytest.raises(TypeError, match="give --model LatentModel, or --behaviour MBPO"):
        train()
