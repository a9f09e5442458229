"""One thread for every test: small tensors gain nothing from more, and busy machines lose."""

import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture
def two_threads():
    """For what two threads do side by side."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)
