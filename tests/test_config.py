"""Every configuration file is parsed, built, and does what it says."""

from functools import cache
from pathlib import Path

import pytest
import torch
import yaml
from torch import nn
from torch.nn.functional import one_hot

from worldmodels.checkpoint import build_agent
from worldmodels.cli.fit import fit_parser
from worldmodels.config import find_config, split_configs
from worldmodels.losses import BalancedKL, Continues, Reconstruction, Reward
from worldmodels.nn.encoders import Encoder
from worldmodels.planning import MPC
from worldmodels.types import ActionSpace, Batch
from worldmodels.world_model import WorldModel

CONFIGS = Path(__file__).parent.parent / "configs"
FILES = sorted(CONFIGS.rglob("*.yaml"))
AGENT = ("model", "behaviour", "planner", "mpc", "noise")


class DeepEncoder(Encoder):
    """Has an option that ConvEncoder has too, with another default."""

    def __init__(self, obs_shape, depth=3):
        super().__init__()
        self.depth, self.embed_dim = depth, 4
        self.net = nn.Linear(obs_shape[0], 4)

    def forward(self, image):
        return self.net(image.mean((-1, -2)))


def parsed(*arguments):
    return fit_parser().read(list(arguments))


def built(*arguments, discrete=False):
    parser = fit_parser()
    parts = parser.instantiate(parser.read(list(arguments)))
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
    if isinstance(agent.world_model, WorldModel):
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
    # DreamerV3's sizes are numbers for the classes that its recipe names.
    named = ["--config=dreamerv3"] if path.stem.startswith("size") else []
    if named and path.stem != "size1m":
        with torch.device("meta"):
            assert isinstance(built(*named, "--config", str(path)).world_model, WorldModel)
        return
    torch.manual_seed(0)
    agent = built(*named, "--config", str(path), discrete=path.stem.endswith("dqn"))
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


def test_every_env_file_holds_options_of_the_environment_alone():
    for path in FILES:
        content = yaml.safe_load(path.read_text())
        if path.parent.name == "env":
            assert content.keys() == {"env"}, path
        else:
            assert "env" not in content, path


def test_a_recipe_is_found_by_its_bare_name():
    assert find_config("dreamer") == CONFIGS / "recipe" / "dreamer.yaml"
    assert find_config("cartswing") == CONFIGS / "env" / "cartswing.yaml"
    assert (
        parsed("--config", "planet").as_dict()
        == parsed("--config", str(CONFIGS / "recipe" / "planet.yaml")).as_dict()
    )
    assert len({path.stem for path in FILES}) == len(FILES)


def test_a_file_of_that_name_in_this_folder_comes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("planet").write_text("updates: 7\n")
    assert parsed("--config", "planet").updates == 7


def test_an_unknown_recipe_is_answered_with_a_similar_one():
    with pytest.raises(FileNotFoundError) as error:
        parsed("--config", "dreamr")
    assert str(error.value) == "--config dreamr: no such file or recipe: did you mean dreamer?"


def test_configs_merge_by_kind_whatever_their_order(tmp_path):
    mine = tmp_path / "mine.yaml"
    mine.write_text(
        "model: {discount: 0.9}\nenv: {action_repeat: 3}\nplanner: {init_args: {elites: 7}}\n"
    )
    names = ["cartswing", str(mine), "small", "planet"]
    found = []
    for order in (names, names[::-1], [names[2], names[0], names[3], names[1]]):
        options = [word for name in order for word in ("--config", name)]
        found.append(parsed(*options, "--planner.candidates=50"))
    assert found[0].as_dict() == found[1].as_dict() == found[2].as_dict()
    options = found[0]
    assert (options.env.id, options.env.action_repeat) == ("worldmodels/CartSwing-v0", 3)
    agent = built(
        *[word for name in names for word in ("--config", name)], "--planner.candidates=50"
    )
    planner = agent.actor.planner
    assert agent.world_model.dynamics.deter_dim == 256
    assert agent.world_model.discount == 0.9
    assert agent.world_model.terms[1].weights == {"reward": 100.0}
    assert (planner.candidates, planner.iterations, planner.elites) == (50, 5, 7)


def test_options_win_over_files_wherever_they_stand():
    assert parsed("--updates=5", "--config", "planet", "--noise=0.5").updates == 5
    assert parsed("--planner.elites=9", "--config=planet").planner.init_args.elites == 9


def test_a_file_builds_on_others(tmp_path, monkeypatch):
    (tmp_path / "first.yaml").write_text("updates: 1\nseed: 1\nnoise: 0.1\n")
    (tmp_path / "second.yaml").write_text("base: first.yaml\nseed: 2\n")
    (tmp_path / "third.yaml").write_text("base: [second.yaml, laptop]\nnoise: 0.3\n")
    (tmp_path / "elsewhere").mkdir()
    # Found beside the file that names them, from wherever the command runs.
    monkeypatch.chdir(tmp_path / "elsewhere")
    options = parsed("--config", "../third.yaml")
    assert (options.updates, options.seed, options.noise) == (1, 2, 0.3)
    assert options.model.init_args.dynamics.init_args.deter == 128
    files, rest = split_configs(["--config=../third.yaml", "--seed=3"])
    assert [file.name for file in files] == [
        "first.yaml",
        "second.yaml",
        "laptop.yaml",
        "third.yaml",
    ]
    assert rest == ["--seed=3"]


def test_a_base_gives_way_to_sizes_as_the_recipe_does():
    options = parsed("--config", "small", "--config", "dreamer")
    assert options.model.init_args.dynamics.init_args.deter == 256
    assert options.model.init_args.terms[1].init_args.weight == 100.0


