"""Model predictive control: when to plan again, and from what."""

from functools import partial
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor

from worldmodels.checks import check_at_least, check_at_most
from worldmodels.dynamics.base import repeat_state
from worldmodels.planning.actor import Actor
from worldmodels.planning.base import Plan, Planner, roll
from worldmodels.planning.objectives import Aggregation, Objective
from worldmodels.types import Configurable, Distribution, State
from worldmodels.world_model import WorldModel


@runtime_checkable
class Guide(Protocol):
    """What a planner can use of a behaviour: its policy and its value."""

    def policy(self, feature: Float[Tensor, "*batch F"]) -> Distribution:
        """The distribution of actions."""
        ...

    def value(self, feature: Float[Tensor, "*batch F"]) -> Float[Tensor, "*batch"]:
        """The expected discounted return from here on."""
        ...


class PlanState(NamedTuple):
    """The plans in force, already shifted: step 0 is the next action.

    ``params`` and ``elites`` warm-start the next decision; ``remaining`` counts the steps until
    then (0: plan now). ``value`` is the return that was predicted of the plan in force
    when it was made, ``evaluations`` the model evaluations since ``MPC.initial``.
    """

    params: Float[Tensor, "B H A"]
    actions: Float[Tensor, "B H A"]
    elites: Float[Tensor, "B P H A"]
    remaining: Int[Tensor, " B"]
    value: Float[Tensor, " B"]
    evaluations: Int[Tensor, " B"]


class MPC(Configurable, Actor):
    """Executes the first steps of a plan, then plans again from what is left of it.

    With a guide, plans are scored with its value at their horizon, and rollouts of its policy
    join the candidates. Holds no state of its own: the same states and generator give the same
    action.

    Args:
        planner: the optimiser.
        guide: a behaviour whose value and policy help the planner.
        replan_every: k, agent steps between decisions; 1 is closed-loop control, the planner's
            horizon is open-loop control.
        proposals: imagined rollouts of the guide's policy among the candidates of a decision.
        objective: what plans are scored by; the learned reward when None.
        aggregation: how the returns of a plan's particles are joined; the mean when None.
        max_rollouts: the cap on memory, see ``WorldModel.score``.

    Raises:
        ValueError: when ``replan_every`` is not in 1..horizon, or another number is too small.

    Reference: Chua et al., 2018 (PETS), algorithm 1; Pinneri et al., 2020 (iCEM), section 3
    (shifting elites); Lowrey et al., 2019 (POLO), for the value; Hansen et al., 2022 (TD-MPC), for
    value and policy.
    """

    def __init__(
        self,
        planner: Planner,
        guide: Guide | None = None,
        replan_every: int = 1,
        proposals: int = 16,
        objective: Objective | None = None,
        aggregation: Aggregation | None = None,
        max_rollouts: int = 8192,
    ):
        check_at_least("MPC", 1, replan_every=replan_every, max_rollouts=max_rollouts)
        check_at_most("MPC", "the planner's horizon", planner.horizon, replan_every=replan_every)
        check_at_least("MPC", 0, proposals=proposals)
        self.planner, self.replan_every, self.guide = planner, replan_every, guide
        self.proposals, self.max_rollouts = proposals, max_rollouts
        self.objective, self.aggregation = objective, aggregation
        self.name = "planner" if guide is None else "guided planner"

    def initial(self, batch: int) -> PlanState:
        """No plan yet: the next step plans from a cold start."""
        params = self.planner.initial(batch)
        actions = self.planner.distribution.mode(params)
        # As many idle plans as the planner keeps elites, so that shapes never change.
        elites = actions[:, None].repeat(1, self.planner.kept_elites, 1, 1)
        none = torch.zeros(batch, dtype=torch.int64)
        return PlanState(params, actions, elites, none, torch.zeros(batch), none.clone())

    def act(
        self,
        model: WorldModel,
        latent: State,
        state: PlanState,
        is_first: Bool[Tensor, " B"],
        explore: bool = False,
    ) -> tuple[Float[Tensor, "B A"], PlanState]:
        """The next action of every environment, and the plans in force.

        Rows at ``is_first`` forget their plan and plan from a cold start. A decision is computed
        for the whole batch as soon as one row is due, and rows that are not due keep their plan:
        stepping environments together costs no extra call, and ``evaluations`` counts what was
        computed.

        Raises:
            ValueError: see ``Planner.plan``.
        """
        state = self._forget(state, is_first)
        due = state.remaining == 0
        if due.any():
            score = partial(
                model.score, value=None if self.guide is None else self.guide.value,
                objective=self.objective, aggregation=self.aggregation,
                max_rollouts=self.max_rollouts, fast=True,
            )  # fmt: skip
            candidates = state.elites  # B P H A
            if self.guide is not None and self.proposals:
                horizon = self.planner.horizon
                extra = policy_proposals(model, self.guide, latent, horizon, self.proposals)
                candidates = torch.cat([candidates, extra], 1)
            plan = self.planner.plan(score, latent, state.params, proposals=candidates)
            state = self._adopt(state, plan, due)
        return state.actions[:, 0], self._advance(state)

    def _forget(self, state: PlanState, rows: Tensor) -> PlanState:
        fresh = self.initial(len(rows))
        return state._replace(
            params=_where(rows, fresh.params.to(state.params), state.params),
            actions=_where(rows, fresh.actions.to(state.actions), state.actions),
            elites=_where(rows, fresh.elites.to(state.elites), state.elites),
            remaining=state.remaining.masked_fill(rows, 0),
        )

    def _adopt(self, state: PlanState, plan: Plan, rows: Tensor) -> PlanState:
        return PlanState(
            params=_where(rows, plan.params, state.params),
            actions=_where(rows, plan.actions, state.actions),
            elites=_where(rows, plan.elites, state.elites),
            remaining=state.remaining.masked_fill(rows, self.replan_every),
            value=torch.where(rows, plan.value.to(state.value), state.value),
            evaluations=state.evaluations + plan.evaluations,
        )

    def _advance(self, state: PlanState) -> PlanState:
        idle = self.planner.distribution.mode(self.planner.initial(len(state.params)))
        idle = idle.to(state.actions)
        return state._replace(
            params=self.planner.roll(state.params, 1),
            actions=roll(state.actions, idle, 1),
            elites=roll(state.elites, idle[:, None].expand_as(state.elites), 1),
            remaining=state.remaining - 1,
        )


def policy_proposals(
    model: WorldModel, guide: Guide, state: State, horizon: int, count: int
) -> Float[Tensor, "B P H A"]:
    """``count`` plans per state: what the policy does when it is imagined from there."""

    def sample(feature: Tensor) -> Tensor:
        return guide.policy(feature).sample()

    trajectory = model.imagine(repeat_state(state, count), sample, horizon)
    return rearrange(trajectory.action, "(B P) H A -> B P H A", P=count)


def _where(rows: Tensor, new: Tensor, old: Tensor) -> Tensor:
    """Rows of ``new`` where marked, of ``old`` elsewhere."""
    marked = rearrange(rows, f"B -> B {'1 ' * (new.dim() - 1)}")
    return torch.where(marked, new, old)
