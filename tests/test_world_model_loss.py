"""The world model's loss as a tuple of terms, and a model that has no decoder."""

import copy
from functools import partial

import pytest
import torch
from test_world_model import SHAPE, Position, Walk, batch, double, tiny, walker
from torch import nn

from worldmodels.behaviours import ActorCritic, DynamicsBackprop
from worldmodels.losses import (
    BalancedKL,
    Continues,
    InfoNCE,
    LatentConsistency,
    LossTerm,
    Reconstruction,
    RedundancyReduction,
    Reward,
)
from worldmodels.nn.augment import randomly_shifted
from worldmodels.nn.encoders import ConvEncoder
from worldmodels.planning import CEM, MPC
from worldmodels.types import ActionSpace
from worldmodels.world_model import LatentModel, WorldModel

SPACE = ActionSpace(1, False)


class Priced(Walk):
    """Two rows of two steps, whose KLs are parameters: those after the frame less those before."""

    def __init__(self, embed_dim, action_dim):
        super().__init__(embed_dim, action_dim)
        self.after = nn.Parameter(double([[[0.5], [3.0]], [[1.5], [0.6]]]))
        self.before = nn.Parameter(double([[[0.1], [0.5]], [[0.3], [0.2]]]))

    def observe(self, embed, action, is_first, state=None):
        return Position(self.after), Position(self.before)

    def kl(self, posterior, prior):
        return (posterior.x - prior.x)[..., 0]


class Said(LossTerm):
    """One loss, 1 and 3 in two steps, and one metric; counts its targets' updates."""

    def __init__(self, weight=1.0):
        super().__init__()
        self.weights, self.updates = {"said": weight}, 0

    def setup(self, model):
        self.own = nn.Linear(model.feature_dim, 1)

    def forward(self, model, batch, observed):
        return {"said": torch.tensor([[1.0, 3.0]]), "heard": torch.tensor([[5.0, 6.0]])}

    def update_target(self):
        self.updates += 1


def parts_of(model):
    return [type(term) for term in model.terms]


def test_the_loss_is_the_weighted_sum_of_its_terms():
    model = tiny(
        terms=(Reconstruction(0.5), Reward(3.0), Continues(0.0), BalancedKL(0.7, 0.2, 0.0))
    )
    losses, _ = model.loss(batch())
    weights = {"image": 0.5, "reward": 3, "continue": 0, "dynamics": 0.7, "representation": 0.2}
    parts = {name: losses.metrics[f"loss/{name}"] for name in weights}
    expected = sum(weights[name] * parts[name] for name in parts)
    torch.testing.assert_close(losses.total.detach(), expected)
    torch.testing.assert_close(parts["dynamics"], parts["representation"])


def test_names_without_a_weight_are_metrics_and_do_not_count():
    losses, _ = tiny(terms=(Said(weight=10.0),)).loss(batch(rows=1, steps=2))
    assert {name: value.item() for name, value in losses.metrics.items()} == {
        "loss/said": 2.0,
        "heard": 5.5,
    }
    assert losses.total.item() == 20.0
    metrics = tiny().loss(batch())[0].metrics
    assert metrics.keys() == {
        "loss/image", "image_fvu", "loss/reward", "loss/continue", "loss/dynamics",
        "loss/representation", "kl",
    }  # fmt: skip
    assert not any(value.requires_grad for value in metrics.values())


def test_the_default_terms_with_and_without_a_decoder():
    assert parts_of(tiny()) == [Reconstruction, Reward, Continues, BalancedKL]
    blind = WorldModel(SHAPE, ActionSpace(1, False), decoder=None)
    assert parts_of(blind) == [RedundancyReduction, Reward, Continues, BalancedKL]


def test_a_term_sets_itself_up_learns_with_the_model_and_follows_its_updates():
    model = tiny(terms=(Said(),))
    assert model.terms[0].own.in_features == model.feature_dim
    assert any(name.startswith("terms.0.own") for name, _ in model.named_parameters())
    model.update_target()
    model.update_target()
    assert model.terms[0].updates == 2


def test_models_from_one_partial_share_no_term():
    make = partial(
        WorldModel, SHAPE, ActionSpace(1, False), decoder=None, terms=(RedundancyReduction(),)
    )
    first, second = make(), make()
    assert first.terms[0] is not second.terms[0]
    assert first.terms[0].projection is not second.terms[0].projection


def test_a_reconstruction_without_a_decoder_is_refused():
    with pytest.raises(ValueError, match="needs a decoder, but decoder=None: give one, or take"):
        WorldModel(SHAPE, ActionSpace(1, False), decoder=None, terms=(Reconstruction(),))


def test_free_nats_stop_the_gradient_of_a_small_kl():
    losses, _ = tiny(terms=(BalancedKL(free_nats=1e6),)).loss(batch())
    assert not losses.total.requires_grad or losses.total.grad_fn is not None
    model = tiny(terms=(BalancedKL(free_nats=1e6),))
    model.loss(batch())[0].total.backward()
    gradients = [p.grad for p in model.dynamics.parameters() if p.grad is not None]
    assert gradients
    assert all(gradient.abs().max() == 0 for gradient in gradients)


