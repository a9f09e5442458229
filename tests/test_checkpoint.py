import json
import pickle
from functools import partial

import pytest
import torch
from safetensors.torch import load_file, save_file

from worldmodels.agent import Agent
from worldmodels.behaviours import ActorCritic
from worldmodels.checkpoint import (
    FORMAT,
    agent_parser,
    build_agent,
    load,
    load_pretrained_world_model,
    read_about,
    save_agent,
)
from worldmodels.dynamics import FrameStack, GaussianRSSM
from worldmodels.nn.decoders import ConvDecoder
from worldmodels.nn.encoders import ConvEncoder
from worldmodels.planning import CEM, RandomShooting
from worldmodels.planning.mpc import MPC
from worldmodels.types import ActionSpace
from worldmodels.world_model import WorldModel

SHAPE, SPACE = (3, 16, 16), ActionSpace(2, False)
ENV = {"id": "worldmodels/CartSwing-v0", "size": (16, 16)}
OPTIONS = [
    "--model.encoder.depth=2", "--model.decoder.depth=2",
    "--model.dynamics.stoch=4", "--model.dynamics.deter=8", "--model.dynamics.hidden=8",
    "--model.discount=0.9", "--noise=0.125", "--mpc.replan_every=2",
    "--planner=CEM", "--planner.horizon=3", "--planner.candidates=8", "--planner.iterations=2",
    "--planner.elites=3",
]  # fmt: skip


@pytest.fixture
def saved(tmp_path):
    """A run folder with a model, and the agent that was saved there."""
    torch.manual_seed(0)
    parser = agent_parser()
    parts = parser.instantiate(parser.parse_args(OPTIONS))
    agent = build_agent(SHAPE, SPACE, **parts).eval()
    # Values that no initialisation gives: a mean of the pixels, and weights moved off their start.
    agent.world_model.pixels.fit(torch.randint(0, 256, (5, *SHAPE), dtype=torch.uint8))
    with torch.no_grad():
        for parameter in agent.world_model.parameters():
            parameter += torch.randn_like(parameter) / 8
    save_agent(tmp_path / "model", agent, ENV)
    return tmp_path, agent


def frames(count):
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (count, 2, *SHAPE), generator=generator).to(torch.uint8)


def actions(agent, explore=False):
    state, taken = agent.initial(2, seed=5), []
    for t, obs in enumerate(frames(4)):
        action, state = agent.act(obs, torch.full((2,), t == 0), state, explore)
        taken.append(action)
    return torch.stack(taken)


def rewrite(run, **changes):
    file = run / "model" / "model.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def one_line(error):
    message = str(error.value)
    assert "Traceback" not in message
    assert "\n" not in message
    return message


def test_a_loaded_agent_has_the_same_weights_and_acts_the_same(saved):
    run, agent = saved
    again = load(run)
    weights, others = agent.world_model.state_dict(), again.world_model.state_dict()
    assert weights.keys() == others.keys()
    for name, value in weights.items():
        assert torch.equal(value, others[name]), name
    assert torch.equal(actions(agent), actions(again))
    assert torch.equal(actions(agent, explore=True), actions(again, explore=True))
    assert not torch.equal(actions(agent), actions(agent, explore=True))
    assert not again.training


def test_loading_restores_every_option(saved):
    again = load(saved[0])
    assert again.noise == 0.125
    assert again.world_model.discount == 0.9
    assert again.actor.replan_every == 2
    assert again.actor.planner.horizon == 3
    assert again.world_model.action_space == SPACE
    assert again.world_model.obs_shape == SHAPE
    assert read_about(saved[0])["env"] == ENV


def test_loading_takes_the_run_or_its_model_folder(saved):
    run, agent = saved
    assert torch.equal(actions(load(run / "model")), actions(agent))
    assert torch.equal(actions(load(str(run))), actions(agent))


def test_no_pickle_is_executed(saved, monkeypatch):
    def forbidden(*args, **kwargs):
        raise AssertionError("a pickle was opened")

    for module, name in (
        (pickle, "Unpickler"), (pickle, "load"), (pickle, "loads"), (torch, "load"),
    ):  # fmt: skip
        monkeypatch.setattr(module, name, forbidden)
    assert torch.equal(actions(load(saved[0])), actions(saved[1]))
    assert sorted(path.name for path in (saved[0] / "model").iterdir()) == [
        "model.json",
        "weights.safetensors",
    ]


def test_a_missing_model_says_where_it_should_be(tmp_path):
    with pytest.raises(FileNotFoundError) as error:
        load(tmp_path / "nothing")
    run = tmp_path / "nothing"
    assert one_line(error) == f"no trained model in {run}: expected {run}/model/model.json"


def test_weights_of_an_older_class_are_told_in_one_line(saved):
    file = saved[0] / "model" / "weights.safetensors"
    weights = load_file(file)
    del weights[next(iter(weights))]
    save_file(weights, file)
    with pytest.raises(ValueError, match="which have changed since: train it again") as error:
        load(saved[0])
    assert "Missing key(s)" in one_line(error)


