import numpy as np
import pytest
from gymnasium import spaces

from worldmodels.envs.images import ImageShaper, find_image

RNG = np.random.default_rng(0)


def noise(*shape):
    return RNG.integers(0, 256, shape, dtype=np.uint8)


def area_means(image, height, width):
    """Every output pixel is the mean of the pixels whose centres lie in the area it covers."""

    def inside(size, parts, index):
        centre, part = np.arange(size) + 0.5, size / parts
        return (index * part < centre) & (centre <= (index + 1) * part)

    rows, columns, _ = image.shape
    return np.array(
        [
            [
                image[inside(rows, height, i)][:, inside(columns, width, j)].mean((0, 1))
                for j in range(width)
            ]
            for i in range(height)
        ]
    ).transpose(2, 0, 1)


@pytest.mark.parametrize("raw", [(32, 64), (40, 50), (33, 97)])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_frame_shrinks_to_the_means_of_areas(raw, channels):
    image = noise(*raw, channels)
    shrunk = ImageShaper((channels, 16, 24), "x")(image)
    # Pillow rounds after each of two passes.
    assert np.abs(shrunk - area_means(image, 16, 24)).max() <= 1.01


def test_whole_factors_average_their_squares():
    image = noise(32, 64, 3)
    squares = image.reshape(16, 2, 16, 4, 3).mean((1, 3)).transpose(2, 0, 1)
    assert np.abs(ImageShaper((3, 16, 16), "x")(image) - squares).max() <= 0.5


def test_a_frame_that_fits_keeps_every_byte_and_all_layouts_agree():
    image = noise(16, 20, 3)
    shaper = ImageShaper((3, 16, 20), "x")
    wanted = image.transpose(2, 0, 1)
    np.testing.assert_array_equal(shaper(image), wanted)
    np.testing.assert_array_equal(ImageShaper((3, 16, 20), "x")(wanted), wanted)
    np.testing.assert_array_equal(shaper.batch(np.stack([image, image])), np.stack([wanted] * 2))
    assert shaper(image).flags.c_contiguous
    assert not np.shares_memory(shaper(image), image)
    assert not np.shares_memory(shaper.batch(image[None]), image)


def test_batches_go_the_way_of_single_frames():
    frames = noise(3, 40, 50, 3)
    shaper = ImageShaper((1, 16, 24), "x")
    np.testing.assert_array_equal(shaper.batch(frames), [shaper(frame) for frame in frames])


def test_grey_is_the_luma_and_colour_of_grey_is_three_equal_layers():
    image = np.zeros((16, 16, 3), np.uint8)
    image[0, 0], image[0, 1], image[0, 2], image[0, 3] = [255, 0, 0], [0, 255, 0], [0, 0, 255], 255
    grey = ImageShaper((1, 16, 16), "x")(image)
    assert grey[0, 0, :5].tolist() == [76, 150, 29, 255, 0]
    flat = noise(16, 16)
    np.testing.assert_array_equal(ImageShaper((3, 16, 16), "x")(flat), np.stack([flat] * 3))


def test_unit_floats_become_bytes_and_other_floats_are_refused():
    shaper = ImageShaper((1, 16, 16), "x")
    image = np.full((16, 16, 1), 0.5, np.float32)
    image[0, 0] = 1
    assert shaper(image)[0, 0, :2].tolist() == [255, 128]
    with pytest.raises(ValueError, match=r"^x gave a float32 frame from 0\.5 to 255: .*uint8$"):
        shaper(np.where(image == 1, 255, image).astype(np.float32))
    with pytest.raises(ValueError, match="nan"):
        shaper(np.full((16, 16, 1), np.nan, np.float32))


@pytest.mark.parametrize("shape", [(4, 84, 84), (84, 84, 4), (16,), (2, 16, 16, 3), (8, 8, 3)])
def test_stacks_and_vectors_are_no_image(shape):
    with pytest.raises(ValueError, match="no stack of frames"):
        ImageShaper((3, 16, 16), "x")(np.zeros(shape, np.uint8))
    assert find_image(spaces.Box(0, 255, shape, np.uint8), None, "x").rendered


def test_whole_numbers_wider_than_a_byte_are_refused():
    with pytest.raises(ValueError, match="frame of int64: use uint8"):
        ImageShaper((3, 16, 16), "x")(np.zeros((16, 16, 3), np.int64))


@pytest.mark.parametrize("shape", [(16, 20), (16, 20, 1), (16, 20, 3), (3, 16, 20), (1, 16, 20)])
def test_a_box_of_bytes_is_the_image(shape):
    assert find_image(spaces.Box(0, 255, shape, np.uint8), None, "x") == (False, None)


def test_a_dict_shows_its_one_image_or_the_one_named():
    picture, symbols = spaces.Box(0, 255, (16, 16, 3), np.uint8), spaces.Box(0, 9, (7, 7, 3), "u1")
    one = spaces.Dict({"map": symbols, "eye": picture})
    two = spaces.Dict({"left": picture, "right": picture})
    assert find_image(one, None, "x") == (False, "eye")
    assert find_image(two, "right", "x") == (False, "right")
    assert find_image(spaces.Dict({"map": symbols}), None, "x") == (True, None)
    with pytest.raises(ValueError, match=r"several images \['left', 'right'\]: .*obs_key"):
        find_image(two, None, "x")
    with pytest.raises(ValueError, match=r"obs_key='map' is no image of x: .*\['eye'\]"):
        find_image(one, "map", "x")
    with pytest.raises(ValueError, match="x observes a Box, no Dict"):
        find_image(picture, "eye", "x")
