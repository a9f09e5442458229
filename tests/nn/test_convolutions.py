import pytest
import torch
from torch import nn
from torch.nn import functional as F

from worldmodels.nn.blocks import initialise
from worldmodels.nn.decoders import BlockDecoder, ConvDecoder
from worldmodels.nn.encoders import ChannelNorm, ConvEncoder, PoolEncoder
from worldmodels.nn.pixels import UnitRange

SHAPES = [(3, 16, 16), (3, 48, 80), (3, 96, 96), (3, 65, 33), (1, 64, 64), (1, 17, 130)]


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def painter(*arguments, **options):
    """A decoder whose last layer has learned something."""
    decoder = ConvDecoder(*arguments, **options)
    initialise(decoder.stages[-1])
    return decoder


@pytest.mark.parametrize(
    ("obs_shape", "stages", "embed_dim"),
    [
        ((3, 16, 16), 2, 8 * 4 * 4),
        ((3, 48, 80), 3, 16 * 6 * 10),
        ((3, 96, 96), 4, 32 * 6 * 6),
        ((3, 65, 33), 3, 16 * 8 * 4),
        ((1, 64, 64), 4, 32 * 4 * 4),
        ((1, 17, 130), 2, 8 * 4 * 32),
    ],
)
def test_geometry_is_inferred_from_the_smaller_side(obs_shape, stages, embed_dim):
    encoder = ConvEncoder(obs_shape, depth=4)
    assert len(encoder.stages) == stages
    assert encoder.embed_dim == embed_dim
    assert encoder(torch.rand(2, *obs_shape)).shape == (2, embed_dim)
    assert ConvDecoder(5, obs_shape, depth=4)(torch.rand(2, 5)).shape == (2, *obs_shape)


@pytest.mark.parametrize("obs_shape", SHAPES)
def test_every_pixel_reaches_the_embedding(obs_shape):
    image = torch.rand(obs_shape, requires_grad=True)
    embed = ConvEncoder(obs_shape, depth=4)(image)
    (gradient,) = torch.autograd.grad(embed.square().sum(), image)
    assert (gradient != 0).all()


@pytest.mark.parametrize("obs_shape", SHAPES)
def test_every_pixel_is_painted_by_the_feature(obs_shape):
    decoder = painter(5, obs_shape, depth=4)
    first, second = decoder(torch.randn(2, 5))
    assert (first != second).all()


def test_an_untrained_decoder_shows_the_mean_image_and_learns_from_the_first_step():
    decoder = ConvDecoder(5, (3, 16, 16), depth=4)
    feature = torch.randn(2, 5)
    assert (decoder(feature) == 0).all()
    (decoder(feature) - 1).square().sum().backward()
    assert (decoder.stages[-1].weight.grad != 0).all()


def test_encoder_equals_plain_convolutions_in_double_precision():
    encoder = ConvEncoder((3, 20, 16), depth=4).double()
    images = torch.rand(2, 3, 20, 16, dtype=torch.float64)
    expected = images
    for conv, norm, _ in encoder.stages:
        expected = F.conv2d(expected, conv.weight, conv.bias, stride=2, padding=1)
        mean, variance = expected.mean(1, keepdim=True), expected.var(1, False, keepdim=True)
        expected = (expected - mean) / (variance + norm.eps).sqrt()
        expected = expected * torch.sigmoid(expected)
    torch.testing.assert_close(encoder(images), expected.permute(0, 2, 3, 1).flatten(1))


def test_channel_norm_reads_one_pixel_at_a_time():
    norm = ChannelNorm(2)
    image = torch.tensor([[[[1.0, 10.0]], [[3.0, 10.0]]]])
    torch.testing.assert_close(
        norm(image), torch.tensor([[[[-1.0, 0.0]], [[1.0, 0.0]]]]), atol=1e-5, rtol=0
    )


