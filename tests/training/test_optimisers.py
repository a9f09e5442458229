"""LaProp against its formulas in numpy, and resuming."""

import io

import numpy as np
import pytest
import torch

from worldmodels.training.optimisers import LaProp


def weights(dtype=torch.float64):
    torch.manual_seed(0)
    return [
        torch.randn(4, 3, dtype=dtype),
        torch.zeros(5, dtype=dtype),
        torch.tensor(2.0).to(dtype),
    ]


def gradients(step, dtype=torch.float64):
    generator = torch.Generator().manual_seed(step)
    scales = (30.0, 1e-6, 0.1)
    return [
        scale * torch.randn(tensor.shape, generator=generator, dtype=dtype)
        for scale, tensor in zip(scales, weights())
    ]


def steps(optimizer, parameters, first, last, skip=()):
    for step in range(first, last):
        for index, (parameter, gradient) in enumerate(
            zip(parameters, gradients(step, parameters[0].dtype), strict=True)
        ):
            parameter.grad = None if (step, index) in skip else gradient
        optimizer.step()


def made(dtype=torch.float64, **options):
    parameters = [torch.nn.Parameter(tensor) for tensor in weights(dtype)]
    return parameters, LaProp(parameters, **options)


@pytest.mark.parametrize("agc", [0.3, None])
def test_laprop_equals_its_formulas(agc):
    parameters, optimizer = made(lr=0.01, agc=agc)
    skip = {(2, 0)}
    steps(optimizer, parameters, 0, 6, skip)
    for index, tensor in enumerate(weights()):
        w = tensor.numpy().copy()
        v, m, t = np.zeros_like(w), np.zeros_like(w), 0
        for step in range(6):
            if (step, index) in skip:
                continue
            g, t = gradients(step)[index].numpy(), t + 1
            if agc is not None:
                limit = 0.3 * max(1e-3, np.sqrt((w**2).sum()))
                g = g * min(1.0, limit / np.sqrt((g**2).sum()))
            v = 0.999 * v + 0.001 * g**2
            scaled = g / (np.sqrt(v / (1 - 0.999**t)) + 1e-20)
            m = 0.9 * m + 0.1 * scaled
            w = w - 0.01 * m / (1 - 0.9**t)
        np.testing.assert_allclose(parameters[index].detach().numpy(), w, rtol=1e-10)


def test_gradients_are_left_as_they_were():
    parameters, optimizer = made()
    steps(optimizer, parameters, 0, 1)
    for parameter, gradient in zip(parameters, gradients(0), strict=True):
        assert torch.equal(parameter.grad, gradient)


def test_a_gradient_of_zero_moves_nothing():
    parameters, optimizer = made(dtype=torch.float32)
    for parameter in parameters:
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    for parameter, before in zip(parameters, weights(torch.float32), strict=True):
        assert torch.equal(parameter, before)


def test_groups_have_their_own_rates():
    first, second = (torch.nn.Parameter(torch.ones(2)) for _ in range(2))
    optimizer = LaProp([{"params": [first], "lr": 0.1}, {"params": [second], "lr": 0.01}])
    for parameter in (first, second):
        parameter.grad = torch.tensor([1e-3, -1e-3])
    optimizer.step()
    # The first step is the sign of the gradient.
    torch.testing.assert_close(first.detach(), torch.tensor([0.9, 1.1]))
    torch.testing.assert_close(second.detach(), torch.tensor([0.99, 1.01]))


def test_a_saved_and_loaded_state_goes_on_bit_for_bit():
    parameters, optimizer = made(dtype=torch.float32, lr=0.01)
    steps(optimizer, parameters, 0, 3)
    file = io.BytesIO()
    torch.save([optimizer.state_dict(), [p.detach() for p in parameters]], file)
    file.seek(0)
    state, saved = torch.load(file, weights_only=True)
    again = [torch.nn.Parameter(tensor) for tensor in saved]
    resumed = LaProp(again)
    resumed.load_state_dict(state)
    assert resumed.param_groups[0]["lr"] == 0.01
    for each, tensors in ((optimizer, parameters), (resumed, again)):
        steps(each, tensors, 3, 6)
    for one, other in zip(parameters, again, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"agc": 0.0}, "LaProp: agc=0.0: choose a number above 0"),
        ({"betas": (0.9, 1.0)}, "LaProp: beta2=1.0: choose at least 0 and below 1"),
        ({"eps": 0.0}, "LaProp: eps=0.0: choose a number above 0"),
    ],
)
def test_numbers_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        made(**options)
