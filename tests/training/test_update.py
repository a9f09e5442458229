"""One update: gradients, clipping, learning rates, accumulation, precision, two stages."""

import itertools
from functools import partial

import lightning as L
import pytest
import torch
from tiny_training import DREAMER, MODEL, STUDENT, learn, small_agent

from worldmodels.losses import BalancedKL, Continues, LatentConsistency, Reconstruction, Reward
from worldmodels.training.module import WorldModelModule
from worldmodels.training.settings import Optimiser, Trainer
from worldmodels.types import Batch


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


def moved(history):
    """Whether each batch changed any weight."""
    return [
        any(not torch.equal(old, new) for old, new in zip(before, after))
        for before, after in itertools.pairwise(history)
    ]


@pytest.fixture
def offline(planned):
    return {"data": planned / "replay", "round_updates": 2}


def test_first_the_encoder_learns_alone_then_the_dynamics_over_a_frozen_one(tmp_path, offline):
    watch = Watch()
    run = learn(
        tmp_path,
        autoencoder_updates=3,
        optimiser=Optimiser(weight_decay=0.1),
        callbacks=[watch],
        **offline,
    )
    assert moved(watch.encoder) == [True] * 3 + [False] * 3
    assert moved(watch.dynamics) == [False] * 3 + [True] * 3
    logged = [line for line in run.metrics if "train/loss" in line]
    assert ["train/loss/autoencoder" in line for line in logged] == [True] * 3 + [False] * 3
    assert ["train/loss/image" in line for line in logged] == [False] * 3 + [True] * 3


def test_jointly_both_learn_from_the_first_update_on(tmp_path, offline):
    watch = Watch()
    learn(tmp_path, updates=2, callbacks=[watch], **offline)
    assert moved(watch.encoder) == moved(watch.dynamics) == [True] * 2


def test_accumulating_two_batches_makes_half_the_updates(tmp_path, offline):
    watch = Watch()
    learn(tmp_path, updates=4, optimiser=Optimiser(accumulate=2), callbacks=[watch], **offline)
    # `updates` counts steps of the optimiser, so eight batches make four of them.
    assert watch.updates == [0, 1, 1, 2, 2, 3, 3, 4]
    assert moved(watch.dynamics) == [False, True] * 4


class Gradients(L.Callback):
    """Every part's gradient before and after clipping, and its learning rate, at every update."""

    def __init__(self):
        self.before, self.after, self.rates = [], [], []

    def on_after_backward(self, trainer, module):
        self._latest = self._gradients(module)

    def on_before_optimizer_step(self, trainer, module, optimizer):
        self.before.append(self._latest)
        self.after.append(self._gradients(module))
        self.rates.append([group["lr"] for group in optimizer.param_groups])

    def _gradients(self, module):
        return [
            torch.cat([p.grad.flatten() for p in group.parameters if p.grad is not None]).clone()
            for group in module.parameter_groups()
        ]


ACTOR_CRITIC = partial(DREAMER, actor_learning_rate=2e-3, critic_learning_rate=4e-3)


def test_each_parts_gradient_is_clipped_by_its_own_norm(tmp_path, offline):
    watch = Gradients()
    agent = small_agent(behaviour=ACTOR_CRITIC)
    learn(
        tmp_path, agent=agent, optimiser=Optimiser(gradient_clip=3.0), callbacks=[watch], **offline
    )
    clipped = []
    for before, after in zip(watch.before, watch.after, strict=True):
        assert len(before) == 3  # world model, actor, critic
        for gradient, found in zip(before, after, strict=True):
            norm = float(gradient.double().square().sum().sqrt())
            torch.testing.assert_close(found, gradient * min(1.0, 3.0 / norm), rtol=1e-4, atol=1e-7)
            clipped.append(norm > 3.0)
    # Of the three parts, the world model alone has large gradients.
    assert clipped == [True, False, False] * 6


@pytest.mark.parametrize("accumulate", [1, 2])
def test_learning_rates_fall_to_zero_over_the_last_share_of_updates(tmp_path, offline, accumulate):
    watch = Gradients()
    optimiser = Optimiser(learning_rate=1e-3, cooldown=0.5, accumulate=accumulate)
    agent = small_agent(behaviour=ACTOR_CRITIC)
    learn(tmp_path, agent=agent, updates=8, optimiser=optimiser, callbacks=[watch], **offline)
    left = [1, 1, 1, 1, 1, 0.75, 0.5, 0.25]
    # Each part has two groups: what decays, and what does not.
    expected = torch.tensor(left)[:, None] * torch.tensor([1e-3, 2e-3, 4e-3]).repeat_interleave(2)
    torch.testing.assert_close(torch.tensor(watch.rates), expected)


