"""Batches from recorded episodes, as a torch data set and a Lightning data module."""

from collections.abc import Callable, Iterator

import lightning as L
import torch
from torch import distributed
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from worldmodels.checks import check_at_least
from worldmodels.replay.buffer import ReplayBuffer, Seed
from worldmodels.types import Batch


class SequenceDataset(IterableDataset[Batch]):
    """Whole batches, numbered from ``first_batch`` on; the number and the seed decide a batch.

    Several workers give the same batches in the same order as none; each of them loads the
    episodes into memory of its own.

    Args:
        draw: a buffer's ``sample`` or ``sample_held_out``.
        batches: batches in one pass.
        batch_size: sequences in a batch.
        batch_length: rows of a sequence.
        seed: batch k is drawn with the seed ``(*seed, k)``.
    """

    def __init__(
        self,
        draw: Callable[[int, int, Seed], Batch],
        batches: int,
        batch_size: int,
        batch_length: int,
        seed: tuple[int, ...],
    ):
        sizes = {"batches": batches, "batch_size": batch_size, "batch_length": batch_length}
        check_at_least("SequenceDataset", 1, **sizes)
        self.batches, self.batch_size, self.batch_length = batches, batch_size, batch_length
        self.draw, self.seed, self.first_batch = draw, seed, 0

    def __len__(self) -> int:
        """Batches in one pass.

        Lightning prefetches one batch from a loader without a length, which would draw it from
        the episodes of the round before.
        """
        return self.batches

    def __iter__(self) -> Iterator[Batch]:
        """The batches of one pass, or this worker's share of them."""
        worker = get_worker_info()
        start, step = (0, 1) if worker is None else (worker.id, worker.num_workers)
        for index in range(start, self.batches, step):
            seed = (*self.seed, self.first_batch + index)
            yield self.draw(self.batch_size, self.batch_length, seed)


class ReplayDataModule(L.LightningDataModule):
    """Training batches from a replay buffer.

    Each process of a distributed run draws its own sequences.

    Args:
        buffer: the episodes.
        batches_per_epoch: batches in one epoch.
        seed: of the sequences drawn.
        batch_size: sequences in a batch, per process.
        batch_length: rows of a sequence.
        num_workers: processes that prepare batches; 0 prepares them in this one (half a
            millisecond each). Workers see the episodes there were when the epoch began.
        pin_memory: copy batches into page-locked memory first, for a faster way to a GPU.

    Attributes:
        batches: batches handed out so far, the cursor of an exact resume.

    Raises:
        ValueError: when a size is below 1.
    """

    def __init__(
        self,
        buffer: ReplayBuffer,
        batches_per_epoch: int,
        seed: int,
        batch_size: int = 16,
        batch_length: int = 64,
        num_workers: int = 0,
        pin_memory: bool = False,
    ):
        super().__init__()
        self.buffer, self.seed, self.batches = buffer, seed, 0
        self.batch_size, self.batch_length = batch_size, batch_length
        self.num_workers, self.pin_memory = num_workers, pin_memory
        self.batches_per_epoch = batches_per_epoch
        # Refuses a wrong size here, not when the first epoch begins.
        self.train_dataloader()

    def train_dataloader(self) -> DataLoader[Batch]:
        """The loader of training batches; each pass goes on where the last one stopped."""
        return _CountingLoader(self)

    def state_dict(self) -> dict[str, int]:
        """The number of batches handed out so far."""
        return {"batches": self.batches}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Goes on with the batch after the last one handed out."""
        self.batches = state_dict["batches"]


class _CountingLoader(DataLoader[Batch]):
    """A stock loader that reads and moves the data module's cursor, in this process alone."""

    def __init__(self, owner: ReplayDataModule):
        dataset = SequenceDataset(
            owner.buffer.sample,
            owner.batches_per_epoch,
            owner.batch_size,
            owner.batch_length,
            seed=(owner.seed, _rank()),
        )
        super().__init__(
            dataset,
            batch_size=None,
            num_workers=owner.num_workers,
            pin_memory=owner.pin_memory,
            # Its own, or every pass would take a number from torch's global generator.
            generator=torch.Generator(),
        )
        self._owner, self._sequences = owner, dataset

    def __iter__(self) -> Iterator[Batch]:  # pyright: ignore[reportIncompatibleMethodOverride]
        self._sequences.first_batch = self._owner.batches
        for batch in super().__iter__():
            self._owner.batches += 1
            yield batch


def _rank() -> int:
    started = distributed.is_available() and distributed.is_initialized()
    return distributed.get_rank() if started else 0
