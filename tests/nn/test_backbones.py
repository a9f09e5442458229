import urllib.error

import pytest
import torch
from torch import nn
from torchvision import models

from worldmodels.checkpoint import agent_parser, build_agent, load, save_agent
from worldmodels.nn import backbones
from worldmodels.nn.backbones import TorchvisionEncoder
from worldmodels.types import ActionSpace

FAMILIES = ["resnet18", "mobilenet_v3_small", "convnext_tiny"]


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.fixture
def weights(monkeypatch):
    """Stands in for downloaded weights: a state dict with uncommon statistics."""
    state = models.resnet18().state_dict()
    for name, value in state.items():
        if name.endswith("running_mean"):
            value.uniform_(-0.1, 0.1)
        if name.endswith("running_var"):
            value.uniform_(0.5, 1.5)
    monkeypatch.setattr(backbones, "_pretrained_weights", lambda name: state)
    return state


def train_step(encoder):
    encoder.train()
    images = torch.rand(4, 3, 32, 32) - 0.5
    optimiser = torch.optim.SGD([*encoder.parameters(), nn.Parameter(torch.zeros(1))], 0.1)
    embed = encoder(images)
    if embed.requires_grad:
        embed.square().mean().backward()
    optimiser.step()


def snapshot(encoder):
    return {name: value.clone() for name, value in encoder.state_dict().items()}


@pytest.mark.parametrize("name", FAMILIES)
def test_rows_of_a_batch_do_not_influence_each_other(name):
    encoder = TorchvisionEncoder((3, 32, 48), name).eval()
    images = torch.rand(2, 2, 3, 32, 48) - 0.5
    with torch.no_grad():
        together = encoder(images)
        assert together.shape == (2, 2, encoder.embed_dim)
        alone = encoder(images[1, 0])
    torch.testing.assert_close(together[1, 0], alone, rtol=1e-3, atol=1e-3)
    assert (together[0, 0] - alone).abs().max() > 0.01


def test_scratch_networks_hold_no_batch_norm():
    for name in ("resnet18", "mobilenet_v3_small"):
        layers = list(TorchvisionEncoder((3, 32, 32), name).body.modules())
        assert not any(isinstance(layer, nn.BatchNorm2d) for layer in layers)


def test_pretrained_embedding_is_the_classifiers_feature_map(weights):
    encoder = TorchvisionEncoder((3, 64, 64), pretrained=True)
    network = models.resnet18()
    network.load_state_dict(weights)
    network.eval()
    pixels = torch.rand(2, 3, 64, 64)
    x = (pixels - torch.tensor([0.485, 0.456, 0.406])[:, None, None]) / torch.tensor(
        [0.229, 0.224, 0.225]
    )[:, None, None]
    with torch.no_grad():
        for stage in ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4"):
            x = getattr(network, stage)(x)
        embed = encoder(pixels - 0.5)
    assert embed.std() > 0.1
    torch.testing.assert_close(embed, x.permute(0, 2, 3, 1).flatten(1), rtol=1e-3, atol=1e-4)


def test_a_frozen_backbone_survives_a_train_step_unchanged(weights):
    encoder = TorchvisionEncoder((3, 32, 32), pretrained=True, frozen=True)
    before = snapshot(encoder)
    train_step(encoder)
    assert not any(layer.training for layer in encoder.body.modules())
    for name, value in encoder.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_a_trainable_pretrained_backbone_learns_but_keeps_its_statistics(weights):
    encoder = TorchvisionEncoder((3, 32, 32), pretrained=True)
    before = snapshot(encoder)
    train_step(encoder)
    changed = {
        name for name, value in encoder.state_dict().items() if not torch.equal(value, before[name])
    }
    assert changed == {name for name, _ in encoder.named_parameters()}


def test_gradients_pass_through_a_frozen_backbone_to_the_image():
    encoder = TorchvisionEncoder((3, 32, 32), frozen=True)
    image = torch.rand(3, 32, 32, requires_grad=True)
    (gradient,) = torch.autograd.grad(encoder(image).sum(), image)
    assert (gradient != 0).float().mean() > 0.9


