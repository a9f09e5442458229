"""A behaviour, or a decoder, that learns on the finished world model of another run."""

import math
from functools import partial

import pytest
import torch
from tiny_training import (
    DREAMER,
    MODEL,
    OPTIONS,
    SMALL_SAC,
    STUDENT,
    Kill,
    assert_equal,
    assert_same_run,
    learn,
    run_until_killed,
    small_agent,
    weights,
    world,
)

from worldmodels.agent import Agent
from worldmodels.behaviours import MBPO
from worldmodels.behaviours.lengths import ValidatedLength
from worldmodels.checkpoint import BEHAVIOUR, load
from worldmodels.cli.fit import fit
from worldmodels.evaluation.imagine import imagine_episode
from worldmodels.evaluation.returns import evaluate_returns
from worldmodels.nn.pixels import Standardized
from worldmodels.replay.store import EpisodeStore
from worldmodels.training.settings import Collect, Optimiser, Replay

AGENT = [
    "--planner=null", "--behaviour=ActorCritic", "--behaviour.horizon=3", "--behaviour.starts=4",
    "--behaviour.hidden=8", "--behaviour.gradient=DynamicsBackprop",
]  # fmt: skip


def kept(found, expected):
    """The world model of a run is that of another, bit for bit."""
    assert_equal(
        {name: value for name, value in found.items() if not name.startswith(BEHAVIOUR)},
        {name: value for name, value in expected.items() if not name.startswith(BEHAVIOUR)},
    )


@pytest.mark.parametrize("source", ["env", "data"])
def test_the_model_stays_as_it_is_and_the_behaviour_learns(planned, tmp_path, source):
    others = [option for option in OPTIONS if not option.startswith(("--env", "--planner"))]
    frames = (
        [option for option in OPTIONS if option.startswith("--env")]
        if source == "env"
        else [f"--data={planned / 'replay'}"]
    )
    # Other sizes, as a recipe would bring them, give way to the model that is there. Other frames
    # are collected, and the pixel scaling is not fitted to them.
    more = ["--model.encoder.depth=4", "--collect.prefill=48", "--optimiser.weight_decay=0.1"]
    options = [*frames, *others, *AGENT, *more, f"--out={tmp_path}", "--seed=3"]
    run = fit([*options, f"--world_model={planned}"])
    found = weights(run)
    kept(found, weights(planned))
    # An untrained actor's last layer is zero.
    assert found[f"{BEHAVIOUR}actor.net.output.weight"].abs().sum() > 0
    assert_equal(load(run.path).state_dict(), run.agent.state_dict())
    again = fit([f"--config={run.path / 'config.yaml'}", f"--out={tmp_path}", "--name=again"])
    assert_same_run(again.path, run.path)


def test_resuming_gives_the_same_weights(planned, tmp_path):
    settings = {"world_model": planned, "data": planned / "replay"}
    whole = learn(tmp_path, "whole", small_agent(behaviour=DREAMER), updates=6, **settings)
    learn(tmp_path, "parts", small_agent(behaviour=DREAMER), updates=3, **settings)
    parts = learn(
        tmp_path, "parts", small_agent(behaviour=DREAMER), updates=6, resume=True, **settings
    )
    assert_same_run(parts.path, whole.path)


def test_a_fixed_model_without_a_behaviour_is_refused(planned, tmp_path):
    with pytest.raises(ValueError, match="world model is frozen: give --behaviour"):
        learn(tmp_path, world_model=planned)


def test_a_model_of_other_frames_is_refused(planned, tmp_path):
    options = [*OPTIONS, *AGENT, "--env.size=[32,32]"]
    with pytest.raises(ValueError, match=r"sees \(3, 16, 16\).*this job has \(3, 32, 32\)"):
        fit([*options, f"--world_model={planned}", f"--out={tmp_path}"])


@pytest.mark.parametrize("behaviour", [STUDENT, DREAMER], ids=["student", "actor-critic"])
def test_a_frozen_critic_is_the_runs_and_stays_so(actor_critic, tmp_path, behaviour):
    run = learn(
        tmp_path,
        agent=small_agent(seed=4, behaviour=behaviour),
        data=actor_critic / "replay",
        world_model=actor_critic,
        freeze_critic=True,
        optimiser=Optimiser(weight_decay=0.1),
    )
    found, expected = weights(run), weights(actor_critic)
    kept(found, expected)
    names = [name for name in expected if name.startswith(f"{BEHAVIOUR}critic.head")]
    assert names
    assert all(torch.equal(found[name], expected[name]) for name in names)
    assert any((expected[name] != 0).any() for name in names)
    assert found[f"{BEHAVIOUR}actor.net.output.weight"].abs().sum() > 0


