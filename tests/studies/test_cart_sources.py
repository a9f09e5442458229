from functools import partial

import numpy as np
import pytest
import torch

from worldmodels.dynamics.base import select_state
from worldmodels.dynamics.check import check_dynamics
from worldmodels.envs.worlds.cart_swing import CartSwing, CartSwingState
from worldmodels.nn.decoders import ConvDecoder
from worldmodels.nn.heads import NeverEnds
from worldmodels.nn.pixels import HalfRange
from worldmodels.planning import CEM
from worldmodels.studies.cart_fitting import (
    _Windows,
    fit_motions,
    fit_positions,
    levenberg_marquardt,
)
from worldmodels.studies.cart_physics import windows
from worldmodels.studies.cart_readout import CartReadout
from worldmodels.studies.cart_sources import (
    ArrivalReward,
    CartState,
    ExactCartSwing,
    FittedCartSwing,
)
from worldmodels.studies.oracles import cart_swing
from worldmodels.types import ActionSpace
from worldmodels.world_model import WorldModel

TRUTH = {
    "cart_mass": CartSwing.cart_mass,
    "pole_mass": CartSwing.pole_mass,
    "pole_length": CartSwing.pole_length,
    "cart_damping": CartSwing.cart_damping,
    "pole_damping": CartSwing.pole_damping,
}


class Played:
    """What the numpy world does under given actions: motions and rewards, T+1 and T rows."""

    def __init__(self, state, actions=None, steps=0, noise=None):
        world, self.motions, self.rewards, self.actions = CartSwing(), [state], [], []
        for t in range(steps):
            action = cart_swing(world, state) + noise[t] if actions is None else actions[t]
            step = world.step(state, np.clip(action, -1, 1))
            state = step.state
            self.motions.append(state)
            self.rewards.append(step.reward)
            self.actions.append(np.clip(action, -1, 1))
        self.motion = torch.tensor(np.stack([np.stack(one, -1) for one in self.motions], 1))
        self.reward = torch.tensor(np.stack(self.rewards, 1))
        self.action = torch.tensor(np.stack(self.actions, 1))


def start(rows, seed=0):
    return CartSwing().reset(np.random.default_rng(seed), rows)


def exact(repeat=1):
    # The parameters in double precision too: their float32 logarithms are off by 1e-8.
    dynamics = ExactCartSwing(2, 1, repeat).double()
    dynamics.equations.log.data = torch.tensor(list(TRUTH.values()), dtype=torch.float64).log()
    return dynamics


def as_state(motion):
    return CartState(motion, torch.zeros(len(motion), dtype=motion.dtype))


def excited(rows, steps):
    """A hand-made controller disturbed by kicks, so that everything moves and nothing crashes."""
    rng = np.random.default_rng(0)
    kicks = 0.6 * rng.standard_normal((steps, rows, 1)) * (np.arange(steps) % 5 == 0)[:, None, None]
    return Played(start(rows), steps=steps, noise=kicks)


def test_the_exact_dynamics_are_the_world_step_by_step():
    rng = np.random.default_rng(1)
    pushes = np.repeat(rng.uniform(-1, 1, (10, 6, 1)), 30, 0)
    world = Played(start(6), pushes, 200)
    assert world.motion[..., 0].abs().max() > CartSwing.rail, "the rail's ends must be tried"
    dynamics = exact()
    for t in range(200):
        after = dynamics.prior(as_state(world.motion[:, t]), world.action[:, t])
        torch.testing.assert_close(after.motion, world.motion[:, t + 1], atol=1e-6, rtol=0)
        torch.testing.assert_close(after.reward, world.reward[:, t], atol=1e-6, rtol=0)


def test_a_whole_plan_has_the_worlds_return():
    plans = torch.tensor(np.random.default_rng(2).uniform(-1, 1, (40, 3, 1)))
    world = Played(start(3), plans.numpy(), 40)
    model = exact_model(discount=0.9)
    state = as_state(world.motion[:, 0])
    found = model.score(state, world.action[:, None])[:, 0]
    expected = (world.reward * 0.9 ** torch.arange(40)).sum(1)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)


def test_an_agent_step_of_four_world_steps_adds_their_rewards():
    push = np.full((4, 2, 1), 0.7)
    world = Played(start(2), push, 4)
    after = exact(repeat=4).prior(as_state(world.motion[:, 0]), world.action[:, 0])
    torch.testing.assert_close(after.motion, world.motion[:, 4], atol=1e-9, rtol=0)
    torch.testing.assert_close(after.reward, world.reward.sum(1), atol=1e-9, rtol=0)


def exact_model(discount=0.99):
    model = WorldModel(
        (3, 64, 64),
        ActionSpace(1, False),
        encoder=CartReadout,
        dynamics=ExactCartSwing,
        decoder=partial(ConvDecoder, depth=2),
        reward=ArrivalReward,
        continues=NeverEnds,
        pixels=HalfRange,
        discount=discount,
    )
    model.dynamics = exact()
    return model


def test_the_gradient_of_a_planned_return_is_that_of_finite_differences():
    model = exact_model()
    state = as_state(torch.tensor([[0.1, 2.0, -0.3, 1.5]], dtype=torch.float64))
    plan = torch.linspace(-0.8, 0.8, 8, dtype=torch.float64)[None, None, :, None]

    def planned(actions):
        return model.score(state, actions, value=lambda feature: feature[..., 1])

    assert torch.autograd.gradcheck(planned, plan.requires_grad_(), eps=1e-6, atol=1e-6)


