"""An update must be capturable as a CUDA graph: no term may look at a number on the host."""

import pytest
import torch
from tiny_model import Model, batch_of, seen
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    FakeTensor,
    FakeTensorMode,
)

from worldmodels.losses import (
    BalancedKL,
    Continues,
    InfoNCE,
    LatentConsistency,
    Reconstruction,
    RedundancyReduction,
    Reward,
)

TERMS = [
    Reconstruction,
    lambda: Reconstruction(fraction=0.5),
    Reward,
    Continues,
    BalancedKL,
    InfoNCE,
    RedundancyReduction,
    LatentConsistency,
]


@pytest.mark.parametrize("make", TERMS)
def test_terms_run_on_tensors_that_have_no_numbers(make):
    model, term = Model(), make()
    # Only the initial weights may be looked at.
    term.setup(model)
    with FakeTensorMode(allow_non_fake_inputs=True):
        batch = batch_of(2, 4)
        parts = term(model, batch, seen(batch))
        sum(part.mean() for part in parts.values()).backward()
        term.update_target()
    assert set(term.weights) <= set(parts)
    assert all(isinstance(part, FakeTensor) for part in parts.values())


def test_such_tensors_notice_a_look():
    with FakeTensorMode(), pytest.raises(DataDependentOutputException):
        torch.ones(1).item()
