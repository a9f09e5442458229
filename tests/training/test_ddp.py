"""Two processes learn what one process with the joined batch learns, and share one recording."""

import json
import os
import subprocess
import sys

import torch

from worldmodels import load
from worldmodels.replay.store import EpisodeStore

# A script of its own: Lightning starts the second process by running the same file again.
SCRIPT = """
import sys
from functools import partial

import lightning as L
import torch

from worldmodels.agent import Agent
from worldmodels.dynamics import GaussianRSSM
from worldmodels.nn.decoders import ConvDecoder
from worldmodels.nn.encoders import ConvEncoder
from worldmodels.planning import CEM
from worldmodels.planning.mpc import MPC
from worldmodels.training.module import WorldModelModule
from worldmodels.types import ActionSpace, Batch
from worldmodels.world_model import WorldModel

SHAPE, SPACE, STEPS = (3, 16, 16), ActionSpace(1, False), 5


def made():
    torch.manual_seed(0)
    model = WorldModel(
        SHAPE, SPACE,
        encoder=partial(ConvEncoder, depth=2), decoder=partial(ConvDecoder, depth=2),
        dynamics=partial(GaussianRSSM, stoch=4, deter=8, hidden=8), free_nats=0.0,
    )
    # Which process draws which noise is not the question here.
    model.dynamics.latent.noise = lambda shape, like: like.new_zeros(*shape, 4)
    return WorldModelModule(Agent(model, MPC(CEM(SPACE, horizon=2, candidates=4, elites=2))))


def joined():
    generator = torch.Generator().manual_seed(1)
    first = torch.zeros(4, STEPS, dtype=torch.bool)
    first[:, 0] = True
    return Batch(
        torch.randint(0, 256, (4, STEPS, *SHAPE), generator=generator).to(torch.uint8),
        torch.rand(4, STEPS, 1, generator=generator) * 2 - 1,
        torch.randn(4, STEPS, generator=generator),
        first,
        torch.zeros(4, STEPS, dtype=torch.bool),
    )


class Data(L.LightningDataModule):
    def train_dataloader(self):
        share = 4 // self.trainer.world_size
        rows = slice(self.trainer.global_rank * share, (self.trainer.global_rank + 1) * share)
        batch = Batch(*(field[rows] for field in joined()))
        return torch.utils.data.DataLoader([batch], batch_size=None)


class Keep(L.Callback):
    def on_before_optimizer_step(self, trainer, module, optimizer):
        gradients = {name: p.grad.clone() for name, p in module.named_parameters()}
        facts = {"world": trainer.world_size, "gradients": gradients}
        torch.save(facts, f"{sys.argv[2]}/gradients-{trainer.world_size}-{trainer.global_rank}.pt")


devices = int(sys.argv[1])
trainer = L.Trainer(
    accelerator="cpu", devices=devices, strategy="ddp" if devices > 1 else "auto", max_steps=1,
    callbacks=[Keep()], logger=False, enable_checkpointing=False, enable_progress_bar=False,
    enable_model_summary=False, use_distributed_sampler=False,
)
trainer.fit(made(), Data())
"""


# The whole of `fit`, and what each process saw of it.
FIT = """
import sys

import lightning as L
import torch

from worldmodels.training.fit import fit

OPTIONS = [
    "--env.id=worldmodels/CliffHill-v0", "--env.num_envs=2", "--env.size=[16,16]",
    "--env.time_limit=8",
    "--model.encoder.depth=2", "--model.decoder.depth=2",
    "--model.dynamics.stoch=4", "--model.dynamics.deter=8", "--model.dynamics.hidden=8",
    "--planner.horizon=2", "--planner.candidates=4", "--planner.iterations=1",
    "--planner.elites=2",
    "--batches.batch_size=2", "--batches.batch_length=4",
    "--collect.prefill=16", "--collect.episodes=2", "--collect.updates_per_step=0.1",
    "--evaluate.every=0", "--updates=4", "--round_updates=2", "--metrics.every=1",
    "--trainer.accelerator=cpu", "--trainer.devices=2", "--trainer.strategy=ddp",
]


class Keep(L.Callback):
    def __init__(self):
        self.facts = {"episodes": [], "batches": []}

    def on_train_epoch_start(self, trainer, module):
        buffer = trainer.datamodule.buffer
        self.facts["writable"] = buffer.store.writable
        self.facts["episodes"].append([float(e.reward.sum()) for e in buffer.store])

    def on_train_batch_start(self, trainer, module, batch, index):
        self.facts["batches"].append(batch[2].sum().item())

    def on_train_end(self, trainer, module):
        self.facts["weights"] = module.world_model.state_dict()
        torch.save(self.facts, f"{sys.argv[2]}/rank-{trainer.global_rank}.pt")


fit([*OPTIONS, f"--out={sys.argv[2]}", "--name=run"], [Keep()])
"""


def run(tmp_path, devices, program=SCRIPT):
    script = tmp_path / "train.py"
    script.write_text(program)
    done = subprocess.run(
        [sys.executable, script, str(devices), str(tmp_path)],
        env=os.environ | {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr


def gradients(tmp_path, world, rank):
    facts = torch.load(tmp_path / f"gradients-{world}-{rank}.pt")
    assert facts["world"] == world
    return facts["gradients"]


def test_two_processes_have_the_gradients_of_one_with_the_joined_batch(tmp_path):
    run(tmp_path, 1)
    run(tmp_path, 2)
    whole = gradients(tmp_path, 1, 0)
    # Heads start at zero, so their hidden layers have no gradient in the first update.
    assert sum(gradient.abs().max() > 0 for gradient in whole.values()) > 0.5 * len(whole)
    for rank in range(2):
        shared = gradients(tmp_path, 2, rank)
        assert shared.keys() == whole.keys()
        for name, gradient in whole.items():
            # Sums of thousands of float32 terms in another order: compared at the tensor's scale.
            bound = 5e-4 * float(gradient.abs().max())
            torch.testing.assert_close(shared[name], gradient, atol=bound, rtol=0, msg=name)


def test_two_processes_share_what_the_first_one_records(tmp_path):
    run(tmp_path, 2, FIT)
    first, second = (torch.load(tmp_path / f"rank-{rank}.pt") for rank in range(2))
    assert (first["writable"], second["writable"]) == (True, False)
    # 16 random steps; after 2 updates the replay ratio wants 20 more, in pairs of 8 steps.
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
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    updates = [row["update"] for row in map(json.loads, lines) if "train/loss" in row]
    assert updates == [1, 2, 3, 4]
