"""Help, version, and one line for every mistake."""

import inspect
import os
import pty
import re
import subprocess
import sys
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

import pytest

from worldmodels.cli.compare import compare_parser
from worldmodels.cli.curves import curves_parser
from worldmodels.cli.evaluate import evaluate_parser
from worldmodels.cli.imagine import imagine_parser
from worldmodels.cli.main import COMMANDS, main
from worldmodels.evaluation import compare, evaluate, imagine
from worldmodels.viz.curves import curves

SAMPLE = Path(__file__).parent.parent.parent / "data" / "pong-sample"


def test_no_command_lists_the_commands(do):
    done = do()
    assert (done.status, done.out) == (2, "")
    for name, (_, text) in COMMANDS.items():
        assert f"  {name:<10}{text}\n" in done.err
    for words in (["--help"], ["-h"], ["help"]):
        helped = do(*words)
        assert (helped.status, helped.err) == (0, "")
        assert helped.out.startswith("usage: worldmodels COMMAND")
        assert "WORLDMODELS_DEBUG=1" in helped.out


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_there(name):
    module, function = COMMANDS[name][0].split(":")
    assert callable(getattr(import_module(module), function))


def test_the_version_is_told(do):
    done = do("--version")
    assert (done.status, done.out) == (0, f"worldmodels {version('worldmodels')}\n")


def test_help_of_a_command_is_its_help(do):
    assert do("help", "evaluate").out == do("evaluate", "--help").out


def test_an_unknown_command_is_named_with_a_likely_one(do):
    told = do.mistake("evalute")
    assert told == "worldmodels: unknown command 'evalute': did you mean evaluate?"
    assert "'xyz': choose one of demo, fit, evaluate" in do.mistake("xyz")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("evaluate", "--sequences SEQUENCES"),
        ("compare", "--planners PLANNERS"),
        ("imagine", "sequences imagined from the same state"),
        ("curves", "--metrics METRICS"),
        ("collect", "the data set's folder"),
        ("data", "{inspect}"),
        ("check", "{env,encoder,decoder,dynamics"),
        ("check env", "--num_envs NUM_ENVS"),
        ("check encoder", "--obs-shape OBS_SHAPE"),
        ("check decoder", "package.module.Class"),
        ("check dynamics", "package.module.Class"),
        ("bench", "--repeats REPEATS"),
        ("study", "--smoke"),
    ],
)
def test_help_tells_the_options_of_a_command(do, words, told):
    done = do(*words.split(), "--help")
    assert (done.status, done.err) == (0, "")
    assert re.match(rf"usage: worldmodels {words} [-\[{{]", done.out)
    assert told in done.out


