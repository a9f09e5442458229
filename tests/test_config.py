"""Every configuration file is parsed, built, and does what it says."""

from argparse import ArgumentError
from functools import cache
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.functional import one_hot

from worldmodels.behaviours.model_free import dreams
from worldmodels.checkpoint import build_agent
from worldmodels.nn.encoders import Encoder
from worldmodels.training.fit import fit_parser
from worldmodels.types import ActionSpace, Batch

CONFIGS = Path(__file__).parent.parent / "configs"
FILES = sorted(CONFIGS.rglob("*.yaml"))
AGENT = ("model", "planner", "controller", "noise", "behaviour", "acting")


class DeepEncoder(Encoder):
    """Has an option that ConvEncoder has too, with another default."""

    def __init__(self, obs_shape, depth=3):
        super().__init__()
        self.depth, self.embed_dim = depth, 4
        self.net = nn.Linear(obs_shape[0], 4)

    def forward(self, image):
        return self.net(image.mean((-1, -2)))


def built(*arguments, discrete=False):
    parser = fit_parser()
    parts = parser.instantiate(parser.parse_args(list(arguments)))
    space = ActionSpace(2, discrete)
    return build_agent((3, 64, 64), space, **{name: parts[name] for name in AGENT})


@cache
def batch(discrete=False):
    generator = torch.Generator().manual_seed(0)
    first = torch.zeros(2, 3, dtype=torch.bool)
    drawn = torch.rand(2, 3, 2, generator=generator) * 2 - 1
    if discrete:
        drawn = one_hot(drawn.argmax(-1), 2).float()
    return Batch(
        torch.randint(0, 256, (2, 3, 3, 64, 64), dtype=torch.uint8, generator=generator),
        drawn,
        torch.rand(2, 3, generator=generator),
        first,
        first,
    )


def part_that_learns(agent):
    """The loss of the model; of the behaviour, where there is no model of the world."""
    torch.manual_seed(0)  # The same draws before and after the step.
    seen = batch(agent.world_model.action_space.discrete)
    losses, posterior = agent.world_model.loss(seen)
    if dreams(agent.world_model):
        return losses.total
    return agent.behaviour.loss(agent.world_model, seen, posterior).total


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(CONFIGS)))
def test_every_config_is_built_and_stepped_twice(path):
    if path.stem in ("25M", "50M"):
        with torch.device("meta"):
            agent = built("--config", str(path))
        millions = sum(p.numel() for p in agent.world_model.parameters()) / 1e6
        assert millions == pytest.approx(float(path.stem[:-1]), rel=0.08)
        return
    torch.manual_seed(0)
    agent = built("--config", str(path), discrete=path.stem.endswith("dqn"))
    # Adam's first step moves every weight as far as this: little enough to go downhill.
    optimizer = torch.optim.Adam(agent.parameters(), 1e-4)
    totals = []
    for _ in range(2):
        total = part_that_learns(agent)
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        totals.append(total.item())
    assert totals[1] < totals[0]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(CONFIGS)))
def test_configs_stay_under_40_lines(path):
    assert len(path.read_text().splitlines()) < 40


def test_configs_merge_from_left_to_right():
    recipe, size = (str(CONFIGS / name) for name in ("recipe/planet.yaml", "size/small.yaml"))
    agent = built("--config", recipe, "--config", size, "--planner.candidates=50")
    assert agent.world_model.dynamics.deter_dim == 256
    assert agent.world_model.weights["reward"] == 100.0
    assert agent.controller.planner.candidates == 50
    assert agent.controller.planner.iterations == 5


def test_an_encoder_is_plugged_in_by_one_option_with_its_own_defaults():
    agent = built("--model.encoder", f"{__name__}.DeepEncoder")
    assert type(agent.world_model.encoder).__name__ == "DeepEncoder"
    assert agent.world_model.encoder.depth == 3
    deeper = built("--model.encoder", f"{__name__}.DeepEncoder", "--model.encoder.depth=5")
    assert deeper.world_model.encoder.depth == 5


def test_an_installed_packages_encoder_is_found_by_its_name(tmp_path, monkeypatch):
    (tmp_path / "other_lab.py").write_text(
        "from torch import nn\n"
        "from worldmodels.nn.encoders import Encoder\n"
        "class OtherEncoder(Encoder):\n"
        "    def __init__(self, obs_shape):\n"
        "        super().__init__()\n"
        "        self.embed_dim = 2\n"
        "        self.net = nn.Linear(obs_shape[0], 2)\n"
        "    def forward(self, image):\n"
        "        return self.net(image.mean((-1, -2)))\n"
    )
    package = tmp_path / "other_lab-1.0.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: other-lab\nVersion: 1.0\n")
    (package / "entry_points.txt").write_text(
        "[worldmodels.encoders]\nother = other_lab:OtherEncoder\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    agent = built("--model.encoder", "OtherEncoder")
    assert type(agent.world_model.encoder).__module__ == "other_lab"


def test_an_encoder_is_plugged_in_by_one_line_of_yaml(tmp_path):
    config = tmp_path / "mine.yaml"
    config.write_text(f"model: {{encoder: {{class_path: {__name__}.DeepEncoder}}}}\n")
    agent = built("--config", str(CONFIGS / "demo.yaml"), "--config", str(config))
    assert agent.world_model.encoder.depth == 3


def test_another_planner_starts_from_its_own_defaults():
    agent = built("--config", str(CONFIGS / "recipe/planet.yaml"), "--planner", "ICEM")
    assert (agent.controller.planner.candidates, agent.controller.planner.kept_elites) == (500, 15)


def test_unknown_options_are_refused_by_name():
    with pytest.raises(ArgumentError, match="encodr"):
        built("--model.encodr.depth=3")
