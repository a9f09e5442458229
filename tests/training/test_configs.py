"""Every shipped configuration is read, built and stepped twice."""

from itertools import pairwise
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


# deter, hidden, classes, depth, units of the released code's sizes.
DREAMERV3 = {
    "size1m": (512, 64, 4, 4, 64),
    "size12m": (2048, 256, 16, 16, 256),
    "size25m": (3072, 384, 24, 24, 384),
    "size50m": (4096, 512, 32, 32, 512),
    "size100m": (6144, 768, 48, 48, 768),
    "size200m": (8192, 1024, 64, 64, 1024),
    "size400m": (12288, 1536, 96, 96, 1536),
}


def dreamerv3_parameters(deter, hidden, classes, depth, units, actions=6, blocks=8):
    """All that the released code's optimiser moves, for 64x64 colour frames and choices."""

    def linear(before, after):
        return before * after + after

    def layer(before, after):
        """With the scale of its norm."""
        return linear(before, after) + after

    def block(before, after):
        return before * after // blocks + after

    def conv(before, after):
        return 25 * before * after + after

    def head(layers, outputs):
        inner = layer(deter + stoch, units) + (layers - 1) * layer(units, units)
        return inner + linear(units, outputs)

    stoch, channels = 32 * classes, [3, 2 * depth, 3 * depth, 4 * depth, 4 * depth]
    steps = list(pairwise(channels))
    embed = small = 4 * 4 * channels[-1]
    encoder = sum(conv(before, after) + after for before, after in steps)
    inputs = layer(deter, hidden) + layer(stoch, hidden) + layer(actions, hidden)
    core = block(deter + blocks * 3 * hidden, deter) + deter + block(deter, 3 * deter)
    prior = layer(deter, hidden) + layer(hidden, hidden) + linear(hidden, stoch)
    posterior = layer(deter + embed, hidden) + linear(hidden, stoch)
    decoder = block(deter, small) + layer(stoch, 2 * units) + linear(2 * units, small)
    decoder += channels[-1] + sum(conv(after, before) + before for before, after in steps[1:])
    decoder += conv(channels[1], 3)
    heads = head(1, 255) + head(1, 1) + head(3, actions) + head(3, 255)
    return encoder + inputs + core + prior + posterior + decoder + heads


def built(size):
    """An agent of the recipe at a size: shapes alone, no numbers."""
    parser = fit_parser()
    parts = parser.instantiate(parser.read(["--config=dreamerv3", f"--config={size}"]))
    with torch.device("meta"):
        return build_agent((3, 64, 64), ActionSpace(6, True), parts.model, parts.behaviour)


@pytest.mark.parametrize("size", DREAMERV3)
def test_a_size_of_dreamerv3_has_the_parameters_of_the_released_code(size):
    agent = built(size)
    parts = (agent.world_model, agent.behaviour.actor, agent.behaviour.critic.head)
    found = sum(parameter.numel() for part in parts for parameter in part.parameters())
    assert found == dreamerv3_parameters(*DREAMERV3[size])
    # The decoder finds the memory in a feature by itself.
    assert agent.world_model.decoder.deter == agent.world_model.dynamics.deter_dim


def test_dreamerv3_has_the_numbers_of_the_released_code():
    agent, options = built("size1m"), fit_parser().read(["--config=dreamerv3"])
    model, learned = agent.world_model, agent.behaviour
    found = {name: weight for term in model.terms for name, weight in term.weights.items()}
    assert found == {
        "image": 1, "reward": 1, "continue": 1, "dynamics": 1, "representation": 0.1,
    }  # fmt: skip
    assert model.terms[-1].free_nats == model.terms[0].fraction == 1
    assert model.discount == 1 - 1 / 333
    assert (model.dynamics.blocks, model.dynamics.latent.unimix) == (8, 0.01)
    assert (learned.horizon, learned.starts, learned.lambda_) == (15, None, 0.95)
    assert (learned.entropy_coef, learned.replay_critic, learned.actor.unimix) == (3e-4, 0.3, 0.01)
    assert (learned.scale.rate, learned.scale.floor, learned.scale.debias) == (0.01, 1, False)
    critic = learned.critic
    assert (critic.tau, critic.bootstrap, critic.slow_regularizer) == (0.02, "fast", 1)
    assert learned.learning_rates == (4e-5, 4e-5)
    assert options.optimiser.learning_rate == 4e-5
    assert (options.batches.batch_size, options.batches.batch_length) == (16, 64)


def test_dreamerv3_alone_is_its_size_of_12_million():
    parser = fit_parser()
    alone, sized = (
        parser.read(["--config=dreamerv3", *size]) for size in ([], ["--config=size12m"])
    )
    for part in ("model", "behaviour"):
        assert alone[part].as_dict() == sized[part].as_dict()


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


@pytest.mark.parametrize("size", [*MILLIONS, *names("model")])
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
    assert set(names("size")) == {*MILLIONS, *DREAMERV3}
    assert all(Path(path).read_text().startswith("#") for path in FILES.values())
