import pytest
import torch
from torch import nn

from worldmodels.nn.backbones import TorchvisionEncoder
from worldmodels.nn.check import ContractError, check_decoder, check_encoder
from worldmodels.nn.decoders import BlockDecoder, ConvDecoder, Decoder
from worldmodels.nn.encoders import ConvEncoder, Encoder, PoolEncoder

SHAPE = (3, 16, 16)
PIXELS = 3 * 16 * 16


class Sound(Encoder):
    """Everything right; the broken ones below change one thing each."""

    def __init__(self, obs_shape):
        super().__init__()
        self.embed_dim = 8
        self.linear = nn.Linear(obs_shape[0] * obs_shape[1] * obs_shape[2], 8)

    def forward(self, image):
        return self.linear(image.flatten(-3))


class WrongFirstArgument(Sound):
    def __init__(self, width=8):
        super().__init__(SHAPE)


class MissingDefault(Sound):
    def __init__(self, obs_shape, width):
        super().__init__(obs_shape)


class RaisesOnBuild(Sound):
    def __init__(self, obs_shape):
        raise KeyError("width")


class NoForward(Encoder):
    pass


class NoEmbedDim(Sound):
    def __init__(self, obs_shape):
        super().__init__(obs_shape)
        del self.embed_dim


class FloatEmbedDim(Sound):
    def __init__(self, obs_shape):
        super().__init__(obs_shape)
        self.embed_dim = 8.0


class NoLeadingAxes(Sound):
    def forward(self, image):
        return self.linear(image.reshape(len(image), PIXELS))


class JoinsLeadingAxes(Sound):
    def forward(self, image):
        embed = super().forward(image)
        return embed.flatten(0, -2) if embed.ndim > 2 else embed


class WrongSize(Sound):
    def __init__(self, obs_shape):
        super().__init__(obs_shape)
        self.embed_dim = 9


class ReturnsTuple(Sound):
    def forward(self, image):
        return super().forward(image), 0


class HalfPrecision(Sound):
    def forward(self, image):
        return super().forward(image).bfloat16()


class NotFinite(Sound):
    def forward(self, image):
        return super().forward(image).sub(5).log()


class UnusedWeight(Sound):
    def __init__(self, obs_shape):
        super().__init__(obs_shape)
        self.spare = nn.Linear(2, 2, bias=False)


class DetachedWeight(Sound):
    def forward(self, image):
        return super().forward(image).detach()


class InfiniteGradient(Sound):
    def forward(self, image):
        return (super().forward(image) * 0).sqrt()


class LayersInAList(Sound):
    def __init__(self, obs_shape):
        super().__init__(obs_shape)
        self.rest = [nn.Linear(8, 8)]

    def forward(self, image):
        return self.rest[0](super().forward(image))


class NormalisesOverTheBatch(Sound):
    def forward(self, image):
        embed = super().forward(image)
        return embed - embed.mean(0, keepdim=True) if embed.ndim > 1 else embed


class NoisyInEval(Sound):
    def forward(self, image):
        return super().forward(image) + torch.rand(8)


class OwnDevice(Sound):
    def __init__(self, obs_shape):
        super().__init__(obs_shape)
        self.shift = torch.ones(8)

    def forward(self, image):
        return super().forward(image) + self.shift


@pytest.mark.parametrize(
    ("cls", "message"),
    [
        (nn.Linear, r"Linear is not a subclass of Encoder: derive it from .*encoders\.Encoder"),
        (NoForward, r"NoForward is abstract: define its forward method"),
        (WrongFirstArgument, r"__init__ starts with \(width\): .* must be \(obs_shape\)"),
        (MissingDefault, r"__init__ has no default for 'width': give it one"),
        (RaisesOnBuild, r"RaisesOnBuild\(\(3, 16, 16\)\) raised KeyError: 'width'"),
        (NoEmbedDim, r"NoEmbedDim\.embed_dim is None: set self\.embed_dim"),
        (FloatEmbedDim, r"FloatEmbedDim\.embed_dim is 8\.0: set self\.embed_dim"),
        (NoLeadingAxes, r"forward on an input of shape \(3, 16, 16\) raised RuntimeError: shape"),
        (JoinsLeadingAxes, r"leading axes \(2, 3\) returned shape \(6, 8\): return \(2, 3, 8\)"),
        (WrongSize, r"leading axes \(\) returned shape \(8,\): return \(9,\)"),
        (ReturnsTuple, r"returned tuple: return one tensor"),
        (HalfPrecision, r"returned torch\.bfloat16: return torch\.float32"),
        (NotFinite, r"returned non-finite numbers"),
        (UnusedWeight, r"no gradient reaches spare\.weight: use it in forward"),
        (DetachedWeight, r"no gradient reaches linear\.weight: .* without detach"),
        (InfiniteGradient, r"the gradient of linear\.weight is not finite"),
        (LayersInAList, r"computes with weights it does not own, .* nn\.ModuleList"),
        (NormalisesOverTheBatch, r"lets rows of a batch influence each other: normalise over"),
        (NoisyInEval, r"answers the same input differently twice: draw no random numbers"),
        (OwnDevice, r"does not follow a move to another device .* register_buffer"),
    ],
)
def test_a_broken_encoder_is_named_with_its_fix_in_one_line(cls, message):
    with pytest.raises(ContractError, match=message) as error:
        check_encoder(cls, SHAPE)
    assert "\n" not in str(error.value)


