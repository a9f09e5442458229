from functools import partial

import pytest
import torch
from known_worlds import (
    aim,
    chain,
    everywhere_on_the_chain,
    optimal_chain_values,
    pixel_model,
    pixels,
    replayed,
    train,
)
from test_actor_critic import gradients

from worldmodels.behaviours import (
    DQN,
    MBPO,
    PPO,
    SAC,
    ActorCritic,
    Distillation,
    EpisodeStarts,
    FixedLength,
    LinearLength,
    ValidatedLength,
)
from worldmodels.behaviours.transitions import replayed_transitions
from worldmodels.dynamics import TS1, EnsembleRSSM, GaussianRSSM, TSinf
from worldmodels.planning import RandomShooting
from worldmodels.types import ActionSpace
from worldmodels.world_model import LatentModel

REAL, CHOICES = ActionSpace(2, False), ActionSpace(3, True)
ALGORITHMS = [(SAC, REAL), (SAC, CHOICES), (DQN, CHOICES), (PPO, REAL), (PPO, CHOICES)]
NAMES = ["sac", "sac-discrete", "dqn", "ppo", "ppo-discrete"]
LATENT = partial(GaussianRSSM, stoch=4, deter=8, hidden=8)
SHOOTING = partial(RandomShooting, horizon=1, candidates=2)


def augmented(model, algorithm, steps=2, **options):
    torch.manual_seed(1)
    algorithm = partial(algorithm, hidden=8, layers=1)
    behaviour = MBPO(
        model.feature_dim,
        model.action_space,
        algorithm,
        partial(FixedLength, steps),
        **options,
    )
    for parameter in behaviour.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return behaviour


def played(space, **options):
    """Pixels with random actions."""
    batch = pixels(space, **options)
    chosen = torch.randint(
        space.dim, batch.reward.shape, generator=torch.Generator().manual_seed(4)
    )
    return batch._replace(action=torch.eye(space.dim)[chosen])


MIXTURES = [(*case, ratio) for case in ALGORITHMS for ratio in (0.0, 0.3, 1.0)]


@pytest.mark.parametrize(
    ("algorithm", "space", "ratio"),
    [case for case in MIXTURES if case[0] is not PPO or not case[2]],
)
def test_no_gradient_crosses_between_world_model_and_algorithm(algorithm, space, ratio):
    model, batch = pixel_model(space, LATENT), played(space)
    behaviour = augmented(model, algorithm, real_ratio=ratio)
    torch.manual_seed(2)
    model.loss(batch)[0].total.backward()
    alone = gradients(model)
    assert all(grad is None for grad in gradients(behaviour))
    model.zero_grad()
    torch.manual_seed(2)
    losses, posterior = model.loss(batch)
    (losses.total + behaviour.loss(model, batch, posterior).total).backward()
    for ours, reference in zip(gradients(model), alone):
        assert torch.equal(ours, reference)
    for group in behaviour.parameter_groups():
        assert any(parameter.grad.abs().sum() > 0 for parameter in group.parameters)
    learning = {id(p) for group in behaviour.parameter_groups() for p in group.parameters}
    assert all(p.grad is None for p in behaviour.parameters() if id(p) not in learning)


def test_the_loss_is_mixed_by_the_real_ratio():
    model, batch = pixel_model(CHOICES, LATENT), played(CHOICES)
    behaviour = augmented(model, DQN)
    posterior = model.loss(batch)[1]
    found = []
    for ratio in (0.0, 1.0, 0.25):
        behaviour.real_ratio = ratio
        torch.manual_seed(3)
        found.append(behaviour.loss(model, batch, posterior).total)
    imagined, real, mixed = found
    torch.testing.assert_close(mixed, 0.25 * real + 0.75 * imagined)
    assert imagined != real


def test_without_imagined_data_the_model_is_not_asked():
    model, batch = pixel_model(CHOICES, LATENT), played(CHOICES)
    behaviour = augmented(model, DQN, real_ratio=1.0)
    posterior = model.loss(batch)[1]
    model.imagine = None
    assert behaviour.loss(model, batch, posterior).total > 0


