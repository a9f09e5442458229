import torch
from torch.nn import functional as F

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


def test_scaled_frames_are_padded_with_their_edges_and_cropped():
    torch.manual_seed(0)
    image = torch.randn(6, 3, 2, 5, 4, dtype=torch.float64)
    torch.manual_seed(1)
    moved = randomly_shifted(image, 2)
    torch.manual_seed(1)
    moves = torch.randint(-2, 3, (6, 2))
    assert moves.unique(dim=0).shape[0] > 1
    for sequence, (down, right) in enumerate(moves.tolist()):
        padded = F.pad(image[sequence], (2, 2, 2, 2), mode="replicate")
        cropped = padded[..., 2 + down : 7 + down, 2 + right : 6 + right]
        assert torch.equal(moved[sequence], cropped)