def test_a_newer_format_asks_for_an_update(saved):
    rewrite(saved[0], format=FORMAT + 1)
    with pytest.raises(ValueError, match="update worldmodels") as error:
        load(saved[0])
    assert f"has format {FORMAT + 1}, this version reads {FORMAT}" in one_line(error)


def test_the_first_format_is_refused_with_the_commit_that_reads_it(saved):
    rewrite(saved[0], format=1)
    with pytest.raises(ValueError, match="has format 1, this version reads 2") as error:
        load(saved[0])
    assert "format 1 ends at 7e4570b" in one_line(error)


@pytest.mark.parametrize("text", ["{}", "[]", "no json", '{"format": "two"}'])
def test_a_file_that_is_none_of_ours_is_named(saved, text):
    (saved[0] / "model" / "model.json").write_text(text)
    with pytest.raises(ValueError, match=r"model\.json is not a model of worldmodels") as error:
        load(saved[0])
    one_line(error)


def test_a_class_that_cannot_be_imported_is_named(saved):
    about = read_about(saved[0])["agent"]
    about["model"]["init_args"]["encoder"]["class_path"] = "my_lab.nets.ViTEncoder"
    rewrite(saved[0], agent=about)
    with pytest.raises(ValueError, match=r"cannot rebuild the agent of .*my_lab") as error:
        load(saved[0])
    one_line(error)


def test_the_planner_can_be_another_one(saved):
    path = "worldmodels.planning.RandomShooting"
    again = load(saved[0], planner={"class_path": path, "init_args": {"horizon": 4}})
    planner = again.actor.planner
    assert type(planner) is RandomShooting
    assert planner.horizon == 4
    # Its own default, not what the planner before it was told.
    assert planner.candidates == 1000
    for name, value in saved[1].world_model.state_dict().items():
        assert torch.equal(value, again.world_model.state_dict()[name])


def test_a_class_path_alone_is_an_override_too(saved):
    again = load(saved[0], planner="worldmodels.planning.RandomShooting", noise=0.5)
    assert type(again.actor.planner) is RandomShooting
    assert again.noise == 0.5


def test_options_of_the_saved_planner_can_be_changed_one_by_one(saved):
    again = load(saved[0], planner={"init_args": {"horizon": 5}})
    planner = again.actor.planner
    assert type(planner) is CEM
    assert (planner.horizon, planner.candidates) == (5, 8)


def test_an_override_that_does_not_exist_is_refused(saved):
    with pytest.raises(ValueError, match=r"cannot rebuild the agent of .*planer"):
        load(saved[0], planer="worldmodels.planning.RandomShooting")


def test_defaults_build_an_agent():
    agent = build_agent(SHAPE, SPACE)
    assert type(agent.actor) is MPC
    assert type(agent.actor.planner) is CEM
    assert agent.behaviour is None
    assert agent.noise == 0.3


def test_planner_and_behaviour_decide_who_acts():
    planner = partial(CEM, candidates=4, elites=2)
    behaviour = partial(ActorCritic, hidden=8)
    alone = build_agent(SHAPE, SPACE, behaviour=behaviour)
    assert alone.actor is alone.behaviour
    guided = build_agent(SHAPE, SPACE, behaviour=behaviour, planner=planner)
    assert type(guided.behaviour) is ActorCritic
    assert guided.actor.guide is guided.behaviour
    assert guided.actor.planner.candidates == 4


def other_model(dynamics=partial(GaussianRSSM, stoch=4, deter=8, hidden=8), space=SPACE, **parts):
    parts = {"decoder": partial(ConvDecoder, depth=2)} | parts
    return WorldModel(SHAPE, space, partial(ConvEncoder, depth=2), dynamics, **parts)


def test_a_pretrained_model_is_loaded_and_frozen(saved):
    model = other_model()
    load_pretrained_world_model(saved[0], model)
    for name, value in saved[1].world_model.state_dict().items():
        assert torch.equal(model.state_dict()[name], value), name
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_what_the_pretrained_model_lacks_learns(saved):
    blind = Agent(other_model(decoder=None), MPC(CEM(SPACE, candidates=4, elites=2)))
    save_agent(saved[0] / "blind", blind, ENV)
    model = other_model()
    decoder = {name: value.clone() for name, value in model.decoder.state_dict().items()}
    load_pretrained_world_model(saved[0] / "blind", model)
    for name, parameter in model.named_parameters():
        assert parameter.requires_grad == name.startswith("decoder."), name
    for name, value in model.decoder.state_dict().items():
        assert torch.equal(value, decoder[name])


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"dynamics": partial(GaussianRSSM, stoch=4, deter=9, hidden=8)}, "built differently"),
        ({"dynamics": FrameStack}, "built differently"),
        ({"space": ActionSpace(3, False)}, "sees .* and acts by"),
    ],
)
def test_a_pretrained_model_of_another_kind_is_refused_in_one_line(saved, options, told):
    with pytest.raises(ValueError, match=told) as error:
        load_pretrained_world_model(saved[0], other_model(**options))
    one_line(error)
