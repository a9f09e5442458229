from functools import partial

import pytest
import torch

from worldmodels.checkpoint import agent_parser, build_agent, load, save_agent
from worldmodels.dynamics import (
    TS1,
    CategoricalEnsembleRSSM,
    CategoricalRSSM,
    Dynamics,
    EnsembleRSSM,
    GaussianRSSM,
    RSSMState,
    TSinf,
)
from worldmodels.dynamics.base import select_state, stack_states
from worldmodels.dynamics.check import check_dynamics
from worldmodels.dynamics.members import group_rows
from worldmodels.nn.decoders import ConvDecoder
from worldmodels.nn.encoders import ConvEncoder
from worldmodels.planning.objectives import Disagreement, Minimum
from worldmodels.types import ActionSpace
from worldmodels.world_model import WorldModel

B, T, E, A = 3, 5, 6, 2
SIZE = {"stoch": 3, "deter": 8, "hidden": 8}
AGENT = [
    "--model.encoder.depth=2", "--model.decoder.depth=2",
    "--model.dynamics=worldmodels.dynamics.EnsembleRSSM", "--model.dynamics.members=3",
    "--model.dynamics.propagation=worldmodels.dynamics.TS1",
    "--model.dynamics.deter=8", "--model.dynamics.hidden=8",
    "--planner=CEM", "--planner.horizon=3", "--planner.candidates=8", "--planner.iterations=2",
    "--planner.elites=3",
]  # fmt: skip
SMALL = partial(EnsembleRSSM, **SIZE)


def ensemble(members=3, **options):
    torch.manual_seed(0)
    return SMALL(E, A, members=members, **options).eval()


def of_members(*models):
    """An ensemble of given plain RSSMs."""
    joined = SMALL(E, A, members=len(models)).eval()
    joined.load_state_dict(models[0].state_dict() | transitions(joined, models))
    return joined


def transitions(joined, models):
    grown = [n for n, p in models[0].named_parameters() if p.shape != joined.get_parameter(n).shape]
    return {n: torch.stack([m.get_parameter(n).detach() for m in models]) for n in grown}


def without_noise(dynamics, monkeypatch):
    width = dynamics.latent.noise((1,), torch.zeros(1)).shape[-1]
    monkeypatch.setattr(dynamics.latent, "noise", lambda shape, like: torch.zeros(*shape, width))
    return dynamics


def single(state):
    """A state as a plain RSSM takes it."""
    return RSSMState(*state[:3])


def random_state(dynamics, rows, member):
    state = dynamics.initial(rows)
    return state._replace(
        deter=torch.randn_like(state.deter), stoch=torch.randn_like(state.stoch), member=member
    )


@pytest.mark.parametrize(
    ("plain", "ensemble_of"),
    [
        (partial(GaussianRSSM, **SIZE), SMALL),
        (
            partial(CategoricalRSSM, stack=2, classes=3, deter=8, hidden=8),
            partial(CategoricalEnsembleRSSM, stack=2, classes=3, deter=8, hidden=8),
        ),
    ],
)
def test_one_member_is_the_plain_rssm(plain, ensemble_of):
    torch.manual_seed(0)
    model = plain(E, A)
    joined = ensemble_of(E, A, members=1)
    joined.load_state_dict(model.state_dict() | transitions(joined, [model]))
    actions = torch.randn(B, T, A)
    torch.manual_seed(1)
    expected = stack_states(list(Dynamics.predict_steps(model, model.initial(B), actions)), 1)
    torch.manual_seed(1)
    found = joined.predict(joined.initial(B), actions)
    for ours, reference in zip(found[:3], expected, strict=True):
        torch.testing.assert_close(ours, reference)