@pytest.mark.parametrize(
    ("parser", "function"),
    [
        (evaluate_parser, evaluate),
        (imagine_parser, imagine),
        (compare_parser, compare),
        (curves_parser, curves),
    ],
)
def test_options_have_the_defaults_of_the_function(parser, function):
    arguments = inspect.signature(function).parameters
    given = ["x", "--out=x"] if "--out" in parser()._option_string_actions else ["x"]
    options = parser().parse_args(given).as_dict()
    own = {"run", "runs", "out", "json"}
    if function in (compare, curves):
        # Written a,b,c on a command line, sequences in Python.
        own |= {"planners", "metrics"}
        assert "planners" not in options or not options["planners"]
        assert "metrics" not in options or (options["metrics"],) == arguments["metrics"].default
    for name in options.keys() - own:
        assert options[name] == arguments[name].default, name
    assert options.keys() - {"json", "out"} <= arguments.keys()


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("evaluate", "evaluate: the following arguments are required: run"),
        ("evaluate nowhere", "evaluate: no trained model in nowhere: expected nowhere/model/"),
        ("evaluate x --episode=3", "evaluate: unknown option --episode: did you mean --episodes?"),
        ("evaluate x --episodes=y", "evaluate: --episodes=y: expected int"),
        ("evaluate x --horizon=0", "evaluate: horizon=0: choose 1 or more"),
        ("evaluate x --data=y --planner=CEM", "evaluate: with data nothing is played: leave out"),
        ("imagine x --futures=0", "imagine: futures=0: choose 1 or more"),
        ("imagine nowhere", "imagine: no trained model in nowhere: expected nowhere/model/"),
        (
            "imagine nowhere --out x.xyz",
            "imagine: video path 'x.xyz' must end in .mp4, .gif, .webp",
        ),
        ("compare x --episodes=0", "compare: episodes=0: choose 1 or more"),
        ("collect --out d", "collect: the following arguments are required: env"),
        ("collect --env Nope-v0 --out d", "collect: unknown environment 'Nope-v0': did you mean"),
        (
            "collect --env worldmodels/CliffHill-v0 --out d --run nowhere",
            "collect: no trained model in nowhere",
        ),
        ("data", "data: the following arguments are required: action, folder"),
        ("data show x", "data: argument action: invalid choice: 'show' (choose from 'inspect')"),
        ("data inspect nowhere", "data: no data set in nowhere: expected nowhere/dataset.json"),
        ("check", "check: the following arguments are required: kind"),
        ("check planer x", "check: argument kind: invalid choice: 'planer'"),
        ("check env", "check: the following arguments are required: id"),
        ("check env Nope-v0", "check: unknown environment 'Nope-v0'"),
        ("check encoder ViT", "check: 'ViT': give the whole path, package.module.Class"),
        ("check encoder no.ViT", "check: 'no.ViT': cannot import no (No module named 'no')"),
        (
            "check encoder worldmodels.nn.encoders.ViT",
            "check: 'worldmodels.nn.encoders.ViT': module worldmodels.nn.encoders has no class ViT",
        ),
        (
            "check encoder worldmodels.nn.encoders.ConvEncoder --obs-shape 3,64",
            "check: --obs-shape 3,64: give C,h,w such as 3,96,96",
        ),
        (
            "check encoder worldmodels.nn.decoders.ConvDecoder",
            "check: ConvDecoder is not a subclass of Encoder",
        ),
        ("bench plan --repeats=0", "bench: repeats=0: choose 1 or more"),
        ("study", "study: give one study's name, --all, --list or --publish"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(do, words, line):
    assert do.mistake(*words.split()).startswith(f"worldmodels {line}")


def test_a_traceback_is_shown_on_demand(do, monkeypatch):
    monkeypatch.setenv("WORLDMODELS_DEBUG", "1")
    with pytest.raises(FileNotFoundError, match="no trained model in nowhere"):
        do("evaluate", "nowhere")


def test_an_interruption_is_told_in_a_line(do, monkeypatch):
    def interrupted(folder):
        raise KeyboardInterrupt

    monkeypatch.setattr("worldmodels.replay.inspect.inspect_dataset", interrupted)
    done = do("data", "inspect", "x")
    assert (done.status, done.err) == (130, "worldmodels data: interrupted\n")


def test_a_folder_that_is_no_run_is_refused(do, counted):
    assert do.mistake("evaluate", counted) == (
        f"worldmodels evaluate: no trained model in {counted}: expected {counted}/model/model.json"
    )
    folder = Path("other/model")
    folder.mkdir(parents=True)
    for text in ("{}", "not json"):
        (folder / "model.json").write_text(text)
        told = do.mistake("imagine", "other")
        assert "other/model/model.json is not a model of worldmodels" in told


def test_weights_that_are_damaged_are_named(do, mine):
    weights = Path(mine, "model", "weights.safetensors")
    weights.write_bytes(weights.read_bytes()[:1000])
    assert f"{mine}/model/weights.safetensors is damaged (" in do.mistake("imagine", mine)


def test_a_path_that_cannot_be_written_is_named(do):
    Path("file").write_text("")
    told = do.mistake("collect", "--env=worldmodels/Counting-v0", "--out=file/x", "--episodes=1")
    assert told == "worldmodels collect: file/x: Not a directory"


def script(*words):
    """The installed console script."""
    return subprocess.run(
        [Path(sys.executable).parent / "worldmodels", *words],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip


def test_the_installed_script_ends_with_the_status_and_prints_where_it_should():
    done = script("fly")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("worldmodels: unknown command 'fly'")
    done = script("data", "inspect", str(SAMPLE))
    assert (done.returncode, done.stderr) == (0, "")
    assert "ALE/Pong-v5" in done.stdout


def test_the_package_runs_as_a_module():
    done = subprocess.run(
        [sys.executable, "-m", "worldmodels.cli", "--version"], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, f"worldmodels {version('worldmodels')}\n")


@pytest.mark.parametrize(
    "words",
    [
        "evaluate --help", "imagine --help", "compare --help", "curves --help", "data --help",
        "check encoder --help", "bench --help", "study --help", "--help",
    ],
)  # fmt: skip
def test_help_waits_for_neither_torch_nor_matplotlib(words):
    program = (
        "import sys; from worldmodels.cli.main import main; "
        f"status = main({words.split()!r}); "
        "print(status, {'torch', 'lightning', 'matplotlib', 'av'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "0 set()", done.stderr


@pytest.mark.parametrize(
    ("words", "first"),
    [
        ("fit --uptades=3", "worldmodels fit: reading options ..."),
        ("demo --uptades=3", "worldmodels demo: reading options ..."),
        ("evaluate nowhere", "worldmodels evaluate: loading nowhere ..."),
        ("imagine nowhere", "worldmodels imagine: loading nowhere ..."),
        ("compare nowhere", "worldmodels compare: loading nowhere ..."),
        ("curves nowhere", "worldmodels curves: reading 1 runs ..."),
        ("collect --env=Nope", "worldmodels collect: reading options ..."),
        ("data inspect nowhere", "worldmodels data: reading nowhere ..."),
        ("check env", "worldmodels check: reading options ..."),
        ("check encoder no.ViT", "worldmodels check: building no.ViT ..."),
    ],
)
def test_a_person_who_waits_is_told_at_once_what_is_done(words, first, monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert main(words.split()) == 2
    captured = capsys.readouterr()
    assert captured.err.splitlines()[0] == first
    assert captured.out == ""


def test_the_first_line_reaches_a_terminal_before_torch_is_imported():
    leader, follower = pty.openpty()
    program = (
        "import sys; from worldmodels.cli import status, evaluate\n"
        "told = status.announce\n"
        "def announce(*words):\n"
        "    told(*words); print('torch' in sys.modules)\n"
        "evaluate.announce = announce\n"
        "from worldmodels.cli.main import main; main(['evaluate', 'nowhere'])"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=follower, text=True)
    assert done.stdout == "False\n"
    assert os.read(leader, 1000).startswith(b"worldmodels evaluate: loading nowhere ...")
    os.close(leader)
    os.close(follower)
