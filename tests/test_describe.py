"""Objects that remember their constructor's arguments: described, saved, loaded, copied."""

import copy
import json
import pickle
from functools import partial

import pytest
import torch
from torch import Tensor

from worldmodels.agent import Agent
from worldmodels.behaviours import (
    MBPO,
    PPO,
    SAC,
    ActorCritic,
    Distillation,
    DynamicsBackprop,
    EpisodeStarts,
    LinearLength,
    ModelFree,
)
from worldmodels.checkpoint import describe_agent, load, save_agent
from worldmodels.dynamics import TS1, CategoricalRSSM, EnsembleRSSM, GaussianRSSM
from worldmodels.losses import BalancedKL, Continues, InfoNCE, LatentConsistency, Reward
from worldmodels.nn.decoders import ConvDecoder
from worldmodels.nn.encoders import ConvEncoder
from worldmodels.nn.heads import NeverEnds, TwoHotHead
from worldmodels.nn.pixels import Standardized
from worldmodels.planning import CEM, ICEM, MPC, MPPI, PDDM, Gradient, Hybrid, RandomShooting
from worldmodels.planning.objectives import (
    ActionCost,
    Curiosity,
    FeatureObjective,
    GoalImage,
    LearnedReward,
    MeanAndStd,
)
from worldmodels.types import ActionSpace, ObsShape, describe
from worldmodels.world_model import LatentModel, WorldModel

SHAPE, SPACE = (3, 16, 16), ActionSpace(2, False)
ENV = {"id": "worldmodels/CartSwing-v0", "size": [16, 16]}
SIZE = {"stoch": 4, "deter": 8, "hidden": 8}
RSSM = partial(GaussianRSSM, **SIZE)
ENSEMBLE = partial(EnsembleRSSM, members=2, particles=4, propagation=TS1, **SIZE)
SMALL = {"horizon": 3, "candidates": 8, "iterations": 2, "elites": 3}


def model(cls=WorldModel, dynamics=RSSM, **options):
    options = {"encoder": partial(ConvEncoder, depth=2), "dynamics": dynamics} | options
    if issubclass(cls, WorldModel):
        options = {"decoder": partial(ConvDecoder, depth=2)} | options
    return cls(SHAPE, SPACE, **options)


class PatientModel(WorldModel):
    """Hands all that is not its own on."""

    def __init__(self, obs_shape, action_space, patience: float = 1.0, **kwargs):
        super().__init__(obs_shape, action_space, **kwargs)
        self.patience = patience


def nearness(feature: Tensor) -> Tensor:
    return -feature.square().mean(-1)


def planner_alone():
    hybrid = Hybrid(SPACE, 3, sampler=partial(ICEM, candidates=8, iterations=2, elites=3,
                                              kept_elites=2), steps=2)  # fmt: skip
    objective = LearnedReward() + 0.1 * ActionCost() - FeatureObjective(nearness) * 2
    return Agent(model(), MPC(hybrid, replan_every=2, objective=objective), noise=0.2)


def guided_by_a_student():
    teacher = partial(Hybrid, horizon=2, sampler=partial(CEM, candidates=8, elites=3), steps=1)
    world_model = model(reward=TwoHotHead, continues=NeverEnds, pixels=Standardized, discount=0.9)
    student = Distillation(
        world_model.feature_dim, SPACE, teacher=teacher, queries=4, hidden=8, memory=8
    )
    return Agent(world_model, MPC(CEM(SPACE, **SMALL), student, proposals=2))


def curious_policy():
    world_model = model(dynamics=ENSEMBLE, pad=1)
    actor_critic = ActorCritic(
        world_model.feature_dim, SPACE, DynamicsBackprop, hidden=8, objective=Curiosity(bonus=10.0)
    )
    return Agent(world_model, actor_critic)


def ensemble_planner():
    planner = MPPI(SPACE, 3, candidates=8, iterations=2)
    return Agent(model(dynamics=ENSEMBLE), MPC(planner, aggregation=MeanAndStd(-0.5)))


def model_free():
    world_model = model(LatentModel, partial_frames(), pad=2)
    return Agent(
        world_model, ModelFree(world_model.feature_dim, SPACE, partial(SAC, hidden=8)), noise=0.0
    )