def test_free_nats_and_balance_by_hand():
    model = walker(Priced, terms=(BalancedKL(0.8, 0.2, 1.0),))
    losses = model.loss(batch(rows=2, steps=2))[0]
    losses.total.backward()
    # KLs of 0.4 and 2.5, and of 1.2 and 0.4: each step alone counts 1 nat or more.
    counted = (1 + 2.5 + 1.2 + 1) / 4
    assert losses.metrics["loss/dynamics"].item() == pytest.approx(counted, rel=1e-12)
    assert losses.metrics["loss/representation"].item() == pytest.approx(counted, rel=1e-12)
    assert losses.metrics["kl"].item() == pytest.approx(4.5 / 4, rel=1e-12)
    assert losses.total.item() == pytest.approx((0.8 + 0.2) * counted, rel=1e-12)
    # Only where it costs does a KL teach, the prior by one weight and the posterior by the other.
    costs = double([[0, 1], [1, 0]]) / 4
    prior, posterior = model.dynamics.before.grad[..., 0], model.dynamics.after.grad[..., 0]
    torch.testing.assert_close(prior, -0.8 * costs, rtol=1e-12, atol=0)
    torch.testing.assert_close(posterior, 0.2 * costs, rtol=1e-12, atol=0)


def test_balance_trains_prior_and_posterior_apart():
    model = tiny(terms=(BalancedKL(representation=0.0, free_nats=0.0),))
    losses, _ = model.loss(batch())
    losses.total.backward()
    assert model.dynamics.prior_net.output.weight.grad.abs().max() > 0
    assert model.dynamics.posterior_out.weight.grad is not None
    # Only through the memory's path may the posterior move: its last step has no successor.
    one = model.loss(batch(steps=1))[0]
    model.zero_grad()
    one.total.backward()
    grad = model.dynamics.posterior_out.weight.grad
    assert grad is None or grad.abs().max() == 0


def test_decoding_a_share_of_the_steps_is_unbiased():
    torch.manual_seed(0)
    model, data = tiny(), batch(rows=2, steps=8)
    with torch.no_grad():
        observed = model.observe(data.obs, data.action, data.is_first)
        observed = observed._replace(feature=torch.randn(2, 8, model.feature_dim))
        full = Reconstruction()(model, data, observed)["image"].mean()
        share = Reconstruction(fraction=0.25)
        parts = torch.stack([share(model, data, observed)["image"].mean() for _ in range(300)])
    assert abs(parts.mean() - full) < 4 * parts.std() / 300**0.5


class Recorder(ConvEncoder):
    """Keeps the frames that it reads."""

    def __init__(self, obs_shape):
        super().__init__(obs_shape, depth=4)
        self.read = []

    def forward(self, image):
        self.read.append(image.detach().clone())
        return super().forward(image)


def noisy(rows=6, steps=3, same=False):
    torch.manual_seed(0)
    data = batch(rows, steps)
    frames = torch.randint(256, data.obs.shape, dtype=torch.uint8)
    return data._replace(obs=frames[:1, :1].expand_as(frames).clone() if same else frames)


@pytest.mark.parametrize("make", [LatentModel, WorldModel])
def test_a_still_scene_reads_as_zeros_however_it_is_shifted(make):
    data = noisy(rows=8, same=True)
    model = make(SHAPE, SPACE, Recorder, pad=3)
    model.pixels.fit(data.obs[:, 0])
    model.loss(data)
    assert not model.encoder.read[-1].any()


def test_the_encoder_reads_one_shift_per_sequence_and_the_decoder_draws_none():
    data, drawn = noisy(), []
    model = WorldModel(SHAPE, SPACE, Recorder, pad=2, terms=(Reconstruction(),))
    squared_error = model.decoder.squared_error
    model.decoder.squared_error = lambda feature, target: (
        drawn.append(target) or squared_error(feature, target)
    )
    torch.manual_seed(0)
    model.loss(data)
    torch.manual_seed(0)
    scaled = model.pixels(data.obs)
    assert torch.equal(model.encoder.read[0], randomly_shifted(scaled, 2))
    assert torch.equal(drawn[0], scaled)
    # The same frame everywhere: moved alike within a sequence, differently between them.
    model.loss(noisy(same=True))
    read = model.encoder.read[1]
    assert torch.equal(read, read[:, :1].expand_as(read))
    assert not torch.equal(read, read[:1].expand_as(read))


def test_frames_are_shifted_in_training_alone():
    data, model = noisy(), WorldModel(SHAPE, SPACE, Recorder, pad=2)
    state = model.dynamics.initial(6)
    model.observe(data.obs, data.action, data.is_first)
    model.filter(data.obs[:, 0], data.action[:, 0], data.is_first[:, 0], state)
    model.encode(data.obs)
    scaled = model.pixels(data.obs)
    for read, expected in zip(model.encoder.read, (scaled, scaled[:, 0], scaled), strict=True):
        assert torch.equal(read, expected)


