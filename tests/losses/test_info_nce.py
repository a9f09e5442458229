import math

import pytest
import torch
from tiny_model import Model, Position, Seen, batch_of, seen

from worldmodels.losses import InfoNCE


def made(temperature=0.5, dim=3):
    torch.manual_seed(0)
    term = InfoNCE(temperature=temperature, dim=dim)
    term.setup(Model())
    return term


def slow_loss(features, embeds, temperature):
    """The definition, feature by feature in float64; how many find their own frame."""
    cosine = torch.nn.functional.cosine_similarity
    losses, found = [], 0
    for n, feature in enumerate(features.double()):
        scores = [cosine(feature, e, dim=0).item() / temperature for e in embeds.double()]
        losses.append(math.log(sum(math.exp(score) for score in scores)) - scores[n])
        found += scores[n] == max(scores)
    return losses, found / len(losses)


def test_loss_by_the_slow_definition():
    term, batch = made(), batch_of(2, 3)
    observed = seen(batch)
    parts = term(Model(), batch, observed)
    losses, found = slow_loss(
        term.of_feature(observed.feature).flatten(0, 1),
        term.of_embed(observed.embed).flatten(0, 1),
        0.5,
    )
    expected = torch.tensor(losses).reshape(2, 3)
    torch.testing.assert_close(parts["contrastive"], expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(parts["information"], math.log(6) - expected, rtol=1e-4, atol=1e-5)
    assert parts["found"].mean().item() == pytest.approx(found)
    assert term.weights == {"contrastive": 1.0}


def test_both_sides_learn_and_metrics_do_not():
    term, batch = made(), batch_of(2, 3)
    observed = seen(batch)
    parts = term(Model(), batch, observed)
    parts["contrastive"].mean().backward()
    assert observed.feature.grad.abs().max() > 0
    assert observed.embed.grad.abs().max() > 0
    for name in ("information", "found", "embed_std"):
        assert not parts[name].requires_grad


def test_collapse_costs_the_logarithm_of_the_batch():
    term, batch = made(temperature=0.1, dim=2), batch_of(4, 8)
    with torch.no_grad():
        for projection in (term.of_feature, term.of_embed):
            projection.weight.copy_(torch.eye(2))
    angle = torch.linspace(0, 2 * math.pi, 33)[:-1].reshape(4, 8)
    told = torch.stack([angle.cos(), angle.sin()], -1)

    def measured(feature, embed):
        observed = Seen(embed, Position(feature), Position(feature), feature)
        parts = term(Model(), batch, observed)
        return [parts[name].mean().item() for name in ("contrastive", "found", "embed_std")]

    loss, found, spread = measured(told, told)
    assert loss < math.log(32) - 1
    assert found == 1.0
    assert spread > 0.9
    deaf, found, _ = measured(torch.ones_like(told), told)
    assert deaf > math.log(32)
    assert found == pytest.approx(1 / 32)
    blind, _, spread = measured(told, torch.ones_like(told))
    assert blind == pytest.approx(math.log(32), rel=1e-5)
    assert spread == pytest.approx(0.0, abs=1e-6)


def test_logits_stay_in_float32_under_autocast():
    term, batch = made(), batch_of(2, 3)
    observed = seen(batch)
    expected = term(Model(), batch, observed)["contrastive"]
    with torch.autocast("cpu", torch.bfloat16):
        parts = term(Model(), batch, observed)
    assert all(part.dtype == torch.float32 for part in parts.values())
    torch.testing.assert_close(parts["contrastive"], expected)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"temperature": 0.0}, "InfoNCE: temperature=0.0: choose a number above 0"),
        ({"dim": 0}, "InfoNCE: dim=0: choose 1 or more"),
    ],
)
def test_numbers_out_of_range_are_refused(options, told):
    with pytest.raises(ValueError, match=told):
        InfoNCE(**options)
