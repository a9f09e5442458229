"""The further loggers of a run: metrics beside `metrics.jsonl`, and pictures."""

from collections.abc import Callable, Iterable
from importlib.util import find_spec
from pathlib import Path

from lightning.pytorch.loggers import Logger, TensorBoardLogger, WandbLogger

# Each is named as its package and as our extra that installs it.
LOGGERS: dict[str, Callable[[Path], Logger]] = {
    "tensorboard": lambda path: TensorBoardLogger(path, name="", version="tensorboard"),
    "wandb": lambda path: WandbLogger(name=path.name, save_dir=path, project="worldmodels"),
}


def open_loggers(names: Iterable[str], run: Path) -> list[Logger]:
    """Makes the loggers named; they write into the run's folder.

    Raises:
        ValueError: for a name that is not in ``LOGGERS``.
        ModuleNotFoundError: when a logger's package is not installed.
    """
    return [_open(name, run) for name in names]


def _open(name: str, run: Path) -> Logger:
    if name not in LOGGERS:
        raise ValueError(f"--loggers {name}: choose from {', '.join(LOGGERS)}")
    if find_spec(name) is None:
        raise ModuleNotFoundError(
            f'--loggers {name}: {name} is not installed, run `pip install "worldmodels[{name}]"`'
        )
    return LOGGERS[name](run)
