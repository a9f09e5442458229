import pytest
import torch

from worldmodels.nn.pixels import Centered, HalfRange, Standardized, UnitRange
from worldmodels.types import ActionSpace
from worldmodels.world_model import LatentModel

SHAPE = (3, 16, 16)


def test_bytes_survive_the_pixel_scaling():
    obs = torch.randint(0, 256, (5, *SHAPE), dtype=torch.uint8)
    centered, standardized = Centered(SHAPE), Standardized(SHAPE)
    centered.fit(obs)
    standardized.fit(obs)
    for pixels in (centered, standardized, HalfRange(SHAPE), UnitRange(SHAPE)):
        torch.testing.assert_close(pixels.inverse(pixels(obs)), obs)
    assert centered(obs).mean(0).abs().max() < 1e-5


def test_rare_and_frequent_changes_weigh_the_same_once_standardized():
    obs = torch.zeros(100, *SHAPE, dtype=torch.uint8)
    obs[:4, 0, 3, 5] = 200  # a ball: there in 4 frames of 100
    obs[:50, 0, 8, 1] = 200  # a paddle: there in half of them
    obs[0, 0, 9, 9] = 1  # noise of one grey level
    pixels = Standardized(SHAPE, scale=2.0)
    pixels.fit(obs)
    power = pixels(obs).square().mean(0)[0]
    torch.testing.assert_close(power[[3, 8], [5, 1]], torch.tensor([4.0, 4.0]))
    assert power[9, 9] < 0.01
    assert power[0, 0] == 0


@pytest.mark.parametrize("options", [{"scale": 0.0}, {"floor": -1.0}])
def test_standardized_names_a_number_that_does_not_fit(options):
    (name,) = options
    with pytest.raises(ValueError, match=f"{name}="):
        Standardized(SHAPE, **options)


def test_decode_clips_to_bytes():
    pixels = HalfRange(SHAPE)
    image = torch.tensor([-2.0, 2.0, 0.0])[:, None, None, None].expand(3, *SHAPE)
    assert pixels.inverse(image)[:, 0, 0, 0].tolist() == [0, 255, 128]


def test_standardized_refuses_shifts_and_others_do_not():
    space = ActionSpace(1, False)
    with pytest.raises(ValueError, match="pad=2: Standardized scales every place by its own"):
        LatentModel(SHAPE, space, pixels=Standardized, pad=2)
    assert LatentModel(SHAPE, space, pixels=Standardized).pad == 0
    assert LatentModel(SHAPE, space, pixels=HalfRange, pad=2).pad == 2


def test_the_unit_range_is_bytes_over_255():
    obs = torch.tensor([0, 51, 255], dtype=torch.uint8)[:, None, None, None].expand(3, *SHAPE)
    torch.testing.assert_close(UnitRange(SHAPE)(obs)[:, 0, 0, 0], torch.tensor([0.0, 0.2, 1.0]))
