from functools import partial

import pytest
import torch

from worldmodels.dynamics import GaussianRSSM
from worldmodels.envs.make import make_env
from worldmodels.nn.decoders import ConvDecoder
from worldmodels.nn.encoders import ConvEncoder
from worldmodels.replay.store import EpisodeStore
from worldmodels.studies.fit_module import fit_module
from worldmodels.studies.learning import learn, loss_terms, random_data, small_agent, small_model
from worldmodels.training.demo import demo_model
from worldmodels.training.settings import Batches

TINY = {
    "encoder": partial(ConvEncoder, depth=2),
    "decoder": partial(ConvDecoder, depth=2),
    "dynamics": partial(GaussianRSSM, stoch=2, deter=4, hidden=4),
}


def hills(copies=2):
    return make_env("worldmodels/CliffHill-v0", copies, (16, 16), time_limit=5)


def test_the_small_model_is_the_demos_but_for_the_width_of_the_decoder():
    env = make_env("worldmodels/CliffHill-v0")
    ours, theirs = small_model(env), demo_model(env)
    assert [term.weights for term in ours.terms] == [term.weights for term in theirs.terms]
    sizes = [
        {k: v.shape for k, v in model.named_parameters() if not k.startswith("decoder")}
        for model in (ours, theirs)
    ]
    assert sizes[0] == sizes[1]


def test_the_weights_of_the_terms_are_those_given():
    image, reward, continues, kl = loss_terms(image=0.5, reward=30.0, continues=10.0)
    assert (image.weights, image.fraction) == ({"image": 0.5}, 0.25)
    assert (reward.weights, continues.weights) == ({"reward": 30.0}, {"continue": 10.0})
    assert (kl.weights, kl.free_nats) == ({"dynamics": 0.8, "representation": 0.2}, 1.0)


def test_random_data_is_collected_once_and_the_seed_decides_everything(tmp_path):
    batches = Batches(batch_size=2, batch_length=4)
    runs = [
        learn(
            tmp_path / name, hills(), seed, 2, random_data(20), partial(small_agent, **TINY),
            round_updates=1, batches=batches,
        )
        for name, seed in (("one", 3), ("same", 3), ("other", 4))
    ]  # fmt: skip
    # Two copies play episodes of 5 steps until there are 20 steps, and none by the planner.
    episodes = list(EpisodeStore(runs[0].path / "replay"))
    assert [episode.policy for episode in episodes] == ["random"] * 4
    one, same, other = (torch.cat([p.flatten() for p in run.agent.parameters()]) for run in runs)
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_a_module_is_fitted_by_its_loss():
    torch.manual_seed(0)
    x = torch.rand(50, 2)
    line = torch.nn.Linear(2, 1)
    fit_module(
        line, lambda: (line(x)[:, 0] - x @ torch.tensor([2.0, -1.0])).square().mean(), 300, 0.1
    )
    assert line.weight[0].tolist() == pytest.approx([2.0, -1.0], abs=0.01)
