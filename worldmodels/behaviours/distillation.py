"""Distillation with terminal values: a planner teaches a policy that helps the planner."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from worldmodels.behaviours.actor_critic import check_imagination
from worldmodels.behaviours.actors import make_actor
from worldmodels.behaviours.base import Behaviour, ParameterGroup, StartStates, sample_starts
from worldmodels.behaviours.critic import Critic
from worldmodels.behaviours.guidance import guided_score, proposals
from worldmodels.behaviours.labels import LabelMemory, Labels
from worldmodels.behaviours.returns import lambda_returns, step_weights
from worldmodels.dynamics.base import map_state, select_state
from worldmodels.planning.base import Planner
from worldmodels.planning.cem import CEM
from worldmodels.types import ActionSpace, Batch, Distribution, Losses, State
from worldmodels.world_model import WorldModel


class Distillation(Behaviour):
    """A student learns what a planner would do where the student goes.

    At every ``query_every``-th update the planner, helped by the student's proposals and with
    the student's value at its horizon, decides in some replayed states and in some states that
    the student visits in imagination (DAgger). The student learns these decisions, its value
    learns what the student earns, and so the next teacher looks further.

    Args:
        feature_dim: F.
        action_space: what an action is.
        teacher: the planner, called with the action space.
        query_every: k, updates between two queries.
        queries: states that the teacher decides in.
        student_fraction: share of them that the student visits in imagination (DAgger); the others are
            replayed. At 0 the student clones the teacher on the data alone.
        proposals: the student's rollouts among the teacher's candidates.
        memory: labels kept.
        labels: of them that the student learns from at every update.
        horizon: imagined agent steps, for the value and the student_fraction states.
        starts: states to imagine from at every update; all of the batch when None.
        lambda_: lambda of the returns.
        hidden: width of actor and critic.
        layers: hidden layers of actor and critic.
        actor_learning_rate: of the student.
        critic_learning_rate: of its value.
        tau: how fast the critic's target follows it.

    Reference: Ross, Gordon and Bagnell, 2011 (DAgger); Anthony, Tian and Barber, 2017 (expert
    iteration); Lowrey et al., 2019 (POLO).
    """

    updates: Tensor

    def __init__(
        self,
        feature_dim: int,
        action_space: ActionSpace,
        teacher: Callable[[ActionSpace], Planner] = CEM,
        query_every: int = 5,
        queries: int = 16,
        student_fraction: float = 0.5,
        proposals: int = 16,
        memory: int = 8192,
        labels: int = 256,
        horizon: int = 15,
        starts: int | None = 64,
        lambda_: float = 0.95,
        hidden: int = 256,
        layers: int = 2,
        actor_learning_rate: float = 3e-4,
        critic_learning_rate: float = 5e-4,
        tau: float = 0.02,
    ):
        super().__init__()
        check_imagination(horizon, starts, lambda_)
        _check_lessons(query_every, queries, student_fraction, proposals, memory, labels)
        _check_starts(queries, int(student_fraction * queries), starts)
        self.teacher = teacher(action_space)
        self.query_every, self.queries, self.proposals = query_every, queries, proposals
        self.labels = labels
        self.student_fraction = int(student_fraction * queries)
        self.horizon, self.starts, self.lambda_ = horizon, starts, lambda_
        self.actor = make_actor(feature_dim, action_space, hidden, layers)
        self.critic = Critic(feature_dim, hidden, layers, tau)
        self.memory = LabelMemory(feature_dim, action_space.dim, memory)
        self.learning_rates = actor_learning_rate, critic_learning_rate
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))

    def policy(self, feature: Float[Tensor, "*batch F"]) -> Distribution:
        """The student's distribution of actions."""
        return self.actor(feature)

    def value(self, feature: Float[Tensor, "*batch F"]) -> Float[Tensor, "*batch"]:
        """The expected return of the student."""
        return self.critic(feature)

    def parameter_groups(self) -> list[ParameterGroup]:
        """Student and value."""
        parts = (self.actor, self.critic.head)
        return [
            ParameterGroup(list(part.parameters()), rate)
            for part, rate in zip(parts, self.learning_rates, strict=True)
        ]

    def after_update(self) -> None:
        """The critic's target follows; queries are counted."""
        self.critic.follow()
        self.updates += 1

    def loss(self, world_model: WorldModel, batch: Batch, posterior: State) -> Losses:
        """Imitation of the newest labels, and the value of what the student does."""
        starts = sample_starts(batch, posterior, self.starts)
        # Nothing here learns through the model: the teacher's answers are data.
        with torch.no_grad():
            if self.updates % self.query_every == 0:
                self.memory.add(self.teach(world_model, starts))
        labels = self.memory.draw(self.labels)
        missed = self.actor.imitation_loss(labels.feature, labels.action)
        imitation = (labels.weight * missed).mean()
        critic = self.value_loss(world_model, starts)
        entropy = self.actor(labels.feature).entropy()
        metrics = {"loss/imitation": imitation, "loss/critic": critic}
        metrics["policy_entropy"] = entropy.mean()
        return Losses(imitation + critic, {name: v.detach() for name, v in metrics.items()})

    def teach(self, world_model: WorldModel, starts: StartStates) -> Labels:
        """What the teacher does in some of the states, and in some that the student visits."""
        state, alive = self._classroom(world_model, starts)
        horizon = self.teacher.horizon
        extra = proposals(world_model, self, state, horizon, self.proposals)
        init = self.teacher.initial(len(alive)).to(extra)
        plan = self.teacher.plan(guided_score(world_model, self, state), init, proposals=extra)
        # Where the search ended, not the one plan that scored best there: that one was lucky, too,
        # and repeats itself half as well.
        decided = self.teacher.proposal.mode(plan.params)
        return Labels(world_model.feature(state), decided[:, 0], alive)

    def value_loss(self, world_model: WorldModel, starts: StartStates) -> Float[Tensor, ""]:
        """The critic's, about the lambda-returns of what the student does when it is imagined."""
        with torch.no_grad():
            dream = world_model.imagine(starts.state, self._act, self.horizon)
            value = self.critic.target(dream.feature[:, 1:])
            returns = lambda_returns(dream.reward, dream.discount, value, self.lambda_)
            weight = step_weights(dream.discount, starts.alive)
        return (weight * self.critic.loss(dream.feature[:, :-1], returns)).mean()

    def _classroom(self, world_model: WorldModel, starts: StartStates) -> StartStates:
        """Replayed states, and states that the student reaches from some of them."""
        replayed = _first(starts, self.queries - self.student_fraction)
        if not self.student_fraction:
            return replayed
        source = _first(starts, self.student_fraction)
        student_fraction = world_model.follow(source.state, self._act, self.horizon).states
        survival = (
            world_model.discounts(world_model.feature(student_fraction)) / world_model.discount
        )
        alive = source.alive[:, None] * survival.cumprod(1)
        depth = torch.randint(self.horizon, (len(alive),), device=alive.device)
        rows = torch.arange(len(depth), device=depth.device)
        reached = select_state(student_fraction, (rows, depth))
        both = map_state(lambda *halves: torch.cat(halves), replayed.state, reached)
        return StartStates(both, torch.cat([replayed.alive, alive[rows, depth]]))

    def _act(self, feature: Tensor) -> Tensor:
        return self.actor(feature).sample()


def _check_starts(queries: int, student_fraction: int, starts: int | None) -> None:
    needed = max(queries - student_fraction, student_fraction)
    if starts is not None and starts < needed:
        raise ValueError(f"starts={starts}: queries={queries} need {needed} or more")


def _first(starts: StartStates, count: int) -> StartStates:
    return StartStates(select_state(starts.state, slice(count)), starts.alive[:count])


def _check_lessons(
    query_every: int,
    queries: int,
    student_fraction: float,
    proposals: int,
    memory: int,
    labels: int,
) -> None:
    if not 0 <= student_fraction <= 1:
        raise ValueError(f"student_fraction={student_fraction}: choose a share, 0 to 1")
    lowest = {"query_every": (query_every, 1), "queries": (queries, 2)}
    lowest |= {"proposals": (proposals, 1), "memory": (memory, queries), "labels": (labels, 1)}
    for name, (number, least) in lowest.items():
        if number < least:
            raise ValueError(f"{name}={number}: choose {least} or more")