@pytest.mark.parametrize("size", [(32, 48), (33, 35)])
def test_downscale_reads_area_averages(size):
    image = torch.rand(1, *size)
    encoder = ConvEncoder((1, *size), depth=4, downscale=2)
    small = torch.tensor(
        [
            [image[0, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].mean() for j in range(-(-size[1] // 2))]
            for i in range(-(-size[0] // 2))
        ]
    )[None]
    plain = ConvEncoder((1, *small.shape[1:]), depth=4)
    plain.load_state_dict(encoder.state_dict())
    torch.testing.assert_close(encoder(image), plain(small))


@pytest.mark.parametrize("size", [(32, 48), (33, 35)])
@pytest.mark.parametrize("side", [2, 4])
def test_upscale_paints_the_pixels_of_every_square(size, side):
    decoder = painter(5, (2, *size), depth=4, upscale=side)
    painted = []
    decoder.stages.register_forward_hook(lambda *call: painted.append(call[-1]))
    image, small = decoder(torch.randn(5)), painted[0][0]
    for channel in range(2):
        for i in range(size[0]):
            for j in range(0, size[1], 7):
                inside = channel * side**2 + i % side * side + j % side
                assert image[channel, i, j] == small[inside, i // side, j // side]


@pytest.mark.parametrize("side", [1, 2])
def test_fine_lines_that_a_mean_image_leaves_are_taken_away(side):
    """One pixel wide, so that squares of one colour explain half of them at best."""
    frames = torch.zeros(2, 1, 16, 16)
    frames[0, ..., ::4], frames[1, ..., ::4] = 1.0, -1.0
    decoder, feature = ConvDecoder(2, (1, 16, 16), depth=8, upscale=side), torch.eye(2)
    optimiser = torch.optim.Adam(decoder.parameters(), 1e-2)
    for _ in range(100):
        loss = decoder.squared_error(feature, frames).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    # The lines' power is 64.
    assert loss.item() < 0.05 * 64


@pytest.mark.parametrize("module", [ConvEncoder((3, 16, 16)), painter(6, (3, 16, 16))])
def test_leading_axes_are_carried_through_and_rows_stay_apart(module):
    shape = (3, 16, 16) if isinstance(module, ConvEncoder) else (6,)
    x = torch.rand(2, 3, *shape)
    together = module(x)
    alone = torch.stack([torch.stack([module(row) for row in rows]) for rows in x])
    torch.testing.assert_close(together, alone)


def test_memory_format_does_not_change_the_embedding():
    encoder = ConvEncoder((3, 16, 16))
    images = torch.rand(4, 3, 16, 16)
    last = images.contiguous(memory_format=torch.channels_last)
    assert torch.equal(encoder(images), encoder(last))
    assert encoder.stages(last).is_contiguous(memory_format=torch.channels_last)


def test_autoencoder_memorises_two_images():
    images = torch.rand(2, 1, 16, 16) - 0.5
    encoder = ConvEncoder((1, 16, 16), depth=8)
    network = nn.Sequential(encoder, ConvDecoder(encoder.embed_dim, (1, 16, 16), depth=8))
    optimiser = torch.optim.Adam(network.parameters(), 3e-3)
    for _ in range(150):
        loss = (network(images) - images).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    # The variance of uniform pixels is 1/12.
    assert loss.item() < 0.05 / 12


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: ConvEncoder((3, 15, 64)), r"obs_shape=\(3, 15, 64\).*16 pixels"),
        (lambda: ConvEncoder((3, 64, 64), downscale=9), r"scale 9 .* choose 1 to 8"),
        (lambda: ConvEncoder((3, 64, 64), downscale=0), r"scale 0 .* choose 1 to 8"),
        (lambda: ConvEncoder((3, 64, 64), stages=0), r"stages=0: .* 1 to 6"),
        (lambda: ConvEncoder((3, 64, 64), stages=7), r"stages=7: .* 1 to 6"),
        (lambda: ConvEncoder((3, 64, 64), kernel=3), r"kernel=3: choose an even"),
        (lambda: ConvEncoder((3, 64, 64), kernel=0), r"kernel=0: choose an even"),
        (lambda: ConvDecoder(5, (3, 64, 12)), r"obs_shape=\(3, 64, 12\).*16 pixels"),
        (lambda: ConvDecoder(5, (3, 64, 64), stages=7), r"stages=7: .* 1 to 6"),
        (lambda: ConvDecoder(5, (3, 64, 64), upscale=9), r"scale 9 .* choose 1 to 8"),
    ],
)
def test_impossible_geometry_is_refused_in_one_line(build, message):
    with pytest.raises(ValueError, match=message) as error:
        build()
    assert "\n" not in str(error.value)


def normed(images, norm, axis=1):
    """RMS norm over the channels, then SiLU."""
    shape = [1] * images.ndim
    shape[axis] = -1
    scaled = images / (images.square().mean(axis, keepdim=True) + 1e-4).sqrt()
    scaled = scaled * norm.weight.reshape(shape)
    return scaled * torch.sigmoid(scaled)


def convolved(images, conv):
    """A 5x5 convolution tap by tap, with two zeros around the image."""
    padded, (height, width) = F.pad(images, (2, 2, 2, 2)), images.shape[-2:]
    taps = [
        torch.einsum(
            "bchw,oc->bohw", padded[..., i : i + height, j : j + width], conv.weight[:, :, i, j]
        )
        for i in range(5)
        for j in range(5)
    ]
    return sum(taps) + conv.bias[:, None, None]


def scatter_norms(module):
    """Norms with weights of their own, and biases that are not zero."""
    for parameter in module.parameters():
        if parameter.ndim == 1:
            nn.init.normal_(parameter)
    return module.double()


def test_the_pooling_encoder_equals_the_written_out_network():
    encoder = scatter_norms(PoolEncoder((3, 32, 16), depth=2))
    image = torch.rand(2, 3, 32, 16, dtype=torch.float64)
    expected = image - 0.5
    for conv, _, norm, _ in encoder.stages:
        expected = convolved(expected, conv)
        corners = [expected[..., i::2, j::2] for i in (0, 1) for j in (0, 1)]
        expected = normed(torch.stack(corners).amax(0), norm)
    assert [conv.out_channels for conv, *_ in encoder.stages] == [4, 6, 8, 8]
    assert encoder.embed_dim == 8 * 2 * 1
    torch.testing.assert_close(encoder(image), expected.permute(0, 2, 3, 1).flatten(1))


def test_the_block_decoder_equals_the_written_out_network():
    decoder = scatter_norms(BlockDecoder(12, (3, 32, 16), depth=2, units=3, deter=8, blocks=4))
    feature = torch.randn(5, 12, dtype=torch.float64)
    deter, stoch = feature[:, :8], feature[:, 8:]
    # The channels 2g and 2g + 1 of the small image are read from the memory's block g.
    layer, small = decoder.from_deter, torch.empty(5, 8, 2, 1, dtype=torch.float64)
    for g in range(4):
        drawn = deter[:, 2 * g : 2 * g + 2] @ layer.weight[g] + layer.bias[4 * g : 4 * g + 4]
        for place, (i, j) in enumerate([(0, 0), (1, 0)]):
            small[:, 2 * g : 2 * g + 2, i, j] = drawn[:, 2 * place : 2 * place + 2]
    (linear, norm, _), output = decoder.from_stoch.hidden[0], decoder.from_stoch.output
    assert linear.out_features == 6
    hidden = normed(stoch @ linear.weight.T + linear.bias, norm, axis=-1)
    rest = hidden @ output.weight.T + output.bias
    for place, (i, j) in enumerate([(0, 0), (1, 0)]):
        small[:, :, i, j] += rest[:, 8 * place : 8 * place + 8]
    expected = normed(small, decoder.seed_norm[0])
    for _, conv, norm, _ in decoder.stages:
        expected = normed(convolved(doubled(expected), conv), norm)
    assert [stage[1].out_channels for stage in decoder.stages] == [8, 6, 4]
    expected = torch.sigmoid(convolved(doubled(expected), decoder.output[1]))
    torch.testing.assert_close(decoder(feature), expected)


def doubled(images):
    """Every pixel twice in both directions."""
    return images.repeat_interleave(2, -1).repeat_interleave(2, -2)


def test_the_error_of_a_decoder_with_a_sigmoid_is_in_units_of_255_bytes():
    decoder, pixels = BlockDecoder(20, (3, 16, 16), depth=2, units=2), UnitRange((3, 16, 16))
    feature = torch.randn(4, 20)
    obs = torch.randint(0, 256, (4, 3, 16, 16), dtype=torch.uint8)
    drawn = decoder(feature).double()
    assert drawn.min() > 0
    assert drawn.max() < 1
    expected = sum(
        (obs[:, c].double() / 255 - drawn[:, c]).square().sum((-1, -2)) for c in (0, 1, 2)
    )
    torch.testing.assert_close(decoder.squared_error(feature, pixels(obs)), expected.float())


@pytest.mark.parametrize("obs_shape", [(3, 16, 16), (1, 48, 80), (3, 96, 96), (3, 64, 64)])
def test_dreamerv3s_networks_take_all_sides_that_are_multiples_of_16(obs_shape):
    encoder, decoder = PoolEncoder(obs_shape, depth=2), BlockDecoder(20, obs_shape, 2, units=2)
    image = torch.rand(2, *obs_shape)
    assert encoder(image).shape == (2, 8 * obs_shape[1] // 16 * obs_shape[2] // 16)
    assert decoder(torch.randn(2, 20)).shape == image.shape


@pytest.mark.parametrize("make", [PoolEncoder, lambda shape: BlockDecoder(20, shape)])
def test_dreamerv3s_networks_refuse_other_sides(make):
    with pytest.raises(ValueError, match=r"multiples of 16: resize it to \(64, 80\)"):
        make((3, 65, 84))
    with pytest.raises(ValueError, match=r"multiples of 16: resize it to \(16, 16\)"):
        make((3, 8, 8))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_block_decoder_answers_in_float32(dtype):
    decoder = BlockDecoder(20, (3, 16, 16), depth=2, units=2)
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype is torch.bfloat16):
        assert decoder(torch.randn(2, 20)).dtype == torch.float32


@pytest.mark.parametrize(("feature_dim", "deter"), [(160, 128), (2560, 2048), (230, 184)])
def test_a_block_decoder_takes_four_fifths_of_a_feature_for_the_memory(feature_dim, deter):
    assert BlockDecoder(feature_dim, (3, 16, 16), depth=2, units=2).deter == deter


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"deter": 20}, "deter=20 of feature_dim=20: give the dynamics' deter"),
        ({"deter": 12}, "deter=12 of feature_dim=20: .* a multiple of blocks=8"),
        ({"depth": 3}, "depth=3 makes 12 channels, .* blocks=8: choose a multiple of 2"),
        ({"kernel": 4}, "kernel=4: choose an odd window"),
    ],
)
def test_a_block_decoder_refuses_what_does_not_fit(options, message):
    with pytest.raises(ValueError, match=message):
        BlockDecoder(20, (3, 16, 16), **options)