def test_a_critic_that_cannot_be_frozen_is_refused(planned, actor_critic, tmp_path):
    frozen = partial(learn, tmp_path, freeze_critic=True)
    student = small_agent(behaviour=STUDENT)
    with pytest.raises(ValueError, match="give that, too"):
        frozen(agent=student)
    with pytest.raises(ValueError, match="has no critic: give a run of ActorCritic"):
        frozen(agent=student, world_model=planned)
    other = small_agent(behaviour=partial(STUDENT, hidden=4))
    with pytest.raises(ValueError, match="give this behaviour the same hidden and layers"):
        frozen(agent=other, world_model=actor_critic)
    mbpo = small_agent(behaviour=partial(MBPO, algorithm=SMALL_SAC))
    with pytest.raises(ValueError, match="MBPO has no critic: choose ActorCritic"):
        frozen(agent=mbpo, world_model=actor_critic)
    assert not (tmp_path / "run" / "config.yaml").exists()


def test_a_model_that_the_user_froze_is_not_fitted_to_other_pixels(planned, tmp_path):
    model = load(planned).world_model.requires_grad_(False)
    agent = Agent(model, DREAMER(model.feature_dim, model.action_space))
    collect = Collect(prefill=48, replay_ratio=4.0)
    run = learn(tmp_path, agent=agent, seed=3, updates=3, collect=collect)
    kept(weights(run), weights(planned))


BLIND = partial(MODEL, decoder=None, pixels=Standardized)


@pytest.fixture(scope="module")
def blind(tmp_path_factory):
    """A run without a decoder, whose behaviour validates its model on held-out episodes."""
    behaviour = partial(
        MBPO, algorithm=SMALL_SAC, length=partial(ValidatedLength, longest=2, tolerance=2.0)
    )
    agent = small_agent(model=BLIND, behaviour=behaviour)
    out = tmp_path_factory.mktemp("blind")
    # All data before the first update, which Standardized pixels ask for.
    collect = Collect(prefill=48, replay_ratio=math.inf)
    return learn(out, agent=agent, collect=collect, replay=Replay(held_out=0.4)).path


def decoded(out, blind, name="run", **settings):
    return learn(
        out, name, load(blind), data=blind / "replay", only="decoder", world_model=blind,
        **{"updates": 6, "optimiser": Optimiser(learning_rate=1e-2, weight_decay=0.1)} | settings,
    )  # fmt: skip


def test_only_a_decoder_learns_and_dreams_can_be_seen(blind, tmp_path):
    episode = next(iter(EpisodeStore(blind / "replay")))
    with pytest.raises(ValueError, match="no decoder"):
        imagine_episode(load(blind).world_model, episode, 3, 4)
    before, agent = weights(blind), load(blind)
    run = decoded(tmp_path, blind)
    found = weights(run)
    new = {name for name in found if name not in before}
    assert {name.split(".")[0] for name in new} == {"decoder"}
    # What the model's own loss needed is gone, everything else is as it was.
    assert {name.split(".")[0] for name in before if name not in found} <= {"terms"}
    for name in found.keys() & before.keys():
        assert torch.equal(found[name], before[name]), name
    losses = [line["train/loss/image"] for line in run.metrics]
    assert len(losses) == 6
    assert losses[-1] < 0.9 * losses[0]
    assert {name for line in run.metrics for name in line} == {
        "step", "update", "train/loss", "train/loss/image", "train/image_fvu",
    }  # fmt: skip
    again = load(run.path)
    assert type(again.behaviour) is type(agent.behaviour)
    played = [evaluate_returns(one, world(), 2, 0).episodes for one in (agent, again)]
    for one, other in zip(*played, strict=True):
        assert (one.action == other.action).all()
    dream_of_a_decoder(again.world_model, episode)
    latents = [one.world_model.observe(*observed(episode)).posterior for one in (agent, again)]
    for left, right in zip(*latents, strict=True):
        assert torch.equal(left, right)


def dream_of_a_decoder(model, episode):
    """Predicted frames are what the new decoder draws of the predicted latents."""
    drawn, decode = [], model.decode
    model.decode = lambda feature: drawn.append(decode(feature)) or drawn[-1]
    record = imagine_episode(model, episode, 3, 4)
    assert record.dream.shape == (1, 4, 3, 16, 16)
    frames = torch.cat([images.reshape(-1, 3, 16, 16) for images in drawn])
    for frame in torch.from_numpy(record.dream[0]):
        assert (frames == frame).flatten(1).all(1).any()


def observed(episode):
    torch.manual_seed(0)
    fields = (episode.obs, episode.action, episode.is_first)
    return [torch.from_numpy(field)[None] for field in fields]


def test_a_decoder_alone_resumes_and_comes_again_from_its_configuration(blind, tmp_path):
    whole = decoded(tmp_path, blind, "whole", updates=9)
    run_until_killed(lambda: decoded(tmp_path, blind, "killed", updates=9, callbacks=[Kill(5)]))
    resumed = decoded(tmp_path, blind, "killed", updates=9, resume=True)
    assert_same_run(resumed.path, whole.path)
    again = fit([f"--config={whole.path / 'config.yaml'}", f"--out={tmp_path}", "--name=again"])
    assert_same_run(again.path, whole.path)
    with pytest.raises(ValueError, match="trains a decoder for --world_model RUN"):
        fit([*OPTIONS, "--only=decoder", f"--out={tmp_path}", "--name=other"])
