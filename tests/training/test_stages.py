"""Two-stage training, gradient accumulation and mixed precision."""

import itertools

import lightning as L
import pytest
import torch

from worldmodels.training.fit import fit

OPTIONS = [
    "--env.id=worldmodels/CliffHill-v0", "--env.size=[16,16]", "--env.time_limit=12",
    "--model.encoder.depth=2", "--model.decoder.depth=2",
    "--model.dynamics.stoch=4", "--model.dynamics.deter=8", "--model.dynamics.hidden=8",
    "--planner.horizon=2", "--planner.candidates=4", "--planner.iterations=1",
    "--planner.elites=2",
    "--batches.batch_size=2", "--batches.batch_length=4",
    "--collect.prefill=24", "--collect.updates_per_step=10", "--evaluate.every=0",
]  # fmt: skip


class Watch(L.Callback):
    """Keeps the weights of encoder and dynamics, the loss and the counters after every batch."""

    def __init__(self):
        self.encoder, self.dynamics, self.losses, self.updates = [], [], [], []

    def on_train_start(self, trainer, module):
        self._keep(module)

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        self._keep(module)
        self.losses.append(float(outputs["loss"]))
        self.updates.append(module.update)

    def _keep(self, module):
        model = module.world_model
        self.encoder.append([p.detach().clone() for p in model.encoder.parameters()])
        self.dynamics.append([p.detach().clone() for p in model.dynamics.parameters()])


def watched(tmp_path, *more):
    watch = Watch()
    agent = fit([*OPTIONS, f"--out={tmp_path}", "--name=run", *more], [watch])
    return agent, watch


def moved(history):
    """Whether each update changed any weight."""
    return [
        any(not torch.equal(old, new) for old, new in zip(before, after))
        for before, after in itertools.pairwise(history)
    ]


def test_first_the_encoder_learns_alone_then_the_dynamics_over_a_frozen_one(tmp_path):
    _, watch = watched(
        tmp_path, "--updates=6", "--round_updates=2", "--train.autoencoder_updates=3",
        "--train.weight_decay=0.1",
    )  # fmt: skip
    assert moved(watch.encoder) == [True] * 3 + [False] * 3
    assert moved(watch.dynamics) == [False] * 3 + [True] * 3


def test_jointly_both_learn_from_the_first_update_on(tmp_path):
    _, watch = watched(tmp_path, "--updates=2", "--round_updates=2")
    assert moved(watch.encoder) == [True] * 2
    assert moved(watch.dynamics) == [True] * 2


def test_accumulating_two_batches_makes_half_the_updates(tmp_path):
    _, watch = watched(
        tmp_path, "--updates=4", "--round_updates=2", "--trainer.accumulate_grad_batches=2"
    )
    # --updates counts optimiser steps, so eight batches make four of them.
    assert watch.updates == [0, 1, 1, 2, 2, 3, 3, 4]
    assert moved(watch.dynamics) == [False, True] * 4


def test_mixed_precision_computes_in_bfloat16_and_stays_finite(tmp_path):
    seen = set()

    def note(module, inputs, output):
        seen.add((type(module).__name__, output.dtype))

    handle = torch.nn.modules.module.register_module_forward_hook(note)
    try:
        agent, watch = watched(
            tmp_path, "--updates=2", "--round_updates=2", "--trainer.precision=bf16-mixed"
        )
    finally:
        handle.remove()
    assert ("Conv2d", torch.bfloat16) in seen
    # The recurrent loop stays in float32.
    assert ("NormGRUCell", torch.bfloat16) not in seen
    assert torch.isfinite(torch.tensor(watch.losses)).all()
    assert moved(watch.dynamics) == [True] * 2
    for name, parameter in agent.world_model.named_parameters():
        assert parameter.dtype == torch.float32
        assert torch.isfinite(parameter).all(), name


@pytest.mark.parametrize("batches", [1, 2])
def test_learning_rates_fall_to_zero_over_the_last_share_of_updates(tmp_path, batches):
    rates = []

    class Rates(L.Callback):
        def on_train_batch_start(self, trainer, module, batch, batch_idx):
            (optimizer,) = trainer.optimizers
            rates.append([group["lr"] for group in optimizer.param_groups])

    options = [
        "--updates=8", "--round_updates=2", "--train.cooldown=0.5", "--train.learning_rate=1e-3",
        f"--trainer.accumulate_grad_batches={batches}",
        "--behaviour=ActorCritic", "--behaviour.hidden=8", "--behaviour.actor_learning_rate=2e-3",
        "--behaviour.critic_learning_rate=4e-3",
    ]  # fmt: skip
    fit([*OPTIONS, f"--out={tmp_path}", "--name=run", *options], [Rates()])
    left = [1, 1, 1, 1, 1, 0.75, 0.5, 0.25]
    expected = torch.tensor(left)[:, None] * torch.tensor([1e-3, 2e-3, 4e-3])
    torch.testing.assert_close(torch.tensor(rates)[batches - 1 :: batches], expected)


def test_a_cooldown_is_a_share(tmp_path):
    with pytest.raises(ValueError, match="choose a share, 0 to 1"):
        fit([*OPTIONS, f"--out={tmp_path}", "--name=run", "--train.cooldown=1.5"])
