"""How a learned behaviour helps a planner: a value at its horizon, and plans to start from."""

from collections.abc import Callable

from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from worldmodels.behaviours.base import Behaviour
from worldmodels.dynamics.base import repeat_state
from worldmodels.rollout import PlanScore, Rollout
from worldmodels.types import State
from worldmodels.world_model import WorldModel


def guided_score(
    world_model: WorldModel,
    behaviour: Behaviour,
    state: State,
    objective: Callable[[Rollout], Tensor] | None = None,
    aggregation: Callable[[Tensor], Tensor] | None = None,
) -> PlanScore:
    """The predicted return of plans from ``state``, with the value of where they end.

    Objective and aggregation are those of ``WorldModel.score``.
    """
    judge = (behaviour.value, objective, aggregation)
    return PlanScore(
        lambda plans: world_model.score(state, plans, *judge), world_model.dynamics.particles
    )


def proposals(
    world_model: WorldModel, behaviour: Behaviour, state: State, horizon: int, count: int
) -> Float[Tensor, "B P H A"]:
    """``count`` plans per state: what the policy does when it is imagined from there."""

    def act(feature: Tensor) -> Tensor:
        return behaviour.policy(feature).sample()

    dream = world_model.imagine(repeat_state(state, count), act, horizon)
    return rearrange(dream.action, "(B P) H A -> B P H A", P=count)
