"""What the studies of learners share: a cheap world, one buffer for all, models and their twins."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from worldmodels.agent import Agent, ByPolicy
from worldmodels.behaviours import DQN, PPO, SAC, ModelFree, Perception
from worldmodels.behaviours.algorithm import AlgorithmFactory
from worldmodels.behaviours.base import Behaviour, ParameterGroup
from worldmodels.dynamics import GaussianRSSM
from worldmodels.dynamics.base import select_state
from worldmodels.envs.base import PixelEnv
from worldmodels.envs.make import make_env
from worldmodels.envs.world import WorldStep
from worldmodels.envs.worlds.glitch_box import GlitchBox, GlitchBoxState
from worldmodels.evaluation import evaluate_returns
from worldmodels.nn.decoders import ConvDecoder
from worldmodels.nn.encoders import ConvEncoder
from worldmodels.nn.heads import ContinueHead, GaussianRewardHead
from worldmodels.planning import CEM, MPC
from worldmodels.replay.buffer import ReplayBuffer
from worldmodels.replay.collect import FrameAgent, collect_episodes
from worldmodels.replay.sampling import RecencyMixed, Sampler, Uniform
from worldmodels.replay.store import DatasetSpec, EpisodeStore
from worldmodels.studies.dreaming import Remembered, remember
from worldmodels.types import ActionSpace, Batch
from worldmodels.world_model import WorldModel

RETURN = "return"
DISCOUNT, STEPS = 0.95, 30
_MOVES = np.array([(0, 0), (1, 0), (-1, 0), (0, 1), (0, -1)], dtype=float)

SAC_SMALL = partial(
    SAC,
    hidden=64,
    actor_learning_rate=1e-3,
    critic_learning_rate=1e-3,
    temperature_learning_rate=3e-3,
    tau=0.02,
    value_scale=5.0,
)
DQN_SMALL = partial(DQN, hidden=64, learning_rate=1e-3, tau=0.02)
PPO_SMALL = partial(
    PPO,
    hidden=64,
    refresh=10,
    entropy_coef=1e-2,
    actor_learning_rate=1e-3,
    critic_learning_rate=1e-3,
)


class QuickBox(GlitchBox):
    """GlitchBox at twice the speed and more: 11 steps to the rim, where standing still pays 1.

    Standing at the rim for the rest of the 30 steps returns 24, random actions 7, and whoever
    rushes on into the glitch 6.
    """

    time_limit = STEPS
    speed = 0.05
    start_radius = 0.1


class ChoiceBox(QuickBox):
    """With choices: stay, or push along an axis, one way or the other."""

    action_space = ActionSpace(len(_MOVES), True)

    def step(self, state: GlitchBoxState, action: Int[np.ndarray, " N"]) -> WorldStep:
        """Pushes the mass one step on."""
        return super().step(state, _MOVES[action])


class WanderState(NamedTuple):
    """Determines all actions from here on; ``heading`` has the rows of an action."""

    seed: int
    step: int
    heading: Float[np.ndarray, "B A"]


class Wanderer:
    """Repeats one random action half of the time, else acts at random: it gets about.

    Args:
        action_space: what an action is.
    """

    def __init__(self, action_space: ActionSpace):
        self.action_space = action_space

    def initial(self, batch: int, seed: int) -> WanderState:
        """The state before the first frame."""
        return WanderState(seed, 0, np.zeros((batch, self.action_space.dim)))

    def act(
        self,
        obs: UInt8[Tensor, "B C h w"],
        is_first: Bool[Tensor, " B"],
        state: WanderState,
        explore: bool = False,
    ) -> tuple[Float[Tensor, "B A"], WanderState]:
        """One action per environment, and the next state."""
        rng = np.random.default_rng((state.seed, state.step))
        heading = np.where(is_first.numpy()[:, None], self._any(rng, len(obs)), state.heading)
        keeps = rng.uniform(size=(len(obs), 1)) < 0.5
        action = np.where(keeps, heading, self._any(rng, len(obs)))
        after = WanderState(state.seed, state.step + 1, heading)
        return torch.from_numpy(action.astype(np.float32)), after

    def _any(self, rng: np.random.Generator, count: int) -> np.ndarray:
        dim = self.action_space.dim
        if self.action_space.discrete:
            return np.eye(dim)[rng.integers(dim, size=count)]
        return rng.uniform(-1, 1, (count, dim))


def box(world: type[QuickBox], copies: int) -> PixelEnv:
    """The world in frames of 32 x 32 pixels."""
    options = {"world": f"{world.__module__}:{world.__name__}"}
    return make_env("worldmodels/GlitchBox-v0", copies, (32, 32), options=options)


def record(folder: Path, world: type[QuickBox], episodes: int, seed: int) -> EpisodeStore:
    """Episodes of a wanderer."""
    env = box(world, 10)
    store = EpisodeStore(folder, DatasetSpec.of(env, {}))
    gather(store, env, Wanderer(world.action_space), episodes, seed)
    return store


def gather(store: EpisodeStore, env: PixelEnv, agent: FrameAgent, episodes: int, seed: int) -> None:
    """Records what an agent does."""
    collect_episodes(env, agent, episodes, seed, True, "agent", 0, store.append)


def simulator(env: PixelEnv) -> WorldModel:
    """A small untrained model; it sees and dreams squares of 2 pixels."""
    return WorldModel(
        env.obs_shape,
        env.action_space,
        encoder=partial(ConvEncoder, depth=6, downscale=2),
        dynamics=partial(GaussianRSSM, stoch=16, deter=64, hidden=64),
        decoder=partial(ConvDecoder, depth=6, upscale=2),
        reward=partial(GaussianRewardHead, hidden=64),
        continues=partial(ContinueHead, hidden=16, layers=1),
        discount=DISCOUNT,
        reward_weight=100.0,
        image_fraction=0.5,
    )


def perception(env: PixelEnv) -> Perception:
    """The same encoder without a model."""
    encoder = partial(ConvEncoder, depth=6, downscale=2)
    return Perception(env.obs_shape, env.action_space, encoder, size=32, discount=DISCOUNT, shift=1)


def learned_model(store: EpisodeStore, env: PixelEnv, updates: int, seed: int) -> WorldModel:
    """A model of recorded episodes; a tenth of them is held out, as of every algorithm here."""
    torch.manual_seed(seed)
    model, buffer = simulator(env), replay(store)
    group = ParameterGroup(list(model.parameters()), 1e-3)

    def loss(update: int) -> Tensor:
        return model.loss(buffer.sample(16, 8, (seed, update)))[0].total

    optimise([group], loss, updates)
    return model.eval()


def replay(store: EpisodeStore, sampler: Sampler = Uniform()) -> ReplayBuffer:
    """Episodes in memory."""
    return ReplayBuffer(store, sampler=sampler, held_out=0.1)


def augmented(
    model: WorldModel, store: EpisodeStore, behaviour: Behaviour, updates: int, seed: int
) -> Agent:
    """An agent whose behaviour learned from replay and in the dreams of a finished model."""
    remembered = remember(model, store, seed, 64)
    torch.manual_seed(seed)

    def loss(update: int) -> Tensor:
        batch, posterior = some(remembered, 12)
        return behaviour.loss(model, batch, posterior).total

    optimise(behaviour.parameter_groups(), loss, updates, behaviour.after_update)
    return decided_by(model, behaviour)


def some(remembered: Remembered, count: int) -> Remembered:
    """Half of the length of so many of the sequences, drawn anew at every call."""
    sequences, length = remembered.batch.is_first.shape
    rows = torch.randint(sequences, (count, 1))
    columns = torch.randint(length // 2 + 1, (count, 1)) + torch.arange(length // 2)
    batch = Batch(*(field[rows, columns] for field in remembered.batch))
    return Remembered(batch, select_state(remembered.posterior, (rows, columns)))


def twin(
    store: EpisodeStore, env: PixelEnv, algorithm: AlgorithmFactory, updates: int, seed: int
) -> Agent:
    """A model-free agent that learned from the same episodes."""
    torch.manual_seed(seed)
    agent = untrained_twin(env, algorithm)
    educate(agent, replay(store), updates, seed)
    return agent.eval()


def on_policy_twin(
    folder: Path, env: PixelEnv, algorithm: AlgorithmFactory, plan: tuple[int, int], seed: int
) -> Agent:
    """A model-free agent that records its own episodes and learns from the latest alone.

    Args:
        folder: for the episodes.
        env: where it acts; every round plays an episode in each copy.
        algorithm: renews its older policy once a round.
        plan: rounds, and updates in each.
        seed: of everything.
    """
    torch.manual_seed(seed)
    agent, store = untrained_twin(env, algorithm), EpisodeStore(folder, DatasetSpec.of(env, {}))
    rounds, updates = plan
    for number in range(rounds):
        gather(store, env, agent.eval(), env.num_envs, 1000 * seed + number)
        newest = ReplayBuffer(store, sampler=RecencyMixed(1.0, env.num_envs * STEPS))
        educate(agent.train(), newest, updates, 1000 * seed + number)
    return agent.eval()


def untrained_twin(env: PixelEnv, algorithm: AlgorithmFactory) -> Agent:
    """Perception and a algorithm."""
    model = perception(env)
    return decided_by(model, ModelFree(model.dynamics.feature_dim, env.action_space, algorithm))


def educate(agent: Agent, buffer: ReplayBuffer, updates: int, seed: int) -> None:
    """Model-free updates of an encoder and a algorithm."""
    model, behaviour = agent.world_model, agent.behaviour
    assert behaviour is not None
    groups = [ParameterGroup(list(model.parameters()), 1e-3), *behaviour.parameter_groups()]

    def loss(update: int) -> Tensor:
        batch = buffer.sample(32, 6, (seed, update))
        return behaviour.loss(model, batch, model.loss(batch)[1]).total

    optimise(groups, loss, updates, behaviour.after_update)


def optimise(
    groups: list[ParameterGroup],
    loss: Callable[[int], Tensor],
    updates: int,
    after: Callable[[], None] = lambda: None,
) -> None:
    """Steps of Adam; ``loss`` is called with the update's number."""
    optimiser = torch.optim.Adam(
        [{"params": group.parameters, "lr": group.learning_rate} for group in groups], fused=True
    )
    for update in range(updates):
        optimiser.zero_grad()
        loss(update).backward()
        for group in groups:
            torch.nn.utils.clip_grad_norm_(group.parameters, 100.0)
        optimiser.step()
        after()


def decided_by(model: WorldModel, behaviour: Behaviour) -> Agent:
    """An agent that acts by its policy."""
    return Agent(model, MPC(CEM(model.action_space)), 0.0, behaviour, ByPolicy()).eval()


def mean_return(agent: Agent, world: type[QuickBox], episodes: int, seed: int) -> float:
    """Of the policy without exploration, from starts that training has not seen."""
    played = evaluate_returns(agent, box(world, episodes), episodes, 1000 + 100 * seed)
    return float(played.returns.mean())