def test_every_row_is_predicted_by_its_member(monkeypatch):
    torch.manual_seed(0)
    models = [without_noise(GaussianRSSM(E, A, **SIZE), monkeypatch) for _ in range(3)]
    joined = without_noise(of_members(*models), monkeypatch)
    state = random_state(joined, 7, torch.tensor([2, 0, 0, 1, 2, 2, 0]))
    action = torch.randn(7, A)
    found = joined.prior(state, action)
    for row, member in enumerate(state.member.tolist()):
        alone = models[member].prior(select_state(single(state), [row]), action[[row]])
        torch.testing.assert_close(found.deter[row], alone.deter[0])
        torch.testing.assert_close(found.params[row], alone.params[0])


def test_rows_meet_their_member_and_come_back_in_order():
    member = torch.tensor([2, 0, 2, 2])
    groups = group_rows(member, 4)
    values = torch.arange(4.0)[:, None]
    assert groups.split(values)[0, 0] == 1
    assert groups.split(values)[2, :, 0].tolist() == [0, 2, 3]
    assert torch.equal(groups.join(groups.split(values)), values)


def test_ts_infinity_keeps_a_particles_member_and_ts1_redraws_it():
    actions = torch.zeros(60, 20, A)
    kept = ensemble(propagation=TSinf)
    start = kept.initial(60)
    assert torch.equal(kept.predict(start, actions).member, start.member[:, None].expand(-1, 20))
    redrawn = ensemble(propagation=TS1)
    members = redrawn.predict(redrawn.initial(60), actions).member
    share = torch.bincount(members.flatten()) / members.numel()
    # 1200 uniform draws of 3: a share strays 0.014 (one deviation) from a third.
    assert (share - 1 / 3).abs().max() < 0.06
    changes = (members[:, 1:] != members[:, :-1]).float().mean()
    assert abs(changes - 2 / 3) < 0.06


def test_members_start_in_turn_and_share_every_plans_particles():
    dynamics = ensemble(particles=6)
    assert dynamics.initial(5).member.tolist() == [0, 1, 2, 0, 1]
    starts = dynamics.plan_starts(dynamics.initial(2), 2)
    assert starts.member.tolist() == [0, 1, 2, 0, 1, 2] * 4


def test_the_first_members_predict_as_before_when_the_others_are_forgotten(monkeypatch):
    whole, fewer = (without_noise(ensemble(), monkeypatch) for _ in range(2))
    fewer.keep_members(2, particles=4)
    assert fewer.plan_starts(fewer.initial(1), 1).member.tolist() == [0, 1, 0, 1]
    state, action = random_state(whole, 4, torch.tensor([0, 1, 1, 0])), torch.randn(4, A)
    for found, expected in zip(fewer.prior(state, action), whole.prior(state, action), strict=True):
        torch.testing.assert_close(found, expected)
    with pytest.raises(ValueError, match="members=3: choose 1 to 2"):
        fewer.keep_members(3)


def test_disagreement_is_the_variance_of_the_members_mean_features():
    torch.manual_seed(0)
    models = [GaussianRSSM(E, A, **SIZE) for _ in range(3)]
    joined = of_members(*models)
    state, action = random_state(joined, B, torch.zeros(B, dtype=torch.int64)), torch.randn(B, A)
    after = [model.prior(single(state), action) for model in models]
    means = torch.stack([torch.cat([one.deter, one.params[:, :3]], -1) for one in after])
    expected = (means - means.mean(0)).square().mean((0, 2))
    torch.testing.assert_close(joined.disagreement(state, action), expected)
    torch.testing.assert_close(of_members(*models[:1]).disagreement(state, action), torch.zeros(B))


def test_training_draws_members_anew_and_every_member_learns():
    dynamics = ensemble().train()
    embed, action = torch.randn(12, 8, E), torch.randn(12, 8, A)
    posterior, prior = dynamics.observe(embed, action, torch.zeros(12, 8, dtype=torch.bool))
    steps = prior.member.unbind(1)
    counts = torch.stack([torch.bincount(step, minlength=3) for step in steps])
    assert (counts == 4).all()
    assert (prior.member[:, 1:] != prior.member[:, :-1]).any()
    dynamics.kl(posterior, prior).sum().backward()
    gradient = dynamics.prior_net.output.weight.grad
    assert (gradient.abs().sum((1, 2)) > 0).all()


