"""A value without a policy: what a planner needs to see beyond its horizon.

Fitted value iteration in the model. From replayed states the model is followed greedily (every
choice is tried for one step, and valued by the critic's target), and the critic learns the
lambda-returns of where that leads.
"""

import torch
from einops import repeat
from jaxtyping import Float
from torch import Tensor

from worldmodels.behaviours.actor_critic import check_imagination
from worldmodels.behaviours.base import StartStates
from worldmodels.behaviours.critic import Critic
from worldmodels.behaviours.returns import lambda_returns, step_weights
from worldmodels.dynamics.base import select_state
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
    """Fits a critic by TD(lambda) to the best that the model can do from each state.

    The model learns nothing. Noise comes from torch's global generator.

    Args:
        world_model: where to imagine.
        critic: what learns.
        starts: states to imagine from, such as the posterior states of all replayed frames.
        updates: optimiser steps.
        rows: states imagined from at each of them.
        horizon: imagined agent steps.
        lambda_: lambda of the returns.
        choices: real-valued actions tried in each state; discrete ones are all tried.
        learning_rate: of Adam.

    Returns:
        The loss of each update.

    Raises:
        ValueError: when a number is out of its range.

    Reference: Munos and Szepesvari, 2008 (fitted value iteration); Lowrey et al., 2019 (POLO).
    """
    check_imagination(horizon, rows, lambda_)
    if updates < 1 or choices < 1:
        raise ValueError(f"updates={updates}, choices={choices}: choose 1 or more of both")
    optimiser = torch.optim.Adam(critic.head.parameters(), learning_rate)
    losses = []
    for _ in range(updates):
        chosen = torch.randint(len(starts.alive), (rows,), device=starts.alive.device)
        drawn = StartStates(select_state(starts.state, chosen), starts.alive[chosen])
        loss = _loss(world_model, critic, drawn, horizon, lambda_, choices)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        critic.follow()
        losses.append(loss.detach())
    return torch.stack(losses)


def _loss(
    world_model: WorldModel,
    critic: Critic,
    starts: StartStates,
    horizon: int,
    lambda_: float,
    choices: int,
) -> Tensor:
    with torch.no_grad():
        dream = greedy_dream(world_model, critic.target, starts.state, horizon, choices)
        value = critic.target(dream.feature[:, 1:])
        returns = lambda_returns(dream.reward, dream.discount, value, lambda_)
        weight = step_weights(dream.discount, starts.alive)
    return (weight * critic.loss(dream.feature[:, :-1], returns)).mean()


def greedy_dream(
    world_model: WorldModel, value: Value, start: State, horizon: int, choices: int = 16
) -> Trajectory:
    """Imagines, at each of H steps, the action that is best by one step and the value after it.

    Args:
        world_model: where to imagine.
        value: of features.
        start: rows N.
        horizon: H.
        choices: see ``fit_value``.
    """
    state, features, actions = start, [world_model.feature(start)], []
    for _ in range(horizon):
        actions.append(_best_action(world_model, value, state, choices))
        # A second draw of the same step: keeping the luckiest of the tries would flatter it.
        state = world_model.dynamics.prior(state, actions[-1])
        features.append(world_model.feature(state))
    after = torch.stack(features[1:], 1)
    discount = world_model.discount * world_model.continues(after)
    feature = torch.stack(features, 1)
    return Trajectory(feature, torch.stack(actions, 1), world_model.reward(after), discount)


def _best_action(
    world_model: WorldModel, value: Value, state: State, choices: int
) -> Float[Tensor, "N A"]:
    tries = _tries(world_model.action_space, choices).to(world_model.feature(state))
    plans = repeat(tries, "N A -> B N 1 A", B=len(state[0]))
    best = world_model.score(state, plans, value).argmax(1)
    return tries[best]


def _tries(space: ActionSpace, choices: int) -> Float[Tensor, "N A"]:
    """Every choice, or as many random actions."""
    if space.discrete:
        return torch.eye(space.dim)
    return 2 * torch.rand(choices, space.dim) - 1
