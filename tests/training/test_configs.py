"""Every shipped configuration is read, built and stepped twice."""

from pathlib import Path

import pytest
import torch
import yaml

from worldmodels.checkpoint import build_agent
from worldmodels.cli.fit import fit, fit_parser
from worldmodels.config import CONFIGS
from worldmodels.envs.make import make_env
from worldmodels.replay.collect import RandomAgent, collect_episodes
from worldmodels.replay.store import DatasetSpec, EpisodeStore
from worldmodels.types import ActionSpace

FILES = {path.stem: path for path in sorted(CONFIGS.rglob("*.yaml"))}
KIND = {name: path.parent.name for name, path in FILES.items()}
# Sizes alone: what a configuration says of classes, losses and algorithms stays.
SMALL = [
    "--env.size=[32,32]", "--env.time_limit=6", "--env.num_envs=1", "--collect.prefill=12",
    "--batches.batch_size=2", "--batches.batch_length=4",
    "--updates=2", "--round_updates=2", "--evaluate.every=0", "--log_every=1",
]  # fmt: skip
DISCRETE = {"dqn", "mbpo_dqn"}


def names(*kinds):
    return [name for name, kind in KIND.items() if kind in kinds]


def leaves(options, prefix=()):
    for name, value in options.items():
        if isinstance(value, dict):
            yield from leaves(value, (*prefix, name))
        elif name != "class_path":
            yield (*prefix, name), value


def told(run):
    return yaml.safe_load((run.path / "config.yaml").read_text())


def stepped(out, *configs, options=()):
    run = fit([*(f"--config={name}" for name in configs), *SMALL, *options, f"--out={out}"])
    assert [line["update"] for line in run.metrics if "train/loss" in line] == [1, 2]
    return run


def small_parts(recipe):
    """Options that shrink the parts that a recipe has."""
    text = FILES[recipe].read_text()
    options = yaml.safe_load(text)
    if "planner" in options:
        yield from ("--planner.candidates=8", "--planner.iterations=1", "--planner.elites=2")
        yield "--planner.horizon=3"
    if "behaviour" in options and "horizon: 15" in text:
        yield "--behaviour.horizon=2"
    if options.get("base") != "laptop" and "LatentModel" not in text:
        yield "--config=tiny"
    if "autoencoder_updates" in options:
        yield "--autoencoder_updates=1"


@pytest.fixture(scope="module")
def pong(tmp_path_factory):
    """Recorded frames of a game, for the recipe that learns offline."""
    folder = tmp_path_factory.mktemp("pong")
    env = make_env("worldmodels/CliffHill-v0", size=(32, 32), time_limit=6)
    store = EpisodeStore(folder, DatasetSpec.of(env, {"size": [32, 32], "time_limit": 6}))
    random = RandomAgent(env.action_space)
    collect_episodes(env, random, 2, 0, True, "random", 0, on_episode=store.append)
    store.close()
    return folder


@pytest.mark.parametrize("recipe", names("recipe"))
def test_a_recipe_learns(tmp_path, recipe, pong):
    if recipe.endswith("_offline"):
        small = [option for option in SMALL if not option.startswith("--env")]
        options = [*small, *small_parts(recipe), f"--data={pong}", f"--out={tmp_path}"]
        run = fit([f"--config={recipe}", *options])
    else:
        env = "detourmaze" if recipe in DISCRETE else "cartswing"
        run = stepped(tmp_path, recipe, env, options=[*small_parts(recipe)])
    # What the recipe says is what the run did.
    asked = yaml.safe_load(FILES[recipe].read_text())
    for name in ("optimiser", "noise"):
        if name in asked:
            wanted = asked[name]
            found = told(run)[name]
            assert (found | wanted if isinstance(wanted, dict) else wanted) == found
    model = type(run.agent.world_model).__name__
    assert model == ("LatentModel" if recipe in ("sac", "ppo", "dqn") else "WorldModel")
    assert (run.agent.behaviour is not None) == ("behaviour" in asked)


@pytest.mark.parametrize("name", names("env"))
def test_an_environment_is_learned_in(tmp_path, name):
    if name.startswith("dmc"):
        pytest.importorskip("dm_control")
    planner = ["--planner=RandomShooting", "--planner.horizon=2", "--planner.candidates=4"]
    run = stepped(tmp_path, name, "tiny", options=planner)
    asked = yaml.safe_load(FILES[name].read_text())
    # Nothing but the environment: the rest belongs to the recipe.
    assert set(asked) == {"env"}
    assert told(run)["env"]["id"] == asked["env"]["id"]
    assert told(run)["env"]["action_repeat"] == asked["env"].get("action_repeat", 1)


MILLIONS = {"tiny": 0.3, "small": 2.0, "12M": 11.6, "25M": 25.0, "50M": 48.0}


@pytest.mark.parametrize("size", MILLIONS)
def test_a_size_has_its_parameters(size):
    parser = fit_parser()
    parts = parser.instantiate(parser.read([f"--config={size}"]))
    # Sizes alone, no numbers.
    with torch.device("meta"):
        agent = build_agent((3, 64, 64), ActionSpace(1, False), parts.model)
    found = sum(parameter.numel() for parameter in agent.world_model.parameters()) / 1e6
    assert found == pytest.approx(MILLIONS[size], rel=0.2)


@pytest.mark.parametrize("size", names("size", "model"))
def test_a_size_learns(tmp_path, size):
    options = ["--planner=RandomShooting", "--planner.horizon=2", "--planner.candidates=4"]
    run = stepped(tmp_path, size, "cartswing", options=[*options, "--env.size=[16,16]"])
    model = told(run)["model"]
    asked = yaml.safe_load(FILES[size].read_text())["model"]
    for part in ("encoder", "dynamics", "reward", "continues"):
        wanted = asked[part].get("init_args", asked[part])
        assert wanted.items() <= model["init_args"][part]["init_args"].items()


def test_the_order_of_configurations_does_not_matter():
    parser = fit_parser()
    one, other = (
        parser.read([f"--config={name}" for name in order])
        for order in (("planet", "small", "cartswing"), ("cartswing", "small", "planet"))
    )
    dumped = [parser.dump(options, skip_none=False) for options in (one, other)]
    assert dumped[0] == dumped[1]


def test_every_configuration_has_a_kind_that_is_tested_here():
    assert set(KIND.values()) == {"recipe", "env", "size", "model"}
    assert set(names("size")) == set(MILLIONS)
    assert all(Path(path).read_text().startswith("#") for path in FILES.values())