def test_a_grey_image_is_read_as_three_equal_channels():
    grey, colour = (TorchvisionEncoder((c, 32, 32)).eval() for c in (1, 3))
    colour.load_state_dict(grey.state_dict())
    image = torch.rand(2, 1, 32, 32) - 0.5
    torch.testing.assert_close(grey(image), colour(image.expand(2, 3, 32, 32)))


def test_upscale_enlarges_the_image_first():
    small = TorchvisionEncoder((3, 16, 16), "mobilenet_v3_small", upscale=2).eval()
    large = TorchvisionEncoder((3, 32, 32), "mobilenet_v3_small").eval()
    large.load_state_dict(small.state_dict())
    image = torch.rand(1, 3, 16, 16) - 0.5
    enlarged = nn.functional.interpolate(image, scale_factor=2, mode="bilinear")
    torch.testing.assert_close(small(image), large(enlarged))


def test_construction_leaves_the_network_in_training_mode():
    assert TorchvisionEncoder((3, 32, 32)).body.training


@pytest.mark.parametrize(
    ("shape", "name", "message"),
    [
        (
            (3, 64, 64),
            "resnet81",
            r"'resnet81' is not a model of torchvision: did you mean resnet18",
        ),
        ((3, 64, 64), "zzz", r"'zzz' is not a model of torchvision: choose resnet18 or"),
        ((3, 64, 64), "vit_b_16", r"'vit_b_16' has no feature map .* choose a ResNet"),
        ((3, 16, 16), "convnext_tiny", r"too small for convnext_tiny: set upscale=2"),
        ((4, 64, 64), "resnet18", r"obs_shape=\(4, 64, 64\): resnet18 reads 1 or 3 channels"),
    ],
)
def test_bad_arguments_are_refused_in_one_line(shape, name, message):
    with pytest.raises(ValueError, match=message) as error:
        TorchvisionEncoder(shape, name)
    assert "\n" not in str(error.value)


@pytest.fixture
def offline(monkeypatch):
    """Every download fails."""

    def refuse(*_, **__):
        raise urllib.error.URLError("no network")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", refuse)
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", refuse)


def test_a_trained_model_with_a_pretrained_backbone_loads_offline(tmp_path, offline):
    name = "mobilenet_v3_small"
    parser = agent_parser()
    options = parser.parse_args(
        [
            "--model.encoder=worldmodels.nn.backbones.TorchvisionEncoder",
            f"--model.encoder.name={name}", "--model.encoder.pretrained=true",
            "--model.decoder.depth=2", "--model.dynamics.deter=8", "--model.dynamics.hidden=8",
        ]
    )  # fmt: skip
    parts = parser.instantiate(options)
    shape, space = (3, 32, 32), ActionSpace(2, False)
    with pytest.MonkeyPatch.context() as once:
        state = models.get_model(name).state_dict()
        once.setattr(backbones, "_pretrained_weights", lambda name: state)
        agent = build_agent(shape, space, **parts)
    first = agent.world_model.encoder.body.get_parameter("features.0.0.weight")
    assert torch.equal(first, state["features.0.0.weight"])
    save_agent(tmp_path / "model", agent, {"id": "worldmodels/CartSwing-v0"})
    saved = agent.world_model.state_dict()
    for key, value in load(tmp_path).world_model.state_dict().items():
        assert torch.equal(value, saved[key]), key
    # Only loading does without: a new model still asks for its weights.
    with pytest.raises(FileNotFoundError, match="cannot be fetched"):
        build_agent(shape, space, **parts)


def test_unavailable_weights_say_where_to_put_them(offline):
    with pytest.raises(
        FileNotFoundError, match=r"put resnet18-.*\.pth .* pretrained=False"
    ) as error:
        TorchvisionEncoder((3, 32, 32), pretrained=True)
    assert "\n" not in str(error.value)
