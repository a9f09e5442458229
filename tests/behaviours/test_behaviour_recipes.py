"""The recipes with a behaviour are read, built and stepped, and end in an agent that acts so."""

import json
from pathlib import Path

import pytest

from worldmodels.agent import ByGuidedPlanner, ByPolicy
from worldmodels.behaviours import (
    DQN,
    MBPO,
    PPO,
    SAC,
    ActorCritic,
    Distillation,
    DynamicsBackprop,
    ModelFree,
    Perception,
    Reinforce,
)
from worldmodels.checkpoint import load
from worldmodels.training.fit import fit, fit_parser
from worldmodels.verbs import evaluate, imagine

CONFIGS = Path(__file__).parents[2] / "configs"
SMALL = [
    "--env.size=[32,32]", "--env.time_limit=6", "--env.num_envs=1", "--collect.prefill=12",
    "--batches.batch_size=2", "--batches.batch_length=4",
    "--updates=2", "--round_updates=2", "--evaluate.every=0",
]  # fmt: skip


@pytest.mark.parametrize(
    ("recipe", "behaviour", "acting"),
    [
        ("dreamer", ActorCritic, ByPolicy),
        ("dreamerv3", ActorCritic, ByPolicy),
        ("distill", Distillation, ByGuidedPlanner),
    ],
)
def test_a_recipe_trains_and_its_agent_acts_as_it_says(tmp_path, recipe, behaviour, acting):
    files = [f"recipe/{recipe}", "env/cartswing"]
    configs = [f"--config={CONFIGS}/{name}.yaml" for name in files]
    fit([*configs, *SMALL, "--behaviour.horizon=2", f"--out={tmp_path}", "--name=run"])
    agent = load(tmp_path / "run")
    assert type(agent.behaviour) is behaviour
    assert type(agent.acting) is acting
    if recipe != "distill":
        gradient = {"dreamer": DynamicsBackprop, "dreamerv3": Reinforce}[recipe]
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
def test_a_learner_trains_with_a_model_and_without(tmp_path, recipe, env, behaviour, algorithm):
    configs = [f"--config={CONFIGS}/{name}.yaml" for name in (f"env/{env}", f"recipe/{recipe}")]
    fit([*configs, *SMALL, "--replay.held_out=0.3", f"--out={tmp_path}", "--name=run"])
    agent = load(tmp_path / "run")
    assert type(agent.behaviour) is behaviour
    assert type(agent.behaviour.algorithm) is algorithm
    assert type(agent.acting) is ByPolicy
    assert isinstance(agent.world_model, Perception) == (behaviour is ModelFree)


def test_ppo_replays_one_round_that_its_older_policy_collected():
    files = [f"--config={CONFIGS}/{name}.yaml" for name in ("env/cartswing", "recipe/ppo")]
    options = fit_parser().parse_args(files)
    steps = options.round_updates / options.collect.init_args.updates_per_step
    assert options.behaviour.init_args.algorithm.init_args.refresh == options.round_updates
    assert options.replay.init_args.sampler.init_args.window == pytest.approx(steps)


def test_a_model_free_agent_is_evaluated_by_its_returns_and_does_not_dream(tmp_path, capsys):
    configs = [f"--config={CONFIGS}/{name}.yaml" for name in ("env/cartswing", "recipe/sac")]
    fit([*configs, *SMALL, f"--out={tmp_path}", "--name=run"])
    capsys.readouterr()
    evaluate([str(tmp_path / "run"), "--episodes=2", "--json"])
    report = json.loads(capsys.readouterr().out)
    assert report["lengths"] == [6, 6]
    assert "open_loop" not in report
    with pytest.raises(TypeError, match="a model-free agent predicts nothing"):
        imagine([str(tmp_path / "run"), "--context=2", "--horizon=2"])


def test_a_model_free_behaviour_does_not_train_a_world_model(tmp_path):
    options = ["--config", f"{CONFIGS}/env/cartswing.yaml", "--behaviour=ModelFree"]
    with pytest.raises(TypeError, match="give --model Perception, or --behaviour MBPO"):
        fit([*options, *SMALL, f"--out={tmp_path}", "--name=run"])