def partial_frames():
    from worldmodels.dynamics import FrameStack

    return partial(FrameStack, frames=3, size=4)


def augmented():
    world_model = model(dynamics=partial(CategoricalRSSM, stack=2, classes=3, deter=8, hidden=8))
    behaviour = MBPO(
        world_model.feature_dim,
        SPACE,
        partial(PPO, hidden=8),
        length=partial(LinearLength, first=1, last=3, end=10),
        branches=EpisodeStarts,
        real_ratio=0.0,
    )
    return Agent(world_model, behaviour)


def without_a_decoder():
    terms = (InfoNCE(dim=4), LatentConsistency(hidden=8), Reward(weight=10.0), Continues(),
             BalancedKL(free_nats=0.5))  # fmt: skip
    world_model = model(PatientModel, decoder=None, terms=terms, patience=2.0)
    return Agent(world_model, MPC(Gradient(SPACE, 3, starts=2, steps=2)))


AGENTS = [
    planner_alone, guided_by_a_student, curious_policy, ensemble_planner, model_free, augmented,
    without_a_decoder,
]  # fmt: skip


@pytest.fixture(params=AGENTS, ids=lambda make: make.__name__)
def agent(request):
    """An agent made of Python objects, its weights moved off their start."""
    torch.manual_seed(0)
    made = request.param().eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter += torch.randn_like(parameter) / 8
    return made


def acts(agent, explore=False):
    generator = torch.Generator().manual_seed(1)
    state, taken = agent.initial(2, seed=5), []
    for t in range(3):
        obs = torch.randint(0, 256, (2, *SHAPE), generator=generator).to(torch.uint8)
        action, state = agent.act(obs, torch.full((2,), t == 0), state, explore)
        taken.append(action)
    return torch.stack(taken)


def test_a_saved_agent_comes_back_and_acts_bit_for_bit(agent, tmp_path):
    save_agent(tmp_path, agent, ENV)
    again = load(tmp_path)
    assert torch.equal(acts(again), acts(agent))
    assert torch.equal(acts(again, explore=True), acts(agent, explore=True))
    weights = again.state_dict()
    assert weights.keys() == agent.state_dict().keys()
    for name, value in agent.state_dict().items():
        assert torch.equal(weights[name], value), name
    # And once more: what it says of itself, now with all defaults, is enough.
    save_agent(tmp_path, again, ENV)
    third = load(tmp_path)
    assert describe_agent(third) == describe_agent(again)
    assert torch.equal(acts(third), acts(agent))


def test_a_copied_and_a_pickled_agent_act_the_same(agent):
    expected = acts(agent)
    for again in (copy.deepcopy(agent), pickle.loads(pickle.dumps(agent))):
        assert torch.equal(acts(again), expected)
        assert describe_agent(again) == describe_agent(agent)
        # What acts is what is trained, in the copy as well.
        assert again.behaviour is None or again.behaviour in (
            again.actor, getattr(again.actor, "guide", None),
        )  # fmt: skip
        with torch.no_grad():
            for parameter in again.parameters():
                parameter += 1
        assert torch.equal(acts(agent), expected)


def test_an_agent_describes_itself_in_plain_words():
    torch.manual_seed(0)
    found = describe_agent(without_a_decoder())
    losses = "worldmodels.losses"
    assert json.loads(json.dumps(found)) == {
        "model": {
            "class_path": f"{__name__}.PatientModel",
            "init_args": {
                "patience": 2.0,
                "encoder": {
                    "class_path": "worldmodels.nn.encoders.ConvEncoder",
                    "init_args": {"depth": 2},
                },
                "dynamics": {
                    "class_path": "worldmodels.dynamics.rssm.GaussianRSSM",
                    "init_args": SIZE,
                },
                "decoder": None,
                "terms": [
                    {"class_path": f"{losses}.contrastive.InfoNCE", "init_args": {"dim": 4}},
                    {
                        "class_path": f"{losses}.consistency.LatentConsistency",
                        "init_args": {"hidden": 8},
                    },
                    {"class_path": f"{losses}.prediction.Reward", "init_args": {"weight": 10.0}},
                    {"class_path": f"{losses}.prediction.Continues"},
                    {"class_path": f"{losses}.kl.BalancedKL", "init_args": {"free_nats": 0.5}},
                ],
            },
        },
        "planner": {
            "class_path": "worldmodels.planning.gradient.Gradient",
            "init_args": {"horizon": 3, "starts": 2, "steps": 2},
        },
        "mpc": {"class_path": "worldmodels.planning.mpc.MPC"},
        "noise": 0.3,
    }


