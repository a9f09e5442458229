"""Fitted value iteration in the model: a value for a planner's horizon, without a policy.

From replayed states the model imagines greedy rollouts: at every step all choices are predicted one
step ahead, and the one with the highest reward plus discounted target value is taken. The critic
learns the lambda-returns of these rollouts.
"""

import torch
from einops import repeat
from jaxtyping import Float
from torch import Tensor

from worldmodels.behaviours.base import StartStates
from worldmodels.behaviours.critic import Critic
from worldmodels.behaviours.returns import lambda_returns, step_weights
from worldmodels.checks import check_at_least, check_between
from worldmodels.dynamics.base import select_state, stack_states
from worldmodels.types import ActionSpace, State, Trajectory, Value
from worldmodels.world_model import WorldModel


def fit_value(
    world_model: WorldModel,
    critic: Critic,
    starts: StartStates,
    updates: int,
    rows: int = 256,
    horizon: int = 10,
    lambda_: float = 0.9,
    choices: int = 16,
    learning_rate: float = 1e-3,
) -> Float[Tensor, " updates"]:
    """Fits a critic by TD(lambda) to the optimal values under the model.

    The model does not learn. Noise comes from torch's global generator.

    Args:
        world_model: the model that imagines.
        critic: the critic to fit.
        starts: states to imagine from, such as the posterior states of all replayed frames.
        updates: optimiser steps.
        rows: start states that are drawn for each of them.
        horizon: imagined agent steps.
        lambda_: lambda of the returns.
        choices: random continuous actions that are tried in each state; of discrete ones, all are.
        learning_rate: of Adam.

    Returns:
        The loss of each update.

    Raises:
        ValueError: when a number is out of its range.

    Reference: Munos and Szepesvari, 2008 (fitted value iteration); Lowrey et al., 2019 (POLO).
    """
    check_at_least("fit_value", 1, updates=updates, rows=rows, horizon=horizon, choices=choices)
    check_between("fit_value", 0, 1, lambda_=lambda_)
    optimiser = torch.optim.Adam(critic.head.parameters(), learning_rate)
    losses = []
    for _ in range(updates):
        count, device = len(starts.continues), starts.continues.device
        drawn = torch.randint(count, (rows,), device=device)  # N
        state, continues = select_state(starts.state, drawn), starts.continues[drawn]  # N ...; N
        with torch.no_grad():
            trajectory = imagine_greedily(world_model, critic.target, state, horizon, choices)
            value = critic.target(trajectory.feature[:, 1:])  # N H
            returns = lambda_returns(trajectory.reward, trajectory.discount, value, lambda_)  # N H
            weight = step_weights(trajectory.discount, continues)  # N H
        loss = (weight * critic.loss(trajectory.feature[:, :-1], returns)).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        critic.update_target()
        losses.append(loss.detach())
    return torch.stack(losses)


def imagine_greedily(
    world_model: WorldModel, value: Value, start: State, horizon: int, choices: int = 16
) -> Trajectory:
    """Imagines H steps of the action with the highest one-step return, the value included.

    Args:
        world_model: the model that imagines.
        value: of features.
        start: the start states, rows N.
        horizon: H.
        choices: see ``fit_value``.
    """
    state, states, actions = start, [], []
    for _ in range(horizon):
        tries = _tries(world_model.action_space, choices).to(world_model.feature(state))  # K A
        plans = repeat(tries, "K A -> N K 1 A", N=len(state[0]))
        best = world_model.score(state, plans, value).argmax(1)  # N
        actions.append(tries[best])  # N A
        # The step is sampled anew: the best of noisy tries would be overestimated.
        state = world_model.dynamics.prior(state, actions[-1])
        states.append(state)
    after = stack_states(states, 1)  # N H ...
    arrived = world_model.feature(after)  # N H F
    return Trajectory(
        feature=torch.cat([world_model.feature(start)[:, None], arrived], 1),  # N H+1 F
        action=torch.stack(actions, 1),  # N H A
        reward=world_model.reward(arrived),  # N H
        discount=world_model.discounts(arrived),  # N H
        start=start,
        states=after,
    )


def _tries(space: ActionSpace, choices: int) -> Float[Tensor, "K A"]:
    """All K discrete actions, or K random continuous ones."""
    if space.discrete:
        return torch.eye(space.dim)  # A A
    return 2 * torch.rand(choices, space.dim) - 1  # K A