def test_a_file_that_builds_on_itself_is_refused(tmp_path):
    (tmp_path / "one.yaml").write_text("base: two.yaml\n")
    (tmp_path / "two.yaml").write_text("base: one.yaml\n")
    with pytest.raises(ValueError, match=r"two\.yaml: base=one.yaml builds on this file itself"):
        parsed("--config", str(tmp_path / "one.yaml"))


def test_an_unknown_base_is_named(tmp_path):
    (tmp_path / "mine.yaml").write_text("base: laptp\n")
    with pytest.raises(FileNotFoundError, match="did you mean laptop"):
        parsed("--config", str(tmp_path / "mine.yaml"))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("model: {encoder: [\n", "is no YAML: "),
        ("- 1\n- 2\n", "expected options as `name: value`, found [1, 2]"),
        ("just words\n", "expected options as `name: value`, found 'just words'"),
    ],
)
def test_a_broken_file_is_named_in_one_line(tmp_path, text, told):
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    with pytest.raises(ValueError, match="mine") as error:
        parsed("--config", str(file))
    assert str(error.value).startswith(str(file))
    assert told in str(error.value)
    assert "\n" not in str(error.value)


def test_an_empty_file_changes_nothing(tmp_path):
    (tmp_path / "mine.yaml").write_text("# nothing yet\n")
    mine, none = (parsed(*config) for config in (["--config", str(tmp_path / "mine.yaml")], []))
    assert mine.updates == none.updates


def test_terms_come_from_yaml(tmp_path):
    agent = built("--config", "planet")
    assert [type(term) for term in agent.world_model.terms] == [
        Reconstruction, Reward, Continues, BalancedKL,
    ]  # fmt: skip
    assert agent.world_model.terms[0].fraction == 0.25
    mine = tmp_path / "mine.yaml"
    mine.write_text(
        "model:\n  decoder: null\n  terms:\n  - {class_path: InfoNCE, init_args: {dim: 16}}\n"
        "  - {class_path: Reward}\n"
    )
    blind = built("--config", "planet", "--config", str(mine))
    assert blind.world_model.decoder is None
    assert [type(term).__name__ for term in blind.world_model.terms] == ["InfoNCE", "Reward"]
    assert blind.world_model.terms[0].dim == 16


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
    agent = built("--config", "planet", "--config", str(config))
    assert agent.world_model.encoder.depth == 3


def test_another_class_starts_from_its_own_defaults():
    agent = built("--config", "planet", "--planner", "ICEM")
    planner = agent.actor.planner
    assert (planner.candidates, planner.elites, planner.kept_elites) == (500, 50, 15)
    agent = built("--config", "planet", "--config", "small", "--model.dynamics", "CategoricalRSSM")
    assert agent.world_model.dynamics.deter_dim == 512


def test_naming_the_same_class_again_keeps_its_options():
    planner = built("--config", "planet", "--planner", "CEM").actor.planner
    assert (planner.candidates, planner.elites) == (300, 30)


def test_nothing_named_plans_by_cem_and_a_behaviour_acts_by_its_policy():
    assert type(built().actor) is MPC
    agent = built("--behaviour=ActorCritic", "--behaviour.hidden=8")
    assert agent.actor is agent.behaviour
    guided = built("--behaviour=ActorCritic", "--behaviour.hidden=8", "--planner=CEM",
                   "--mpc.proposals=3", "--mpc.replan_every=2")  # fmt: skip
    assert guided.actor.guide is guided.behaviour
    assert (guided.actor.proposals, guided.actor.replan_every) == (3, 2)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("--model.encodr.depth=3", "encodr"),
        ("--updats=3", "unknown option --updats: did you mean --updates?"),
        ("--updates=many", "--updates=many: "),
        ("--planner=CEMM", "CEMM"),
    ],
)
def test_mistakes_are_refused_by_name_in_one_line(given, told):
    with pytest.raises(ValueError, match="--") as error:
        built(given)
    assert told in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (
            "--planner.horizon=3",
            "--planner.horizon=3: whose option? Name the class as well: "
            "--planner CLASS --planner.horizon=3",
        ),
        ("--planner=CEMM", "--planner: expected package.module.Class, not CEMM"),
        ("--model.encoder=Conv", "--model.encoder: expected package.module.Class, not Conv"),
        ("--model.terms=3", "--model.terms=3: give one of Sequence[LossTerm], null"),
        (
            "--mpc.objective=Curiosty",
            "--mpc.objective: expected package.module.Class, not Curiosty",
        ),
    ],
)
def test_what_an_option_takes_is_told_in_plain_words(given, told):
    with pytest.raises(ValueError, match="--") as error:
        built(given)
    assert str(error.value) == told


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (
            ["--config=planet", "--planner.horzon=3"],
            "--planner.horzon: did you mean --planner.hori",
        ),
        (["--config=planet", "--planner.horizon=x"], "--planner.horizon=x: expected int"),
        (
            ["--config=distill", "--behaviour.teacher.horzon=3"],
            "--behaviour.teacher.horzon: did you mean --behaviour.teacher.horizon",
        ),
        (
            ["--config=distill", "--behaviour.teacher.horizon=x"],
            "--behaviour.teacher.horizon=x: expected int",
        ),
        (["--planner.horizon=3"], "Name the class as well: --planner CLASS --planner.horizon=3"),
    ],
)
def test_a_mistake_in_an_optional_part_names_the_option_and_the_fix(arguments, told):
    with pytest.raises(ValueError, match=told) as error:
        fit_parser().read(arguments)
    assert "\n" not in str(error.value)