def test_learning_rates_rise_from_zero_over_the_first_updates(tmp_path, offline):
    watch = Gradients()
    agent = small_agent(behaviour=ACTOR_CRITIC)
    optimiser = Optimiser(learning_rate=1e-3, warmup=4, cooldown=0.25)
    learn(tmp_path, agent=agent, updates=8, optimiser=optimiser, callbacks=[watch], **offline)
    reached = [0, 0.25, 0.5, 0.75, 1, 1, 1, 0.5]
    rates = torch.tensor([1e-3, 2e-3, 4e-3]).repeat_interleave(2)
    expected = torch.tensor(reached)[:, None] * rates
    torch.testing.assert_close(torch.tensor(watch.rates), expected)


def test_without_a_bound_no_gradient_is_clipped(tmp_path, offline):
    watch = Gradients()
    learn(tmp_path, optimiser=Optimiser(gradient_clip=None), callbacks=[watch], **offline)
    for before, after in zip(watch.before, watch.after, strict=True):
        assert max(float(gradient.norm()) for gradient in before) > 3
        assert all(map(torch.equal, before, after))


def test_an_update_is_a_step_of_laprop_by_hand(tmp_path, offline):
    """Both averages corrected: the first step is lr times the sign of the gradient."""
    kept = {}

    class Keep(L.Callback):
        def on_before_optimizer_step(self, trainer, module, optimizer):
            for name, parameter in module.agent.named_parameters():
                kept[name] = parameter.detach().clone(), parameter.grad

    optimiser = Optimiser(name="laprop", learning_rate=1e-2, gradient_clip=None)
    agent = small_agent()
    run = learn(
        tmp_path, agent=agent, updates=1, optimiser=optimiser, callbacks=[Keep()], **offline
    )
    after, clipped = dict(run.agent.named_parameters()), 0
    for name, (weight, gradient) in kept.items():
        step = weight
        if gradient is not None:
            step = weight - 1e-2 * gradient.sign()
            clipped += float(gradient.norm() / weight.norm().clamp(min=1e-3)) > 0.3
        torch.testing.assert_close(after[name], step, rtol=1e-5, atol=1e-6, msg=name)
    assert clipped > 3


def test_laprop_has_no_weight_decay():
    with pytest.raises(ValueError, match=r"weight_decay=0\.1 with name=laprop, which has none"):
        Optimiser(name="laprop", weight_decay=0.1)
    with pytest.raises(ValueError, match=r"optimiser: agc=0\.0: choose a number above 0"):
        Optimiser(name="laprop", agc=0.0)


def test_an_update_is_a_step_of_adamw_by_hand(tmp_path, offline):
    """m = (1 - b1) g and v = (1 - b2) g^2, both corrected: the first step is lr g / (|g| + eps)."""
    kept = {}

    class Keep(L.Callback):
        def on_before_optimizer_step(self, trainer, module, optimizer):
            for name, parameter in module.agent.named_parameters():
                kept[name] = parameter.detach().clone(), parameter.grad

    agent = small_agent()
    optimiser = Optimiser(learning_rate=1e-2, weight_decay=0.5)
    run = learn(
        tmp_path, agent=agent, updates=1, optimiser=optimiser, callbacks=[Keep()], **offline
    )
    after = dict(run.agent.named_parameters())
    assert {weight.dim() > 1 for weight, _ in kept.values()} == {False, True}
    for name, (weight, gradient) in kept.items():
        # Matrices and kernels decay; biases and the gains of norms do not.
        step = weight * (1 - 1e-2 * 0.5) if weight.dim() > 1 else weight
        if gradient is not None:
            step = step - 1e-2 * gradient / (gradient.abs() + 1e-8)
        torch.testing.assert_close(after[name], step, rtol=1e-5, atol=1e-6, msg=name)


def test_mixed_precision_computes_in_bfloat16_and_keeps_its_weights(tmp_path, offline):
    seen = set()

    def note(module, inputs, output):
        if isinstance(output, torch.Tensor):
            seen.add((type(module).__name__, output.dtype))

    handle, watch = torch.nn.modules.module.register_module_forward_hook(note), Watch()
    try:
        run = learn(
            tmp_path,
            updates=2,
            trainer=Trainer(precision="bf16-mixed"),
            callbacks=[watch],
            **offline,
        )
    finally:
        handle.remove()
    assert ("Conv2d", torch.bfloat16) in seen
    # The recurrent loop stays in float32.
    assert ("NormGRUCell", torch.bfloat16) not in seen
    assert torch.isfinite(torch.tensor(watch.losses)).all()
    assert moved(watch.dynamics) == [True] * 2
    for name, parameter in run.agent.world_model.named_parameters():
        assert parameter.dtype == torch.float32
        assert torch.isfinite(parameter).all(), name


