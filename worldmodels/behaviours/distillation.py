"""Distillation with terminal values: a policy imitates the planner that it guides."""

from collections.abc import Callable
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from worldmodels.behaviours.actors import make_actor
from worldmodels.behaviours.base import Behaviour, ParameterGroup, StartStates, sample_starts
from worldmodels.behaviours.critic import Critic
from worldmodels.behaviours.labels import LabelMemory, Labels
from worldmodels.behaviours.returns import lambda_returns, step_weights
from worldmodels.checks import check_at_least, check_between
from worldmodels.dynamics.base import map_state, select_state
from worldmodels.planning.base import Planner
from worldmodels.planning.cem import CEM
from worldmodels.planning.mpc import policy_proposals
from worldmodels.types import ActionSpace, Batch, Distribution, Losses, State
from worldmodels.world_model import WorldModel


class Distillation(Behaviour):
    """A student policy imitates a planner in the states that the student itself reaches.

    At every ``query_every``-th update the teacher (a planner, with the student's value at its
    horizon and rollouts of its policy among the candidates) is queried in some replayed states and
    in some states that the student reaches in imagination (DAgger). The student imitates these
    labels and its critic learns the student's returns, so that the teacher's plans improve, too.

    Args:
        feature_dim: F.
        action_space: what an action is.
        teacher: the planner, called with the action space.
        query_every: k, updates between two rounds of queries.
        queries: states that the teacher is queried in, each time.
        student_fraction: share of the queries in states that the student reaches in imagination
            (DAgger); the others are replayed. At 0 the student clones the teacher on the data
            alone.
        proposals: the student's rollouts among the teacher's candidates.
        memory: the newest labels that are kept.
        labels: minibatch of them at every update.
        horizon: imagined agent steps, of the critic's rollouts and of those that reach the
            student's states.
        starts: states to imagine from at every update; all of the batch when None.
        lambda_: lambda of the returns.
        hidden: width of actor and critic.
        layers: hidden layers of actor and critic.
        actor_learning_rate: of the student.
        critic_learning_rate: of its critic.
        tau: share of the critic in its moving-average target after every update.

    Raises:
        ValueError: when an option is out of its range.

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
        owner = "Distillation"
        check_at_least(owner, 1, horizon=horizon, query_every=query_every, starts=starts)
        check_at_least(owner, 1, proposals=proposals, labels=labels)
        check_at_least(owner, 2, queries=queries)
        check_at_least(owner, queries, memory=memory)
        check_between(owner, 0, 1, student_fraction=student_fraction, lambda_=lambda_)
        reached = int(student_fraction * queries)
        needed = max(queries - reached, reached)
        if starts is not None and starts < needed:
            raise ValueError(f"{owner}: starts={starts}: queries={queries} need {needed} or more")
        self.teacher = teacher(action_space)
        self.query_every, self.queries, self.reached = query_every, queries, reached
        self.proposals, self.labels = proposals, labels
        self.horizon, self.starts, self.lambda_ = horizon, starts, lambda_
        self.actor = make_actor(feature_dim, action_space, hidden, layers)
        self.critic = Critic(feature_dim, hidden, layers, tau)
        self.memory = LabelMemory(feature_dim, action_space.dim, memory)
        self.learning_rates = actor_learning_rate, critic_learning_rate
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))

    def policy(self, feature: Float[Tensor, "*batch F"]) -> Distribution:
        return self.actor(feature)

    def value(self, feature: Float[Tensor, "*batch F"]) -> Float[Tensor, "*batch"]:
        return self.critic(feature)

    def parameter_groups(self) -> list[ParameterGroup]:
        parts = (self.actor, self.critic.head)
        return [
            ParameterGroup(list(part.parameters()), rate)
            for part, rate in zip(parts, self.learning_rates, strict=True)
        ]

    def update_target(self) -> None:
        self.critic.update_target()
        self.updates += 1

    def loss(self, world_model: WorldModel, batch: Batch, posterior: State) -> Losses:
        """The imitation loss on a minibatch of labels, and the critic's loss."""
        counted = batch.counted(world_model.burn_in)  # B T
        starts = sample_starts(batch, posterior, self.starts, counted)
        # Labels are data: no gradient passes through the teacher or the model.
        with torch.no_grad():
            if self.updates % self.query_every == 0:
                self.memory.add(self.query_teacher(world_model, starts))
        labels = self.memory.draw(self.labels)
        distance = self.actor.imitation_loss(labels.feature, labels.action)  # L
        imitation = (labels.weight * distance).mean()
        critic = self.value_loss(world_model, starts)

        entropy = self.actor(labels.feature).entropy()  # L
        metrics = {
            "loss/imitation": imitation,
            "loss/critic": critic,
            "policy_entropy": entropy.mean(),
        }
        return Losses(imitation + critic, {name: v.detach() for name, v in metrics.items()})

    def query_teacher(self, world_model: WorldModel, starts: StartStates) -> Labels:
        """The teacher's actions in some replayed states, and in some that the student reaches."""
        state, continues = self._query_states(world_model, starts)  # N ...; N
        horizon = self.teacher.horizon
        extra = policy_proposals(world_model, self, state, horizon, self.proposals)  # N P H A
        init = self.teacher.initial(len(continues)).to(extra)  # N H A
        score = partial(world_model.score, value=self.value)
        plan = self.teacher.plan(score, state, init, proposals=extra)
        # The mode of the final search distribution, not the best candidate: the best of many noisy
        # scores is overestimated, and its actions are the noisier label.
        action = self.teacher.distribution.mode(plan.params)[:, 0]  # N A
        return Labels(world_model.feature(state), action, continues)

    def value_loss(self, world_model: WorldModel, starts: StartStates) -> Float[Tensor, ""]:
        """The critic's loss against the lambda-returns of the student's imagined trajectories.

        It is 0 for a frozen critic, without imagining anything.
        """
        if not next(self.critic.head.parameters()).requires_grad:
            return starts.continues.new_zeros(())
        with torch.no_grad():
            trajectory = world_model.imagine(starts.state, self._sample, self.horizon)
            value = self.critic.target(trajectory.feature[:, 1:])  # N H
            returns = lambda_returns(
                trajectory.reward, trajectory.discount, value, self.lambda_
            )  # N H
            weight = step_weights(trajectory.discount, starts.continues)  # N H
        feature = trajectory.feature[:, :-1]  # N H F
        return (weight * self.critic.loss(feature, returns)).mean()

    def _query_states(self, world_model: WorldModel, starts: StartStates) -> StartStates:
        """Replayed states, and states that the student reaches from some of them.

        ``continues`` of a reached state is the probability that the task goes on up to there.
        """
        replayed = _first(starts, self.queries - self.reached)
        if not self.reached:
            return replayed
        source = _first(starts, self.reached)
        trajectory = world_model.imagine(source.state, self._sample, self.horizon)
        probability = trajectory.discount / world_model.discount  # N H
        continues = source.continues[:, None] * probability.cumprod(1)  # N H
        # One of the H states of every rollout.
        depth = torch.randint(self.horizon, (len(continues),), device=continues.device)  # N
        rows = torch.arange(len(depth), device=depth.device)  # N
        state = select_state(trajectory.states, (rows, depth))  # N ...
        both = map_state(lambda *halves: torch.cat(halves), replayed.state, state)
        return StartStates(both, torch.cat([replayed.continues, continues[rows, depth]]))

    def _sample(self, feature: Tensor) -> Tensor:
        return self.actor(feature).sample()  # N A


def _first(starts: StartStates, count: int) -> StartStates:
    return StartStates(select_state(starts.state, slice(count)), starts.continues[:count])
