import torch

from worldmodels.nn.augment import randomly_shifted


def test_a_shift_moves_a_sequence_alike_and_repeats_its_border():
    torch.manual_seed(0)
    obs = torch.arange(5, dtype=torch.uint8).expand(1, 2, 1, 5, 5).contiguous()
    for _ in range(5):
        moved = randomly_shifted(obs, 2)
        assert torch.equal(moved[:, 0], moved[:, 1])
        first = int(moved[0, 0, 0, 0, 2]) - 2
        assert moved[0, 0, 0, 0].tolist() == [min(max(x + first, 0), 4) for x in range(5)]


def test_no_shift_draws_nothing():
    obs = torch.arange(25, dtype=torch.uint8).reshape(1, 1, 1, 5, 5)
    before = torch.get_rng_state()
    assert randomly_shifted(obs, 0) is obs
    assert torch.equal(torch.get_rng_state(), before)
