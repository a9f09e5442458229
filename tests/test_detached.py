"""``detached``: gradients pass through a module and stop at its parameters."""

import threading
from functools import partial

import pytest
import torch
from test_world_model import SHAPE, batch
from torch import nn

from worldmodels.behaviours import ActorCritic, DynamicsBackprop
from worldmodels.behaviours.base import detached
from worldmodels.dynamics import TS1, BlockRSSM, CategoricalRSSM, EnsembleRSSM, GaussianRSSM
from worldmodels.nn.decoders import ConvDecoder
from worldmodels.nn.encoders import ConvEncoder
from worldmodels.types import ActionSpace
from worldmodels.world_model import WorldModel

SPACE = ActionSpace(2, False)
SIZE = {"stoch": 4, "deter": 8, "hidden": 8}
DYNAMICS = {
    "gaussian": partial(GaussianRSSM, **SIZE),
    "categorical": partial(CategoricalRSSM, stack=2, classes=3, deter=8, hidden=8),
    "blocks": partial(BlockRSSM, stack=2, classes=3, deter=8, hidden=8, blocks=2),
    "ensemble": partial(EnsembleRSSM, members=2, propagation=TS1, **SIZE),
}


@pytest.fixture(params=DYNAMICS)
def model(request):
    torch.manual_seed(0)
    made = WorldModel(
        SHAPE,
        SPACE,
        encoder=partial(ConvEncoder, depth=2),
        decoder=partial(ConvDecoder, depth=2),
        dynamics=DYNAMICS[request.param],
    )
    nn.init.normal_(made.reward.net.output.weight)
    return made


def returns(model, actions):
    torch.manual_seed(1)
    return model.predict(model.dynamics.initial(3), actions).reward.sum()


def test_gradients_pass_through_and_stop_at_parameters(model):
    actions = torch.randn(3, 4, 2, requires_grad=True)
    returns(model, actions).backward()
    expected = actions.grad.clone()
    assert any(p.grad is not None for p in model.parameters())
    model.zero_grad()
    actions.grad = None
    frozen = detached(model)
    returns(frozen, actions).backward()
    assert torch.equal(actions.grad, expected)
    assert all(p.grad is None for p in model.parameters())
    assert not any(p.requires_grad for p in frozen.parameters())


def test_the_live_module_is_untouched(model):
    before = {name: (id(p), p.requires_grad) for name, p in model.named_parameters()}
    modules = [id(module) for module in model.modules()]
    frozen = detached(model)
    assert {name: (id(p), p.requires_grad) for name, p in model.named_parameters()} == before
    assert [id(module) for module in model.modules()] == modules
    assert type(frozen) is type(model)
    assert not set(modules) & {id(module) for module in frozen.modules()}
    for live, copied in zip(model.parameters(), frozen.parameters(), strict=True):
        assert live.data_ptr() == copied.data_ptr()


def test_the_copy_follows_an_update_of_the_live_parameters(model):
    frozen, actions = detached(model), torch.randn(3, 4, 2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1
        assert torch.equal(returns(frozen, actions), returns(model, actions))


def test_frozen_and_missing_parameters_stay_as_they_are():
    module = nn.Sequential(nn.Linear(2, 3, bias=False), nn.BatchNorm1d(3), nn.Linear(3, 1))
    module[2].requires_grad_(False)
    x = torch.randn(5, 2, requires_grad=True)
    detached(module)(x).sum().backward()
    assert x.grad is not None
    assert all(p.grad is None for p in module.parameters())
    assert module[0].bias is None
    assert [p.requires_grad for p in module[2].parameters()] == [False, False]
    # Buffers are shared, not copied.
    assert module[1].num_batches_tracked == 1


def test_both_gradients_at_once_are_those_of_one_after_the_other(model):
    data = batch(rows=2, steps=4)
    data = data._replace(action=data.action.expand(2, 4, 2).contiguous())
    behaviour = ActorCritic(model.feature_dim, SPACE, DynamicsBackprop, horizon=3, hidden=8)
    losses, posterior = model.loss(data)
    torch.manual_seed(2)
    learned = behaviour.loss(model, data, posterior)
    learned.total.backward()
    losses.total.backward(retain_graph=True)
    parts = [*model.parameters(), *behaviour.parameters()]
    expected = [None if p.grad is None else p.grad.clone() for p in parts]
    for p in parts:
        p.grad = None

    torch.manual_seed(2)
    learned = behaviour.loss(model, data, posterior)
    meanwhile = threading.Thread(target=losses.total.backward)
    meanwhile.start()
    learned.total.backward()
    meanwhile.join()
    for parameter, gradient in zip(parts, expected, strict=True):
        if gradient is None:
            assert parameter.grad is None
        else:
            torch.testing.assert_close(parameter.grad, gradient)


@pytest.mark.parametrize("cls", [nn.GRU, nn.LSTM])
def test_recurrent_layers_of_torch_do_not_learn_either(cls):
    module, x = cls(2, 3), torch.randn(4, 1, 2, requires_grad=True)
    detached(module)(x)[0].sum().backward()
    assert x.grad is not None
    assert all(p.grad is None for p in module.parameters())
