"""torchvision's image classifiers (ResNet, MobileNetV3, ConvNeXt, ...) as encoders."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

import torch
from einops import pack, rearrange, repeat, unpack
from jaxtyping import Float
from torch import Tensor, nn

from worldmodels.checks import did_you_mean
from worldmodels.nn.encoders import Encoder
from worldmodels.types import ObsShape

_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)

# Not an argument: it belongs to one moment of a network's life, not to its configuration.
_fetches: ContextVar[bool] = ContextVar("_fetches", default=True)


@contextmanager
def weights_follow() -> Iterator[None]:
    """Inside the block, pretrained networks are built without their weights.

    For whoever loads a state dict right after: nothing is fetched only to be overwritten, and a
    trained model can be loaded without a network connection.
    """
    token = _fetches.set(False)
    try:
        yield
    finally:
        _fetches.reset(token)


class TorchvisionEncoder(Encoder):
    """The convolutional part of a torchvision classifier; its last feature map is the embedding.

    Expects images in [-0.5, 0.5] and moves them to ImageNet's mean and deviation itself; grey ones
    are repeated to three channels.

    Batch norm in training mode would let the rows of a batch influence each other. So a network
    from scratch gets group norm in its place, and a pretrained one keeps batch norm with its
    statistics fixed for good (scale and shift still train unless ``frozen``).

    Args:
        obs_shape: ``(C, h, w)`` with 1 or 3 channels.
        name: a classifier of ``torchvision.models`` that ends in ``avgpool``.
        pretrained: start from torchvision's default weights (fetched once, then cached).
        frozen: keep all weights as they are, and the network in evaluation mode.
        upscale: enlarge each side this many times first (bilinear): these networks divide by 32.

    Raises:
        ValueError: if the name is unknown or has no feature map, the channels are neither 1 nor 3,
            or the image is too small.
        FileNotFoundError: if the pretrained weights cannot be fetched.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        obs_shape: ObsShape,
        name: str = "resnet18",
        pretrained: bool = False,
        frozen: bool = False,
        upscale: int = 1,
    ):
        super().__init__()
        if obs_shape[0] not in (1, 3):
            raise ValueError(f"obs_shape={tuple(obs_shape)}: {name} reads 1 or 3 channels")
        self.frozen, self.upscale = frozen, upscale
        self.register_buffer("mean", _per_channel(_IMAGENET_MEAN))
        self.register_buffer("std", _per_channel(_IMAGENET_STD))
        self.body = _feature_map(name, pretrained).requires_grad_(not frozen)
        self.train()
        self.embed_dim = self._measure(obs_shape, name)

    def forward(self, image: Float[Tensor, "*batch C h w"]) -> Float[Tensor, "*batch E"]:
        """Embeds images in [-0.5, 0.5] under any leading axes."""
        images, batch = pack([image], "* C h w")
        if images.shape[1] == 1:
            images = repeat(images, "B 1 h w -> B C h w", C=3)
        if self.upscale > 1:
            images = nn.functional.interpolate(images, scale_factor=self.upscale, mode="bilinear")
        images = (images + 0.5 - self.mean) / self.std
        features = self.body(images.contiguous(memory_format=torch.channels_last))["map"]
        return unpack(rearrange(features, "B C h w -> B (h w C)"), batch, "* E")[0]

    def train(self, mode: bool = True) -> "TorchvisionEncoder":
        """Training mode, except for what must not follow it: frozen networks and batch norm."""
        super().train(mode)
        if self.frozen:
            self.body.eval()
        for layer in self.body.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.eval()
        return self

    def _measure(self, obs_shape: ObsShape, name: str) -> int:
        """Size of an embedding, from one blank image (in evaluation mode: no dropout, no RNG)."""
        self.body.eval()
        try:
            with torch.no_grad():
                size = self(torch.zeros(obs_shape)).numel()
        except RuntimeError as error:
            raise ValueError(
                f"obs_shape={tuple(obs_shape)} is too small for {name}: set upscale="
                f"{math.ceil(32 / min(obs_shape[1:]))} to reach 32 pixels a side"
            ) from error
        self.train()
        return size


def _per_channel(values: tuple[float, float, float]) -> Float[Tensor, "3 1 1"]:
    return rearrange(torch.tensor(values), "C -> C 1 1")


def _feature_map(name: str, pretrained: bool) -> nn.Module:
    """The network up to the layer before its average pooling."""
    # Imported on use: torchvision takes longer to import than all of this package.
    from torchvision import models
    from torchvision.models.feature_extraction import create_feature_extractor

    names = models.list_models(module=models)
    if name not in names:
        hint = did_you_mean(name, names, "choose resnet18 or mobilenet_v3_small", most=3)
        raise ValueError(f"name={name!r} is not a model of torchvision: {hint}")
    network = models.get_model(name, weights=None)
    if not pretrained:
        _batch_norm_to_group_norm(network)
    elif _fetches.get():
        network.load_state_dict(_pretrained_weights(name))
    children = [child for child, _ in network.named_children()]
    if "avgpool" not in children[1:]:
        raise ValueError(
            f"name={name!r} has no feature map before an 'avgpool' layer; "
            "choose a ResNet, MobileNet, ConvNeXt, RegNet or EfficientNet"
        )
    last = children[children.index("avgpool") - 1]
    return create_feature_extractor(network, {last: "map"})


def _pretrained_weights(name: str) -> dict[str, Tensor]:
    import torchvision

    weights = torchvision.models.get_model_weights(name)["DEFAULT"]
    try:
        return dict(weights.get_state_dict(progress=False, check_hash=True))
    except OSError as error:  # urllib's network errors are OSErrors
        folder = Path(torch.hub.get_dir()) / "checkpoints"
        raise FileNotFoundError(
            f"pretrained=True: the weights of {name!r} cannot be fetched ({error}); "
            f"put {Path(weights.url).name} of torchvision {torchvision.__version__} into {folder}, "
            "or set pretrained=False"
        ) from error


def _batch_norm_to_group_norm(network: nn.Module) -> None:
    """Swaps every batch norm for a group norm of at most 32 groups."""
    for parent in list(network.modules()):
        for child, layer in list(parent.named_children()):
            if isinstance(layer, nn.BatchNorm2d):
                groups = math.gcd(32, layer.num_features)
                # At least two channels a group: a 1x1 map of one channel would become 0.
                groups = min(groups, layer.num_features // 2)
                setattr(parent, child, nn.GroupNorm(groups, layer.num_features))
