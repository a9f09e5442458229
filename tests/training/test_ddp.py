"""Two processes learn what one process with the joined batch learns, and share one recording."""

import os
import subprocess
import sys

import lightning as L
import torch
from test_update import batch, noiseless_agent, one_update

from worldmodels.checkpoint import load
from worldmodels.replay.store import EpisodeStore
from worldmodels.training.metrics import read_metrics
from worldmodels.training.module import WorldModelModule
from worldmodels.training.settings import Optimiser


class Halves(L.LightningDataModule):
    """One batch, of which each process gets a half."""

    def train_dataloader(self):
        first = 2 * self.trainer.global_rank
        rows = batch(slice(first, first + 2))
        return torch.utils.data.DataLoader([rows], batch_size=None)


class Keep(L.Callback):
    """Writes what each process steps along."""

    def __init__(self, folder):
        self.folder = folder

    def on_before_optimizer_step(self, trainer, module, optimizer):
        gradients = {name: p.grad.clone() for name, p in module.named_parameters()}
        facts = {"world": trainer.world_size, "gradients": gradients}
        torch.save(facts, self.folder / f"gradients-{trainer.global_rank}.pt")


def test_two_processes_have_the_gradients_of_one_with_the_joined_batch(tmp_path, monkeypatch):
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    whole = one_update([batch(slice(0, 4))])
    # Heads start at zero, so their hidden layers have no gradient in the first update.
    assert sum(gradient.abs().max() > 0 for gradient in whole.values()) > 0.5 * len(whole)
    # Copies of this process: they need not import everything again.
    loop = L.Trainer(
        accelerator="cpu", devices=2, strategy="ddp_fork", max_epochs=1, callbacks=[Keep(tmp_path)],
        logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, use_distributed_sampler=False,
    )  # fmt: skip
    loop.fit(WorldModelModule(noiseless_agent(), 1, Optimiser(gradient_clip=1e9)), Halves())
    for rank in range(2):
        facts = torch.load(tmp_path / f"gradients-{rank}.pt")
        assert facts["world"] == 2
        assert facts["gradients"].keys() == whole.keys()
        for name, gradient in whole.items():
            # Sums of thousands of float32 terms in another order: compared at the tensor's scale.
            bound = 5e-4 * float(gradient.abs().max())
            torch.testing.assert_close(
                facts["gradients"][name], gradient, atol=bound, rtol=0, msg=name
            )


# The whole of `fit`, and what each process saw of it. A script of its own: Lightning starts the
# second process by running the same file again.
FIT = """
import sys

import lightning as L
import torch

from worldmodels.cli.fit import fit

OPTIONS = [
    "--env.id=worldmodels/CliffHill-v0", "--env.num_envs=2", "--env.size=[16,16]",
    "--env.time_limit=8",
    "--model.encoder.depth=2", "--model.decoder.depth=2",
    "--model.dynamics.stoch=4", "--model.dynamics.deter=8", "--model.dynamics.hidden=8",
    "--planner=CEM", "--planner.horizon=2", "--planner.candidates=4", "--planner.iterations=1",
    "--planner.elites=2",
    "--batches.batch_size=2", "--batches.batch_length=4",
    "--collect.prefill=16", "--collect.replay_ratio=1.6",
    "--evaluate.every=0", "--updates=4", "--round_updates=2", "--log_every=1",
    "--trainer.accelerator=cpu", "--trainer.devices=2", "--trainer.strategy=ddp",
]


class Keep(L.Callback):
    def __init__(self):
        self.facts = {"episodes": [], "batches": []}

    def on_train_batch_start(self, trainer, module, batch, index):
        buffer = trainer.datamodule.buffer
        if index == 0:
            self.facts["writable"] = buffer.store.writable
            self.facts["episodes"].append([float(e.reward.sum()) for e in buffer.store])
        self.facts["batches"].append(batch[2].sum().item())

    def on_train_end(self, trainer, module):
        self.facts["weights"] = module.world_model.state_dict()
        torch.save(self.facts, f"{sys.argv[1]}/rank-{trainer.global_rank}.pt")


fit([*OPTIONS, f"--out={sys.argv[1]}", "--name=run"], [Keep()])
"""


def test_two_processes_share_what_the_first_one_records(tmp_path):
    script = tmp_path / "learn.py"
    script.write_text(FIT)
    done = subprocess.run(
        [sys.executable, script, str(tmp_path)],
        env=os.environ | {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    first, second = (torch.load(tmp_path / f"rank-{rank}.pt") for rank in range(2))
    assert (first["writable"], second["writable"]) == (True, False)
    # 16 random steps; after 2 updates of 2 processes 32 steps are replayed: 20 more, in pairs of 8.
    store = EpisodeStore(tmp_path / "run" / "replay")
    recorded = [(episode.policy, episode.round) for episode in store]
    assert recorded == [("random", 0)] * 2 + [("planner", 1)] * 4
    returns = [float(episode.reward.sum()) for episode in store]
    assert first["episodes"] == second["episodes"] == [returns[:2], returns]
    # Each draws its own batches, and together they learn one model.
    assert len(first["batches"]) == len(second["batches"]) == 4
    assert not set(first["batches"]) & set(second["batches"])
    weights = load(tmp_path / "run").world_model.state_dict()
    for name, value in weights.items():
        assert torch.equal(value, first["weights"][name]), name
        assert torch.equal(value, second["weights"][name]), name
    lines = read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert [line["update"] for line in lines if "train/loss" in line] == [1, 2, 3, 4]