@pytest.mark.parametrize("planner", [CEM, ICEM, MPPI, PDDM, Gradient, Hybrid, RandomShooting])
def test_every_planner_remembers_what_it_was_made_of(planner):
    assert planner(SPACE, horizon=4).init_args == {"action_space": SPACE, "horizon": 4}
    assert planner(SPACE, 4).init_args == {"action_space": SPACE, "horizon": 4}


class Bound:
    def near(self, feature):
        return nearness(feature)


def local(obs_shape: ObsShape) -> ConvEncoder:
    return ConvEncoder(obs_shape, depth=2)


@pytest.mark.parametrize(
    "thing",
    [
        lambda obs_shape: ConvEncoder(obs_shape),
        partial(lambda obs_shape, depth: ConvEncoder(obs_shape, depth), depth=2),
        Bound().near,
        torch.zeros(40),
        torch.nn.Linear(2, 2),
        object(),
    ],
    ids=["lambda", "partial of a lambda", "method", "tensor", "module", "object"],
)
def test_what_no_configuration_can_name_is_refused_in_one_line(thing):
    with pytest.raises(ValueError, match="cannot be saved: give") as error:
        describe({"part": [thing]})
    assert "\n" not in str(error.value)


def test_a_lambda_as_a_factory_is_refused_when_saving(tmp_path):
    encoder = lambda obs_shape: ConvEncoder(obs_shape, depth=2)  # noqa: E731
    agent = Agent(model(encoder=encoder), MPC(CEM(SPACE, **SMALL)))
    with pytest.raises(ValueError, match=r"<lambda> .* cannot be saved") as error:
        save_agent(tmp_path / "model", agent, ENV)
    assert "\n" not in str(error.value)
    # Nothing is left behind that looks like a model.
    assert not (tmp_path / "model").exists()


def unannotated(feature):
    return feature[..., 0]


def test_a_function_that_could_not_be_loaded_is_refused_when_saving(tmp_path):
    mpc = MPC(CEM(SPACE, **SMALL), objective=FeatureObjective(unannotated))
    with pytest.raises(
        ValueError, match=r"this agent cannot be saved: --mpc.objective=.*unannotated"
    ) as error:
        save_agent(tmp_path / "model", Agent(model(), mpc), ENV)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "model").exists()


def test_a_goal_is_refused_when_saving(tmp_path):
    world_model = model()
    mpc = MPC(CEM(SPACE, **SMALL), objective=GoalImage(torch.zeros(world_model.feature_dim)))
    with pytest.raises(ValueError, match="cannot be saved") as error:
        save_agent(tmp_path, Agent(world_model, mpc), ENV)
    assert "\n" not in str(error.value)


class Oracle:
    """A guide that is no behaviour."""

    def policy(self, feature):
        raise AssertionError("not asked")

    def value(self, feature):
        return feature.sum(-1)


def test_a_guide_that_is_no_behaviour_is_refused_when_saving(tmp_path):
    agent = Agent(model(), MPC(CEM(SPACE, **SMALL), Oracle(), proposals=0))
    assert acts(agent).shape == (3, 2, 2)
    with pytest.raises(ValueError, match="guide Oracle cannot be saved: give a Behaviour"):
        save_agent(tmp_path, agent, ENV)


def test_a_function_of_a_module_is_a_factory_like_a_class(tmp_path):
    agent = Agent(model(encoder=local), MPC(CEM(SPACE, **SMALL))).eval()
    save_agent(tmp_path, agent, ENV)
    assert torch.equal(acts(load(tmp_path)), acts(agent))


def test_a_wrong_argument_is_pythons_own_error():
    with pytest.raises(TypeError, match="unexpected keyword argument"):
        CEM(SPACE, candidate=3)