@pytest.mark.parametrize(("algorithm", "space"), ALGORITHMS, ids=NAMES)
def test_imagination_that_starts_at_terminal_states_teaches_nothing(algorithm, space):
    model, batch = pixel_model(space, LATENT), played(space, ended=True)
    behaviour = augmented(model, algorithm, real_ratio=0.0)
    losses = behaviour.loss(model, batch, model.loss(batch)[1])
    losses.total.backward()
    assert losses.total == 0
    for group in behaviour.parameter_groups():
        assert all(parameter.grad.abs().sum() == 0 for parameter in group.parameters)


def test_rollouts_branch_from_every_state_under_the_algorithms_policy():
    model = chain(discount=0.8)
    behaviour = augmented(model, DQN, steps=3)
    behaviour.algorithm.act = lambda feature: torch.eye(2)[1].expand(len(feature), 2)
    batch, posterior = everywhere_on_the_chain(copies=1)
    made = behaviour.branch(model, batch, posterior, 3)
    places = made.feature.argmax(-1)
    assert sorted(places[:, 0].tolist()) == [0, 1, 2, 3, 4, 5]
    assert torch.equal(made.after.argmax(-1), (places + 1).clamp(max=5))
    # From place 4 the first step ends the task: the two after it do not happen.
    rows = {start: row for row, start in enumerate(places[:, 0].tolist())}
    assert made.weight[rows[4]].tolist() == [1, 0, 0]
    assert made.weight[rows[2]].tolist() == [1, 1, 1]
    assert made.weight[rows[5]].tolist() == [0, 0, 0]
    assert made.reward[rows[4], 0] == 1
    assert made.discount[rows[4], 0] == 0
    behaviour.starts = 4
    assert len(behaviour.branch(model, batch, posterior, 1).reward) == 4


def test_rollouts_can_start_where_episodes_do():
    model = chain()
    behaviour = MBPO(6, model.action_space, DQN, branches=EpisodeStarts)
    batch, posterior = everywhere_on_the_chain(copies=1)
    first = torch.tensor([False, True, False, False, True, False])[:, None]
    made = behaviour.branch(model, batch._replace(is_first=first), posterior, 2)
    assert sorted(made.feature[:, 0].argmax(-1).tolist()) == [1, 4]
    # As many rollouts as asked for, though fewer states are eligible.
    behaviour.starts = 5
    again = behaviour.branch(model, batch._replace(is_first=first), posterior, 2)
    counts = again.feature[:, 0].argmax(-1).bincount().tolist()
    assert sorted(counts) == [0, 0, 0, 2, 3]
    # No beginning in the batch: nothing is imagined.
    losses = behaviour.loss(model, batch._replace(is_first=first & False), posterior)
    assert losses.metrics["loss/critic"] == 0


def starts_of(make, counted):
    """The features that a behaviour's first rollouts start from, sorted, and those of the batch."""
    model, batch = pixel_model(CHOICES, LATENT), pixels(CHOICES, rows=3, steps=4)
    model.burn_in = 3
    batch = batch._replace(is_first=counted)
    posterior, starts = model.loss(batch)[1], []
    behaviour, imagine = make(model.feature_dim, CHOICES), model.imagine
    model.imagine = lambda start, *rest: starts.append(start) or imagine(start, *rest)
    behaviour.loss(model, batch, posterior)
    return model.feature(starts[-1]).sum(-1).sort().values, model.feature(posterior).sum(-1)


@pytest.mark.parametrize(
    "make",
    [
        partial(ActorCritic, horizon=2, hidden=8),
        partial(Distillation, teacher=SHOOTING, horizon=2, hidden=8),
        partial(MBPO, algorithm=partial(DQN, hidden=8)),
    ],
)
def test_nothing_is_imagined_from_rows_that_warm_up(make):
    # The second sequence has its episode's beginning, the others have none.
    is_first = torch.tensor([[False] * 4, [False, False, True, False], [False] * 4])
    starts, features = starts_of(make, is_first)
    expected = torch.stack([features[0, 3], *features[1, 2:], features[2, 3]]).sort().values
    torch.testing.assert_close(starts, expected)