def test_a_member_learns_from_its_own_rows_alone():
    dynamics = ensemble()
    state = random_state(dynamics, 4, torch.tensor([1, 1, 0, 1]))
    dynamics.prior(state, torch.randn(4, A)).params[[0, 1, 3]].sum().backward()
    gradient = dynamics.cell.from_input.weight.grad.abs().sum((1, 2))
    assert gradient[1] > 0
    assert gradient[0] == gradient[2] == 0


def test_the_contract_check_accepts_ensembles():
    assert check_dynamics(EnsembleRSSM).state["member"] == ()
    assert check_dynamics(SMALL.func).feature_dim == 230


@pytest.mark.parametrize(
    ("options", "message"),
    [({"members": 0}, "members=0"), ({"particles": 4}, "particles=4: choose a multiple of")],
)
def test_numbers_that_do_not_fit_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        ensemble(**options)


def test_a_single_model_says_that_it_cannot_disagree():
    model = GaussianRSSM(E, A, **SIZE)
    start = model.initial(1)
    with pytest.raises(TypeError, match="EnsembleRSSM"):
        model.disagreement(start, torch.zeros(1, A))


def small_model():
    torch.manual_seed(0)
    model = WorldModel(
        (3, 16, 16),
        ActionSpace(A, False),
        encoder=partial(ConvEncoder, depth=2),
        decoder=partial(ConvDecoder, depth=2),
        dynamics=partial(SMALL, members=3, particles=6),
    ).eval()
    # An untrained reward head answers 0: give it something to say.
    torch.nn.init.normal_(model.reward.net.output.weight)
    return model


def particle_returns(model, state, plans):
    kept = []

    def keep(returns):
        kept.append(returns)
        return returns.mean(-1)

    scores = model.score(state, plans, aggregation=keep)
    return scores, kept[0]


@torch.no_grad()
def test_scores_aggregate_what_each_member_predicts(monkeypatch):
    model = small_model()
    without_noise(model.dynamics, monkeypatch)
    state, plans = random_state(model.dynamics, 2, torch.tensor([0, 1])), torch.randn(2, 4, 3, A)
    scores, returns = particle_returns(model, state, plans)
    for row, plan, particle in [(0, 0, 0), (0, 3, 2), (1, 2, 4)]:
        one = select_state(state, slice(row, row + 1))
        predicted = model.predict(
            one._replace(member=torch.tensor([particle % 3])), plans[row, plan][None]
        )
        reached = [1, predicted.discount[0, 0], predicted.discount[0, 0] * predicted.discount[0, 1]]
        expected = sum(weight * reward for weight, reward in zip(reached, predicted.reward[0]))
        torch.testing.assert_close(returns[row, plan, particle], expected)
    torch.testing.assert_close(model.score(state, plans), scores)
    torch.testing.assert_close(model.score(state, plans, aggregation=Minimum()), returns.amin(-1))
    assert returns.std(-1).min() > 1e-4


@torch.no_grad()
def test_chunked_scores_equal_unchunked_ones_in_any_order(monkeypatch):
    model = small_model()
    without_noise(model.dynamics, monkeypatch)
    state, plans = random_state(model.dynamics, 1, torch.tensor([2])), torch.randn(1, 5, 3, A)
    whole = model.score(state, plans)
    parts = torch.cat([model.score(state, part) for part in plans.split(2, 1)], 1)
    torch.testing.assert_close(whole, parts)
    torch.testing.assert_close(model.score(state, plans.flip(1)), whole.flip(1))
    in_turn = model.dynamics._in_turn
    monkeypatch.setattr(model.dynamics, "_in_turn", lambda count: in_turn(count).flip(0))
    torch.testing.assert_close(model.score(state, plans), whole)