def test_rows_that_warm_up_a_state_are_not_in_the_loss():
    data = batch(rows=3, steps=4)
    data.is_first[:] = torch.tensor([[1, 0, 0, 0], [0, 0, 0, 0], [0, 1, 0, 0]], dtype=torch.bool)
    assert data.counted(0).all()
    assert data.counted(2).int().tolist() == [[1, 1, 1, 1], [0, 0, 1, 1], [0, 1, 1, 1]]
    part = torch.randn(3, 4, dtype=torch.float64)

    class Given(Said):
        def forward(self, model, batch, observed):
            return {"said": part}

    total = tiny(terms=(Given(weight=2.0),), burn_in=2).loss(data)[0].total
    counted = [*part[0], *part[1, 2:], *part[2, 1:]]
    assert total.item() == pytest.approx(2 * sum(counted).item() / 9, rel=1e-6)


def test_a_burn_in_changes_what_each_default_term_counts():
    data = batch(rows=2, steps=4)
    data.is_first[:] = False
    model, whole = tiny(burn_in=3, terms=(Reward(),)), tiny(terms=(Reward(),))
    whole.load_state_dict(model.state_dict())
    torch.manual_seed(0)
    # Untrained, the reward head answers 0.
    assert model.loss(data)[0].total.item() == pytest.approx(
        0.5 * data.reward[:, 3].square().mean().item(), rel=1e-6
    )
    assert whole.loss(data)[0].total.item() == pytest.approx(
        0.5 * data.reward.square().mean().item(), rel=1e-6
    )


def test_a_sequence_that_only_warms_up_costs_nothing():
    data = batch(rows=2, steps=2)
    data.is_first[:] = False
    assert tiny(burn_in=2).loss(data)[0].total.item() == 0


def test_a_latent_model_has_no_loss_and_its_states_teach_the_encoder():
    model, data = LatentModel(SHAPE, ActionSpace(1, False)), batch(rows=2, steps=3)
    losses, posterior = model.loss(data)
    assert (losses.total.item(), losses.metrics) == (0.0, {})
    model.feature(posterior).sum().backward()
    assert any(p.grad is not None and p.grad.abs().max() > 0 for p in model.encoder.parameters())
    assert model.feature_dim == model.dynamics.feature_dim
    assert not hasattr(model, "decode")
    assert not hasattr(model, "score")


@pytest.fixture(params=[None, (InfoNCE(),), (LatentConsistency(),)], ids=["default", "nce", "lc"])
def blind(request):
    torch.manual_seed(0)
    terms = request.param and (*request.param, Reward(), Continues(), BalancedKL())
    return tiny(decoder=None, terms=terms)


def test_a_model_without_a_decoder_learns_predicts_scores_and_plans(blind):
    data = batch(rows=4, steps=6)
    losses, posterior = blind.loss(data)
    losses.total.backward()
    assert torch.isfinite(losses.total)
    assert "loss/image" not in losses.metrics
    blind.update_target()
    with torch.no_grad():
        start = type(posterior)(*(field[:, -1].detach() for field in posterior))
        trajectory = blind.predict(start, torch.zeros(4, 3, 1))
        assert trajectory.feature.shape == (4, 4, blind.feature_dim)
        assert blind.score(start, torch.zeros(4, 2, 3, 1)).shape == (4, 2)
        mpc = MPC(CEM(ActionSpace(1, False), horizon=3, candidates=8, iterations=2, elites=3))
        action, _ = mpc.act(blind, start, mpc.initial(4), torch.ones(4, dtype=torch.bool))
    assert action.shape == (4, 1)


@pytest.mark.parametrize("gradient", [None, DynamicsBackprop])
def test_a_policy_learns_in_a_model_without_a_decoder(blind, gradient):
    options = {} if gradient is None else {"gradient": gradient}
    behaviour = ActorCritic(blind.feature_dim, blind.action_space, horizon=3, hidden=8, **options)
    data = batch(rows=2, steps=4)
    _, posterior = blind.loss(data)
    behaviour.loss(blind, data, posterior).total.backward()
    assert all(p.grad is not None for p in behaviour.actor.parameters())
    assert all(p.grad is None for p in blind.parameters())


def test_decoding_without_a_decoder_says_what_to_do(blind):
    with pytest.raises(ValueError, match="no decoder: train one on its latents with") as error:
        blind.decode(torch.zeros(1, blind.feature_dim))
    assert "--only decoder" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_copied_model_learns_from_its_own_encoder():
    model = tiny(decoder=None, terms=(LatentConsistency(tau=1.0),))
    twin = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in twin.encoder.parameters():
            parameter += 1
    twin.update_target()
    ours, theirs = (dict(one.terms[0].slow_encoder.named_parameters()) for one in (twin, model))
    for name, parameter in twin.encoder.named_parameters():
        assert torch.equal(ours[name], parameter)
        assert not torch.equal(theirs[name], parameter)
