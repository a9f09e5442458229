"""Reconstruction, the two heads and the balanced KL: the terms of a model with a decoder."""

import pytest
import torch
from tiny_model import Model, Position, Seen, batch_of, seen

from worldmodels.losses import BalancedKL, Continues, Reconstruction, Reward
from worldmodels.types import describe


def frame_errors(batch, observed):
    """Squared error of every frame, pixel by pixel."""
    rows, steps = batch.reward.shape
    errors = torch.zeros(rows, steps, dtype=torch.float64)
    for b in range(rows):
        for t in range(steps):
            for byte in batch.obs[b, t].flatten().tolist():
                errors[b, t] += (observed.feature[b, t, 0].item() - byte) ** 2
    return errors


def test_reconstruction_of_all_frames_and_its_fvu():
    batch = batch_of(2, 3)
    observed = seen(batch)
    parts = Reconstruction()(Model(), batch, observed)
    errors = frame_errors(batch, observed)
    power = batch.obs.double().square().sum() / 6
    torch.testing.assert_close(parts["image"].double(), errors)
    torch.testing.assert_close(parts["image_fvu"].double().mean(), errors.mean() / power)
    assert not parts["image_fvu"].requires_grad


def test_reconstruction_of_a_share_decodes_the_same_random_steps_of_all_rows():
    batch = batch_of(2, 8)
    observed = seen(batch)
    errors = frame_errors(batch, observed)
    torch.manual_seed(7)
    chosen = torch.randperm(8)[:2]
    torch.manual_seed(7)
    parts = Reconstruction(fraction=0.25)(Model(), batch, observed)
    # The two steps that are drawn stand for all eight.
    expected = torch.zeros_like(errors)
    expected[:, chosen] = 4 * errors[:, chosen]
    torch.testing.assert_close(parts["image"].double(), expected)
    power = batch.obs[:, chosen].double().square().sum() / 4
    fvu = errors[:, chosen].mean() / power
    torch.testing.assert_close(parts["image_fvu"].double().mean(), fvu)


def test_a_tiny_share_still_decodes_one_step():
    batch = batch_of(2, 8)
    image = Reconstruction(fraction=0.01)(Model(), batch, seen(batch))["image"]
    assert (image != 0).any(0).sum() == 1


def test_a_share_is_an_unbiased_estimate():
    batch = batch_of(2, 4)
    observed = seen(batch)
    term = Reconstruction(fraction=0.5)
    torch.manual_seed(0)
    mean = torch.stack([term(Model(), batch, observed)["image"].mean() for _ in range(400)]).mean()
    whole = Reconstruction()(Model(), batch, observed)["image"].mean()
    torch.testing.assert_close(mean, whole, rtol=0.03, atol=0.0)


def test_reconstruction_needs_a_decoder():
    with pytest.raises(ValueError, match="Reconstruction needs a decoder, but decoder=None"):
        Reconstruction().setup(Model(decoder=False))


def test_reward_and_continue_ask_the_heads():
    batch = batch_of(2, 3)
    observed = seen(batch)
    read = observed.feature[..., 0]
    reward = Reward(weight=100.0)
    torch.testing.assert_close(
        reward(Model(), batch, observed)["reward"], 0.5 * (read - batch.reward) ** 2
    )
    goes_on = 1 - batch.is_terminal.float()
    torch.testing.assert_close(
        Continues()(Model(), batch, observed)["continue"], 0.5 * (read - goes_on) ** 2
    )
    assert reward.weights == {"reward": 100.0}


def steps_with_kl(*nats):
    """One row whose KLs are the given numbers: the posterior's position less the prior's, 0.1."""
    posterior = torch.tensor([[[n + 0.1] for n in nats]], requires_grad=True)
    prior = torch.full_like(posterior, 0.1).detach().requires_grad_()
    return Seen(posterior, Position(posterior), Position(prior), posterior)


def test_free_nats_count_per_step_and_the_metric_knows_none():
    batch = batch_of(1, 3)
    observed = steps_with_kl(0.25, 1.5, 4.0)
    parts = BalancedKL(free_nats=1.0)(Model(), batch, observed)
    torch.testing.assert_close(parts["dynamics"], torch.tensor([[1.0, 1.5, 4.0]]))
    torch.testing.assert_close(parts["representation"], torch.tensor([[1.0, 1.5, 4.0]]))
    torch.testing.assert_close(parts["kl"], torch.tensor([[0.25, 1.5, 4.0]]))
    assert "kl" not in BalancedKL().weights
    assert not parts["kl"].requires_grad


def test_each_side_of_the_kl_trains_one_side_only():
    batch = batch_of(1, 3)
    observed = steps_with_kl(0.25, 1.5, 4.0)
    BalancedKL()(Model(), batch, observed)["dynamics"].sum().backward()
    assert observed.posterior.x.grad is None
    # The KL falls as the prior rises; under the free nats nothing moves.
    assert observed.prior.x.grad.flatten().tolist() == [0.0, -1.0, -1.0]

    observed = steps_with_kl(0.25, 1.5, 4.0)
    BalancedKL()(Model(), batch, observed)["representation"].sum().backward()
    assert observed.prior.x.grad is None
    assert observed.posterior.x.grad.flatten().tolist() == [0.0, 1.0, 1.0]


def test_default_weights_are_those_of_dreamer():
    assert BalancedKL().weights == {"dynamics": 0.8, "representation": 0.2}
    assert Reconstruction().weights == {"image": 1.0}


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: Reconstruction(fraction=0.0), "fraction=0.0: choose a share above 0"),
        (lambda: Reconstruction(fraction=1.5), "fraction=1.5: choose a share above 0"),
        (lambda: Reward(weight=-1.0), "Reward: weight=-1.0: choose 0 or more"),
        (lambda: Continues(weight=-1.0), "Continues: weight=-1.0: choose 0 or more"),
        (lambda: BalancedKL(free_nats=-1.0), "BalancedKL: free_nats=-1.0: choose 0 or more"),
    ],
)
def test_numbers_out_of_range_are_refused(make, told):
    with pytest.raises(ValueError, match=told):
        make()


def test_a_term_describes_itself():
    assert describe(Reconstruction(0.25, fraction=0.5)) == {
        "class_path": "worldmodels.losses.reconstruction.Reconstruction",
        "init_args": {"weight": 0.25, "fraction": 0.5},
    }