def test_a_sound_encoder_is_counted():
    report = check_encoder(Sound, SHAPE)
    assert report.name == "Sound"
    assert report.embed_dim == 8
    assert report.parameters == report.trainable == PIXELS * 8 + 8
    assert report.devices[0] == "cpu"
    assert 0 < report.milliseconds < 10_000


class LooksAtValues(Sound):
    def forward(self, image):
        return super().forward(image) * (2 if image.max() > 9 else 1)


class DropoutInTraining(Sound):
    def forward(self, image):
        return nn.functional.dropout(super().forward(image), training=self.training)


class Frozen(Sound):
    def __init__(self, obs_shape):
        super().__init__(obs_shape)
        self.requires_grad_(False)


@pytest.mark.parametrize("cls", [LooksAtValues, DropoutInTraining, Frozen])
def test_unusual_but_sound_encoders_pass(cls):
    trainable = 0 if cls is Frozen else PIXELS * 8 + 8
    assert check_encoder(cls, SHAPE).trainable == trainable


@pytest.mark.parametrize("obs_shape", [(3, 16, 16), (1, 48, 80), (3, 65, 33)])
def test_our_convolutions_keep_the_contract(obs_shape):
    encoder = ConvEncoder(obs_shape)
    assert check_encoder(ConvEncoder, obs_shape).embed_dim == encoder.embed_dim
    decoder = check_decoder(ConvDecoder, obs_shape, feature_dim=10)
    assert decoder.parameters == sum(p.numel() for p in ConvDecoder(10, obs_shape).parameters())


def test_the_default_backbone_keeps_the_contract():
    assert check_encoder(TorchvisionEncoder, (3, 32, 32)).embed_dim == 512


class WrongImage(Decoder):
    def __init__(self, feature_dim, obs_shape):
        super().__init__()
        self.linear = nn.Linear(feature_dim, 256)

    def forward(self, feature):
        return self.linear(feature).unflatten(-1, (1, 16, 16))


class SwappedArguments(WrongImage):
    def __init__(self, obs_shape, feature_dim):
        super().__init__(feature_dim, obs_shape)


@pytest.mark.parametrize(
    ("cls", "message"),
    [
        (WrongImage, r"returned shape \(1, 16, 16\): return \(3, 16, 16\)"),
        (SwappedArguments, r"must be \(feature_dim, obs_shape\)"),
        (ConvEncoder, r"ConvEncoder is not a subclass of Decoder"),
    ],
)
def test_a_broken_decoder_is_named_with_its_fix_in_one_line(cls, message):
    with pytest.raises(ContractError, match=message) as error:
        check_decoder(cls, SHAPE)
    assert "\n" not in str(error.value)


def test_checking_leaves_the_global_random_numbers_alone():
    class Quiet(Sound):
        def __init__(self, obs_shape):
            super().__init__(obs_shape)
            torch.manual_seed(5)

    check_encoder(Quiet, SHAPE)
    drawn = torch.rand(3)
    torch.manual_seed(5)
    assert torch.equal(drawn, torch.rand(3))


def test_the_parts_of_dreamerv3_are_sound():
    assert check_encoder(PoolEncoder, (3, 32, 16)).embed_dim == 16 * 4 * 2 * 1
    assert check_decoder(BlockDecoder, (3, 32, 16)).obs_shape == (3, 32, 16)
