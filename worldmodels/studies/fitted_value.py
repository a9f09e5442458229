"""Fitted value iteration in the model: a value for a planner's horizon, without a policy.

From replayed states the model imagines greedy rollouts: at every step all choices are predicted one
step ahead, and the one with the highest reward plus discounted target value is taken. The critic
learns the lambda-returns of these rollouts.
"""

from typing import NoReturn

import torch
from einops import repeat
from jaxtyping import Bool, Float
from torch import Tensor

from worldmodels.behaviours.base import Behaviour, ParameterGroup, sample_starts
from worldmodels.behaviours.critic import Critic
from worldmodels.behaviours.returns import lambda_returns, step_weights
from worldmodels.checks import check_at_least, check_between
from worldmodels.dynamics.base import stack_states
from worldmodels.types import ActionSpace, Batch, Losses, State, Trajectory, Value
from worldmodels.world_model import WorldModel


class FittedValue(Behaviour):
    """Fits a critic by TD(lambda) to the optimal values under the model.

    It acts by the action with the highest one-step return, the value included. As the guide of a
    planner it has a value alone: give ``MPC`` no proposals.

    Args:
        feature_dim: F.
        action_space: what an action is.
        starts: states to imagine from at every update; all of the batch when there are fewer.
        horizon: imagined agent steps.
        lambda_: lambda of the returns.
        choices: random continuous actions that are tried in each state; of discrete ones, all are.
        hidden: width of the critic.
        layers: hidden layers of the critic.
        learning_rate: of the critic.
        tau: share of the critic in its moving-average target after every update.

    Raises:
        ValueError: when a number is out of its range.

    Reference: Munos and Szepesvari, 2008 (fitted value iteration); Lowrey et al., 2019 (POLO).
    """

    def __init__(
        self,
        feature_dim: int,
        action_space: ActionSpace,
        starts: int = 256,
        horizon: int = 10,
        lambda_: float = 0.9,
        choices: int = 16,
        hidden: int = 128,
        layers: int = 2,
        learning_rate: float = 1e-3,
        tau: float = 0.05,
    ):
        super().__init__()
        check_at_least("FittedValue", 1, starts=starts, horizon=horizon, choices=choices)
        check_between("FittedValue", 0, 1, lambda_=lambda_)
        self.starts, self.horizon, self.lambda_ = starts, horizon, lambda_
        self.choices, self.learning_rate = choices, learning_rate
        self.critic = Critic(feature_dim, hidden, layers, tau)

    def policy(self, feature: Float[Tensor, "*batch F"]) -> NoReturn:
        """None: a greedy action needs the model's state, of which a feature is a part.

        Raises:
            TypeError: always.
        """
        raise TypeError("FittedValue has a value alone: let it act, or give MPC proposals=0")

    def value(self, feature: Float[Tensor, "*batch F"]) -> Float[Tensor, "*batch"]:
        return self.critic(feature)

    def act(
        self,
        model: WorldModel,
        latent: State,
        state: tuple[()],
        is_first: Bool[Tensor, " B"],
        explore: bool = False,
    ) -> tuple[Float[Tensor, "B A"], tuple[()]]:
        """The action with the highest one-step return."""
        return greedy_action(model, self.value, latent, self.choices), ()

    def parameter_groups(self) -> list[ParameterGroup]:
        return [ParameterGroup(list(self.critic.head.parameters()), self.learning_rate)]

    def update_target(self) -> None:
        self.critic.update_target()

    def loss(self, world_model: WorldModel, batch: Batch, posterior: State) -> Losses:
        """The critic's loss against the lambda-returns of greedy trajectories."""
        counted = batch.counted(world_model.burn_in)  # B T
        starts = sample_starts(batch, posterior, self.starts, counted)
        with torch.no_grad():
            trajectory = imagine_greedily(
                world_model, self.critic.target, starts.state, self.horizon, self.choices
            )
            value = self.critic.target(trajectory.feature[:, 1:])  # N H
            returns = lambda_returns(
                trajectory.reward, trajectory.discount, value, self.lambda_
            )  # N H
            weight = step_weights(trajectory.discount, starts.continues)  # N H
        loss = (weight * self.critic.loss(trajectory.feature[:, :-1], returns)).mean()
        return Losses(loss, {"loss/critic": loss.detach()})


def imagine_greedily(
    world_model: WorldModel, value: Value, start: State, horizon: int, choices: int = 16
) -> Trajectory:
    """Imagines H steps of the action with the highest one-step return, the value included.

    Args:
        world_model: the model that imagines.
        value: of features.
        start: the start states, rows N.
        horizon: H.
        choices: see ``FittedValue``.
    """
    state, states, actions = start, [], []
    for _ in range(horizon):
        actions.append(greedy_action(world_model, value, state, choices))  # N A
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


def greedy_action(
    world_model: WorldModel, value: Value, state: State, choices: int
) -> Float[Tensor, "N A"]:
    """In each state the tried action with the highest reward plus discounted value."""
    tries = _tries(world_model.action_space, choices).to(world_model.feature(state))  # K A
    plans = repeat(tries, "K A -> N K 1 A", N=len(state[0]))
    return tries[world_model.score(state, plans, value).argmax(1)]  # N A


def _tries(space: ActionSpace, choices: int) -> Float[Tensor, "K A"]:
    """All K discrete actions, or K random continuous ones."""
    if space.discrete:
        return torch.eye(space.dim)  # A A
    return 2 * torch.rand(choices, space.dim) - 1  # K A