def test_replayed_transitions_from_rows_that_warm_up_do_not_count():
    batch = pixels(CHOICES, rows=2, steps=4)
    batch = batch._replace(is_first=torch.tensor([[False] * 4, [False, True, False, False]]))
    feature = torch.zeros(2, 4, 3)
    assert replayed_transitions(batch, feature, 0.9, 2).weight.tolist() == [[0, 0, 1], [0, 1, 1]]
    assert replayed_transitions(batch, feature, 0.9).weight.tolist() == [[1, 1, 1], [0, 1, 1]]


@pytest.mark.parametrize("propagation", [TSinf, TS1])
def test_rollouts_follow_the_members_of_an_ensemble(propagation):
    ensemble = partial(EnsembleRSSM, members=3, propagation=propagation, stoch=4, deter=8, hidden=8)
    model, batch = pixel_model(REAL, ensemble), played(REAL, rows=4, steps=6)
    posterior = model.loss(batch)[1]
    behaviour = augmented(model, SAC, steps=4)
    asked = []
    transition = model.dynamics.prior

    def prior(state, action):
        after = transition(state, action)
        asked.append(torch.stack([state.member, after.member]))
        return after

    model.dynamics.prior = prior
    behaviour.branch(model, batch, posterior, 4)
    members = torch.stack(asked)
    assert len(members) == 4
    assert torch.equal(members[0, 0].sort().values, posterior.member.flatten().sort().values)
    assert torch.equal(members[1:, 0], members[:-1, 1])
    assert set(members[0, 1].tolist()) == {0, 1, 2}
    kept = torch.equal(members[0, 1], members[-1, 1])
    assert kept == (propagation is TSinf)


@pytest.mark.parametrize(("algorithm", "space"), ALGORITHMS, ids=NAMES)
def test_mixed_precision_gives_nearly_the_same_gradients(algorithm, space):
    model, batch = pixel_model(space, LATENT), played(space)
    behaviour = augmented(model, algorithm, steps=1, real_ratio=0.0 if algorithm is PPO else 0.5)
    posterior = model.loss(batch)[1]
    found = []
    for enabled in (False, True):
        behaviour.zero_grad()
        torch.manual_seed(2)
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            losses = behaviour.loss(model, batch, posterior)
        losses.total.backward()
        groups = [group.parameters for group in behaviour.parameter_groups()]
        found.append(torch.stack([torch.stack([p.grad.norm() for p in g]).norm() for g in groups]))
    assert losses.total.dtype == torch.float32
    torch.testing.assert_close(found[1], found[0], rtol=0.15, atol=0)


def test_augmentation_without_a_model_is_refused():
    model = LatentModel((3, 16, 16), CHOICES)
    batch = played(CHOICES)
    behaviour = MBPO(model.feature_dim, CHOICES, DQN, real_ratio=1.0)
    with pytest.raises(TypeError, match="MBPO needs a world model"):
        behaviour.loss(model, batch, model.loss(batch)[1])


# The known answers


QUICK = {"hidden": 32, "layers": 1, "critic_learning_rate": 1e-2, "actor_learning_rate": 1e-2}
FAST = {"hidden": 32, "layers": 1, "critic_learning_rate": 2e-2, "actor_learning_rate": 2e-2}
CHAIN_ALGORITHMS = {
    "dqn": (200, partial(
        DQN, hidden=32, layers=1, learning_rate=2e-2, tau=0.2, exploration=0.4
    )),
    "sac": (260, partial(
        SAC, **FAST, tau=0.2, temperature=0.1, target_entropy=0.01,
        temperature_learning_rate=2e-2,
    )),
    "ppo": (120, partial(PPO, **FAST, tau=0.2, refresh=3, entropy_coef=1e-2)),
}  # fmt: skip