def test_a_planner_pushes_where_the_exact_model_pays():
    model = exact_model()
    model.dynamics = exact(repeat=4)
    state = as_state(torch.tensor([[0.0, 0.15, 0.0, 0.0]], dtype=torch.float64))
    planner = CEM(ActionSpace(1, False), horizon=15, candidates=60, elites=6, iterations=4)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        plan = planner.plan(
            lambda state, a: model.score(state, a.double()), state, planner.initial(1), generator
        )
    idle = model.score(state, torch.zeros(1, 1, 15, 1, dtype=torch.float64))
    # A pole that leans to the right is caught by driving to the right.
    assert plan.actions[0, :5].mean() > 0.1
    assert plan.value > idle + 2


def test_all_parameters_are_recovered_from_2000_frames_of_states():
    world = excited(rows=1, steps=2000)
    guess = FittedCartSwing(2, 1)
    row_zero = torch.zeros(1, 1, dtype=torch.float64)
    found = fit_motions(
        guess.equations, world.motion[0], torch.cat([row_zero, world.action[0]]), 12
    )
    for name, true in TRUTH.items():
        assert getattr(found, name) == pytest.approx(true, rel=0.01), name
    torch.testing.assert_close(guess.equations.log.exp()[:3], torch.tensor([1.0, 0.1, 1.0]))


def test_masses_and_length_are_recovered_from_2000_frames_of_pixels():
    world = excited(rows=4, steps=500)
    frames = [CartSwing().render(state) for state in world.motions[1:]]
    seen = read(np.stack(frames, 1).reshape(2000, 64, 64, 3)).double()
    equations = FittedCartSwing(2, 1, cart_damping=5e-4, pole_damping=2e-6).equations
    actions = world.action.reshape(2000, 1)
    # Short windows forgive a wrong guess, long ones tell more.
    fit_positions(equations, windows(seen, 50), windows(actions, 50), steps=10)
    found = fit_positions(equations, windows(seen, 100), windows(actions, 100), steps=5)
    for name in ("cart_mass", "pole_mass", "pole_length"):
        assert getattr(found, name) == pytest.approx(TRUTH[name], rel=0.05), name


def read(frames):
    image = HalfRange((3, 64, 64))(torch.tensor(frames).permute(0, 3, 1, 2))
    return CartReadout((3, 64, 64))(image)


def test_the_read_out_tells_position_and_angle_of_a_frame():
    rng = np.random.default_rng(0)
    place, angle, still = rng.uniform(-1.7, 1.7, 100), rng.uniform(-3, 3, 100), np.zeros(100)
    found = read(CartSwing().render(CartSwingState(place, angle, still, still)))
    assert np.abs(found[:, 0].numpy() - place).max() < 0.01
    assert np.abs(found[:, 1].numpy() - angle).max() < 0.05


def test_frames_tell_the_exact_dynamics_how_fast_things_move():
    world = excited(rows=2, steps=150)
    frames = np.stack([CartSwing().render(state) for state in world.motions[1:]], 1)
    embed = read(frames.reshape(300, 64, 64, 3)).double().reshape(2, 150, 2)
    posterior, _ = exact().observe(embed, world.action, torch.zeros(2, 150, dtype=torch.bool))
    last = select_state(posterior, (slice(None), slice(100, None))).motion
    error = (last - world.motion[:, 101:]).square().mean((0, 1)).sqrt()
    moved = world.motion[:, 101:].std(1).mean(0)
    assert (error[:2] < 0.003).all()
    assert (error[2:] < 0.1 * moved[2:]).all()


def test_least_squares_finds_the_line_through_points():
    x = torch.linspace(0, 1, 5, dtype=torch.float64)

    def residual(line):
        return line[0] + line[1] * x - (3 - 2 * x)

    jacobian = torch.func.jacfwd(residual)
    found = levenberg_marquardt(residual, jacobian, torch.zeros(2, dtype=torch.float64), 20)
    torch.testing.assert_close(found, torch.tensor([3.0, -2.0], dtype=torch.float64))


def test_both_sources_keep_the_dynamics_contract():
    assert check_dynamics(ExactCartSwing).feature_dim == 6
    assert check_dynamics(FittedCartSwing).parameters == 5
    exact_ones = ExactCartSwing(2, 1).parameters()
    assert not any(parameter.requires_grad for parameter in exact_ones)


def test_what_the_equations_cannot_use_is_named():
    with pytest.raises(ValueError, match="pole_mass=0"):
        FittedCartSwing(2, 1, pole_mass=0.0)
    with pytest.raises(ValueError, match="repeat=0"):
        ExactCartSwing(2, 1, repeat=0)
    with pytest.raises(ValueError, match="embed_dim=1"):
        ExactCartSwing(1, 1)
    with pytest.raises(ValueError, match="obs_shape"):
        CartReadout((1, 64, 64))


def test_both_derivatives_of_the_windows_agree():
    world = excited(rows=1, steps=12)
    measured, action = windows(world.motion[0, 1:, :2], 6), windows(world.action[0], 6)
    problem = _Windows(FittedCartSwing(2, 1).equations, measured, action)
    exactly = torch.func.jacrev(problem.residual)(problem.guess())
    torch.testing.assert_close(problem.jacobian(problem.guess()), exactly, atol=1e-8, rtol=1e-6)
