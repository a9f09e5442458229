"""`worldmodels collect`: record episodes into a data set."""

from collections.abc import Sequence
from pathlib import Path

from worldmodels.cli.status import announce
from worldmodels.config import OptionParser


def collect(arguments: Sequence[str]) -> None:
    """Records episodes of a random agent, or of a trained one, into a data set."""
    announce("collect", "reading options")
    # Imported on use: the first line above need not wait for torch.
    from worldmodels.envs.make import make_env
    from worldmodels.evaluation.record import record

    parser = OptionParser(prog="worldmodels collect", description=collect.__doc__)
    parser.add_argument("--env", type=str, required=True, help="environment id, see make_env")
    parser.add_argument("--episodes", type=int, default=10)
    parser.add_argument("--out", type=Path, required=True, help="the data set's folder")
    parser.add_argument("--run", type=str | None, default=None, help="act with this run's agent")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_function_arguments(make_env, skip={"id"})
    options = parser.read(arguments).as_dict()
    job = {name: options.pop(name) for name in ("env", "episodes", "out", "run", "seed")}
    print("\n".join(record(**job, options=options).lines()))
