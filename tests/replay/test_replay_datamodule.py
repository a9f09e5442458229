from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from recorded import numbered, record
from torch import nn

from worldmodels.replay import datamodule
from worldmodels.replay.buffer import ReplayBuffer
from worldmodels.replay.datamodule import ReplayDataModule
from worldmodels.types import Batch

SIZES: dict[str, Any] = {"batch_size": 3, "batch_length": 5}


@pytest.fixture
def buffer(tmp_path: Path) -> ReplayBuffer:
    return ReplayBuffer(record(tmp_path, [4, 1, 9, 30]))


def assert_batches(batches: list[Batch], buffer: ReplayBuffer, seeds: list[tuple[int, ...]]):
    for batch, seed in zip(batches, seeds, strict=True):
        expected = buffer.sample(3, 5, seed)
        assert all(torch.equal(a, b) for a, b in zip(batch, expected, strict=True))


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_are_numbered_through_all_passes(buffer: ReplayBuffer, workers: int):
    module = ReplayDataModule(buffer, 3, seed=7, **SIZES, num_workers=workers)
    loader = module.train_dataloader()
    assert len(loader) == 3
    batches = [*loader, *loader]
    assert module.batches == 6
    assert_batches(batches, buffer, [(7, 0, k) for k in range(6)])
    assert_batches(list(module.train_dataloader()), buffer, [(7, 0, k) for k in range(6, 9)])


def test_a_new_data_module_goes_on_where_the_state_says(buffer: ReplayBuffer):
    first = ReplayDataModule(buffer, 10, seed=1, **SIZES)
    loader = iter(first.train_dataloader())
    for _ in range(4):
        next(loader)
    state = first.state_dict()
    assert state == {"batches": 4}
    second = ReplayDataModule(buffer, 2, seed=1, **SIZES)
    second.load_state_dict(state)
    assert_batches(list(second.train_dataloader()), buffer, [(1, 0, 4), (1, 0, 5)])


def test_a_pass_shows_episodes_recorded_after_the_loader_was_made(buffer: ReplayBuffer):
    loader = ReplayDataModule(buffer, 2, seed=0, **SIZES).train_dataloader()
    list(loader)
    buffer.append(numbered(4, 50))
    assert_batches(list(loader), buffer, [(0, 0, 2), (0, 0, 3)])


def test_each_process_draws_its_own(buffer: ReplayBuffer, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(datamodule.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(datamodule.distributed, "get_rank", lambda: 3)
    monkeypatch.setattr(datamodule.distributed, "get_world_size", lambda: 4)
    loader = ReplayDataModule(buffer, 2, seed=5, **SIZES).train_dataloader()
    assert_batches(list(loader), buffer, [(5, 3, 0), (5, 3, 1)])


def test_drawing_batches_leaves_the_global_generators_alone(buffer: ReplayBuffer):
    before = torch.get_rng_state()
    list(ReplayDataModule(buffer, 2, seed=0, **SIZES).train_dataloader())
    assert torch.equal(torch.get_rng_state(), before)


class Recorder(L.LightningModule):
    """Keeps the batches it is trained on, and where the data module's cursor stood."""

    def __init__(self, data: ReplayDataModule):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
        self.batches, self.cursors = [], []
        self.cursor = lambda: data.batches

    def training_step(self, batch: Batch, batch_idx: int) -> torch.Tensor:
        self.batches.append(batch)
        self.cursors.append(self.cursor())
        return self.weight * batch.reward.sum()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 1e-3)


def trained(data: ReplayDataModule, folder: Path, epochs: int, resume: Path | None) -> Recorder:
    module = Recorder(data)
    trainer = L.Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        reload_dataloaders_every_n_epochs=1,
    )
    trainer.fit(module, data, ckpt_path=resume, weights_only=True)
    trainer.save_checkpoint(folder / "last.ckpt")
    return module


def test_lightning_prefetches_nothing_and_resumes_at_the_next_batch(
    buffer: ReplayBuffer, tmp_path: Path
):
    first = trained(ReplayDataModule(buffer, 3, 2, **SIZES), tmp_path, 2, None)
    assert first.cursors == [1, 2, 3, 4, 5, 6]
    assert_batches(first.batches, buffer, [(2, 0, k) for k in range(6)])
    data = ReplayDataModule(buffer, 3, 2, **SIZES)
    second = trained(data, tmp_path, 3, tmp_path / "last.ckpt")
    assert_batches(second.batches, buffer, [(2, 0, k) for k in range(6, 9)])


def test_sizes_below_one_are_refused_by_name(buffer: ReplayBuffer):
    with pytest.raises(ValueError, match="batch_length=0: choose 1 or more"):
        ReplayDataModule(buffer, 1, 0, batch_length=0)
    with pytest.raises(ValueError, match="batches=0: choose 1 or more"):
        ReplayDataModule(buffer, 0, 0)