@pytest.mark.usefixtures("without_shape_checks")
@pytest.mark.parametrize("algorithm", CHAIN_ALGORITHMS)
def test_the_value_on_the_chain_is_the_optimal_one(algorithm):
    torch.manual_seed(0)
    model, (updates, make) = chain(discount=0.8), CHAIN_ALGORITHMS[algorithm]
    behaviour = MBPO(6, model.action_space, make, partial(FixedLength, 3), real_ratio=0.0)
    train(behaviour, model, *everywhere_on_the_chain(copies=2), updates=updates)
    places, expected = torch.eye(6)[:5], optimal_chain_values(0.8)[:5]
    value = behaviour.value(places)
    assert ((value - expected).abs() <= 0.05 * expected).all(), value
    chosen = behaviour.policy(places).mode().argmax(-1).tolist()
    assert chosen[0] == 0
    assert chosen[2:] == [1, 1, 1]


AIM_ALGORITHMS = {
    "sac": (300, partial(
        SAC, **QUICK | {"actor_learning_rate": 5e-3}, tau=0.2, temperature=0.02,
        temperature_learning_rate=1e-2, target_entropy=-1.5,
    )),
    "ppo": (300, partial(PPO, **QUICK, tau=0.2, refresh=3)),
}  # fmt: skip


@pytest.mark.usefixtures("without_shape_checks")
@pytest.mark.parametrize("algorithm", AIM_ALGORITHMS)
def test_a_continuous_policy_finds_a_good_action_and_its_value(algorithm):
    torch.manual_seed(0)
    model, (updates, make) = aim(discount=0.8), AIM_ALGORITHMS[algorithm]
    behaviour = MBPO(2, model.action_space, make, partial(FixedLength, 2), real_ratio=0.0)
    batch, posterior = replayed(torch.rand(24, 2))
    train(behaviour, model, batch, posterior, updates=updates)
    features = torch.rand(24, 2)
    reward = 1 - (behaviour.policy(features).mode() - 0.5).square()
    assert reward.min() > 0.9
    # 1 at every step for ever: 1 / (1 - 0.8).
    assert (behaviour.value(features) - 5).abs().max() < 0.25, behaviour.value(features)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MBPO(4, CHOICES, real_ratio=1.5), r"real_ratio=1\.5: choose 0 to 1"),
        (lambda: MBPO(4, CHOICES, starts=0), "starts=0: choose 1 or more"),
        (
            lambda: MBPO(4, CHOICES, PPO, real_ratio=0.1),
            r"real_ratio=0\.1: PPO learns from its present policy's transitions alone.*ratio 0$",
        ),
        (lambda: FixedLength(0), "steps=0: choose 1 or more"),
        (lambda: LinearLength(first=0), "first=0: choose 1 or more"),
        (
            lambda: LinearLength(begin=5, end=5),
            "begin=5, end=5: choose a begin of 0 or more and an end after it",
        ),
        (lambda: ValidatedLength(0), "longest=0: choose 1 or more"),
        (lambda: ValidatedLength(tolerance=0.0), r"tolerance=0\.0: choose a number above 0"),
        (lambda: PPO(4, CHOICES, clip=1.0), r"clip=1\.0: choose a number between 0 and 1"),
        (lambda: PPO(4, CHOICES, refresh=0), "refresh=0: choose 1 or more"),
        (lambda: PPO(4, CHOICES, lambda_=-0.1), r"lambda_=-0\.1: choose 0 to 1"),
        (lambda: SAC(4, CHOICES, temperature=0.0), r"temperature=0\.0: choose a number above 0"),
        (lambda: SAC(4, REAL, value_scale=0.0), r"value_scale=0\.0: choose a number above 0"),
        (lambda: DQN(4, CHOICES, exploration=0.0), r"exploration=0\.0: choose a probability"),
    ],
)
def test_an_option_out_of_its_range_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