@torch.no_grad()
def test_the_same_seed_gives_the_same_scores():
    model = small_model()
    model.dynamics.propagation = TS1()
    state, plans = model.dynamics.initial(1), torch.randn(1, 5, 3, A)
    scores = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        scores.append(model.score(state, plans))
    assert torch.equal(scores[0], scores[1])
    assert not torch.equal(scores[0], scores[2])


@torch.no_grad()
@pytest.mark.parametrize("propagation", [TSinf(), TS1()])
def test_plans_of_a_start_share_members_and_noise_particle_by_particle(propagation):
    dynamics = ensemble(members=3, particles=6)
    dynamics.propagation = propagation
    starts = dynamics.plan_starts(dynamics.initial(2), 4)
    states = dynamics.predict(starts, torch.ones(2 * 4 * 6, 5, A), plans=4)
    member, stoch = (field.unflatten(0, (2, 4, 6)) for field in (states.member, states.stoch))
    assert torch.equal(member, member[:, :1].expand_as(member))
    torch.testing.assert_close(stoch, stoch[:, :1].expand_as(stoch))
    assert len(stoch[:, 0].flatten(0, 1).flatten(1).unique(dim=0)) == 2 * 6
    kept = isinstance(propagation, TSinf)
    assert bool((member == member[..., :1]).all()) == kept
    assert torch.equal(member[0], member[1]) == kept


@torch.no_grad()
def test_equal_plans_score_alike_and_others_differ():
    model = small_model()
    model.dynamics.propagation = TS1()
    plans = torch.randn(1, 3, 4, A)
    plans[:, 2] = plans[:, 0]
    scores = model.score(model.dynamics.initial(1), plans)[0]
    torch.testing.assert_close(scores[0], scores[2])
    assert scores[0] != scores[1]
    scored = model.score(model.dynamics.initial(1), plans, objective=Disagreement())[0]
    torch.testing.assert_close(scored[0], scored[2])


@torch.no_grad()
def test_disagreement_scores_each_state_with_the_action_taken_in_it(monkeypatch):
    model = small_model()
    without_noise(model.dynamics, monkeypatch)
    model.dynamics.particles = 1
    state, plans = random_state(model.dynamics, 1, torch.tensor([0])), torch.randn(1, 1, 2, A)
    model.continues.net.output.bias.fill_(50.0)
    after = model.dynamics.prior(state, plans[0, :, 0])
    expected = model.dynamics.disagreement(state, plans[0, :, 0])
    expected = expected + 0.99 * model.dynamics.disagreement(after, plans[0, :, 1])
    torch.testing.assert_close(model.score(state, plans, objective=Disagreement())[0], expected)


def test_an_imagined_policy_keeps_its_member_and_gradients_flow():
    model = small_model()
    start = model.dynamics.initial(4)
    policy = torch.nn.Linear(model.dynamics.feature_dim, A)
    followed = model.imagine(start, policy, 3)
    assert torch.equal(followed.states.member, start.member[:, None].expand(-1, 3))
    model.imagine(start, policy, 3).reward.sum().backward()
    assert policy.weight.grad.abs().sum() > 0


def test_an_agent_with_an_ensemble_plans_and_survives_its_folder(tmp_path):
    parser = agent_parser()
    parts = parser.instantiate(parser.parse_args(AGENT))
    agent = build_agent((3, 16, 16), ActionSpace(A, False), **parts).eval()
    save_agent(tmp_path, agent, {})
    again = load(tmp_path)
    assert isinstance(again.world_model.dynamics.propagation, TS1)
    assert again.world_model.dynamics.members == 3
    obs, first = torch.zeros(1, 3, 16, 16, dtype=torch.uint8), torch.ones(1, dtype=torch.bool)
    chosen = [one.act(obs, first, one.initial(1, seed=3))[0] for one in (agent, again)]
    assert torch.equal(*chosen)
    assert chosen[0].abs().max() > 0
