"""Model predictive control: when to plan again, and from what."""

from typing import NamedTuple

import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor

from worldmodels.checks import check_at_least, check_at_most
from worldmodels.planning.base import Plan, Planner, shift
from worldmodels.types import ScoreFn


class PlanState(NamedTuple):
    """The plans in force, already shifted: step 0 is the next action.

    ``params`` and ``elites`` warm-start the next decision; ``remaining`` counts the steps until
    then (0: plan now). ``value`` is the return that the plan in force promised when it was made,
    ``evaluations`` the model evaluations since ``MPC.initial``.
    """

    params: Float[Tensor, "B H A"]
    actions: Float[Tensor, "B H A"]
    elites: Float[Tensor, "B P H A"]
    remaining: Int[Tensor, " B"]
    value: Float[Tensor, " B"]
    evaluations: Int[Tensor, " B"]


class MPC:
    """Executes the first steps of a plan, then plans again from what is left of it.

    Holds no state of its own: the same state, score and generator give the same action.

    Args:
        planner: the optimiser.
        replan_every: k, agent steps between decisions; 1 is closed-loop control, the planner's
            horizon is open-loop control.

    Raises:
        ValueError: when ``replan_every`` is not in 1..horizon.

    Reference: Chua et al., 2018 (PETS), algorithm 1; Pinneri et al., 2020 (iCEM), section 3
    (shifting elites).
    """

    def __init__(self, planner: Planner, replan_every: int = 1):
        check_at_least("MPC", 1, replan_every=replan_every)
        check_at_most("MPC", "the planner's horizon", planner.horizon, replan_every=replan_every)
        self.planner, self.replan_every = planner, replan_every

    def initial(self, batch: int) -> PlanState:
        """No plan yet: the next step plans from a cold start."""
        params = self.planner.initial(batch)
        actions = self.planner.proposal.mode(params)
        # As many idle plans as the planner carries elites, so that shapes never change.
        elites = actions[:, None].repeat(1, self.planner.kept_elites, 1, 1)
        none = torch.zeros(batch, dtype=torch.int64)
        return PlanState(params, actions, elites, none, torch.zeros(batch), none.clone())

    def replan(self, state: PlanState, rows: Bool[Tensor, " B"]) -> PlanState:
        """Demands a new decision at the next step for the marked rows."""
        return state._replace(remaining=state.remaining.masked_fill(rows, 0))

    def step(
        self,
        score: ScoreFn,
        state: PlanState,
        is_first: Bool[Tensor, " B"],
        generator: torch.Generator | None = None,
        proposals: Float[Tensor, "B P H A"] | None = None,
    ) -> tuple[Float[Tensor, "B A"], PlanState]:
        """The next action of every environment.

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
            joined = state.elites if proposals is None else torch.cat([state.elites, proposals], 1)
            plan = self.planner.plan(score, state.params, generator, joined)
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
        idle = self.planner.proposal.mode(self.planner.initial(len(state.params)))
        idle = idle.to(state.actions)
        return state._replace(
            params=self.planner.shift(state.params, 1),
            actions=shift(state.actions, idle, 1),
            elites=shift(state.elites, idle[:, None].expand_as(state.elites), 1),
            remaining=state.remaining - 1,
        )


def _where(rows: Tensor, new: Tensor, old: Tensor) -> Tensor:
    """Rows of ``new`` where marked, of ``old`` elsewhere."""
    marked = rearrange(rows, f"B -> B {'1 ' * (new.dim() - 1)}")
    return torch.where(marked, new, old)