def test_the_backward_pass_is_not_rounded_again_by_autocast(tmp_path, offline):
    """A product in float32 whose gradient autocast would compute in bfloat16."""
    seen = []

    class Note(L.Callback):
        def on_train_start(self, trainer, module):
            for parameter in filter(lambda p: p.requires_grad, module.agent.parameters()):
                parameter.register_hook(lambda _: seen.append(torch.is_autocast_enabled("cpu")))

    agent = small_agent(behaviour=DREAMER)
    learn(
        tmp_path,
        agent=agent,
        updates=2,
        trainer=Trainer(precision="bf16-mixed"),
        callbacks=[Note()],
        **offline,
    )
    assert seen
    assert not any(seen)


def batch(rows):
    """Fixed sequences of five rows; ``rows`` are some of the four."""
    generator = torch.Generator().manual_seed(1)
    first = torch.zeros(4, 5, dtype=torch.bool)
    first[:, 0] = True
    whole = Batch(
        torch.randint(0, 256, (4, 5, 3, 16, 16), generator=generator).to(torch.uint8),
        torch.rand(4, 5, 1, generator=generator) * 2 - 1,
        torch.randn(4, 5, generator=generator),
        first,
        torch.zeros(4, 5, dtype=torch.bool),
    )
    return Batch(*(field[rows] for field in whole))


TERMS = (Reconstruction(), Reward(), Continues(), BalancedKL(free_nats=0.0))


def noiseless_agent():
    """Which batch draws which noise is not the question here."""
    agent = small_agent(model=partial(MODEL, terms=TERMS))
    agent.world_model.dynamics.latent.noise = lambda shape, like: like.new_zeros(*shape, 4)
    return agent


def one_update(batches, **trainer):
    """The gradients that one update from these batches steps along."""
    kept = {}

    class Keep(L.Callback):
        def on_before_optimizer_step(self, trainer, module, optimizer):
            kept.update({name: p.grad.clone() for name, p in module.named_parameters()})

    module = WorldModelModule(
        noiseless_agent(), 1, Optimiser(gradient_clip=1e9, accumulate=len(batches))
    )
    loop = L.Trainer(
        accelerator="cpu", max_epochs=1, callbacks=[Keep()], logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    loop.fit(module, torch.utils.data.DataLoader(batches, batch_size=None))
    assert module.update == 1
    return kept


def test_two_batches_accumulate_to_the_gradient_of_one_of_twice_the_size():
    whole = one_update([batch(slice(0, 4))])
    halves = one_update([batch(slice(0, 2)), batch(slice(2, 4))])
    assert sum(gradient.abs().max() > 0 for gradient in whole.values()) > 0.5 * len(whole)
    for name, gradient in whole.items():
        bound = 5e-4 * float(gradient.abs().max())
        torch.testing.assert_close(halves[name], gradient, atol=bound, rtol=0, msg=name)


def test_moving_averages_follow_once_an_update(tmp_path, offline):
    agent = small_agent(behaviour=STUDENT)
    calls = []
    for part in (agent.world_model, agent.behaviour):
        follow = part.update_target
        part.update_target = lambda part=part, follow=follow: (calls.append(part), follow())
    learn(tmp_path, agent=agent, updates=2, optimiser=Optimiser(accumulate=2), **offline)
    assert calls == [agent.world_model, agent.behaviour] * 2
    assert agent.behaviour.updates == 2


def test_a_frozen_models_moving_averages_stand_still(tmp_path, offline):
    term = LatentConsistency()
    agent = small_agent(
        model=partial(MODEL, decoder=None, terms=(term, Reward(), Continues(), BalancedKL())),
        behaviour=DREAMER,
    )
    agent.world_model.requires_grad_(False)
    with torch.no_grad():
        for parameter in agent.world_model.encoder.parameters():
            parameter += 1
    before = {name: value.clone() for name, value in agent.world_model.state_dict().items()}
    run = learn(tmp_path, agent=agent, **offline)
    for name, value in run.agent.world_model.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert run.agent.behaviour.actor.net.output.weight.abs().sum() > 0


def test_what_is_frozen_cannot_learn(tmp_path, offline):
    agent = small_agent()
    agent.world_model.requires_grad_(False)
    with pytest.raises(ValueError, match="world model is frozen: give --behaviour"):
        learn(tmp_path, agent=agent, **offline)
    agent = small_agent(behaviour=DREAMER)
    agent.world_model.encoder.requires_grad_(False)
    with pytest.raises(ValueError, match="autoencoder_updates=2: the encoder is frozen"):
        learn(tmp_path, agent=agent, autoencoder_updates=2, **offline)
