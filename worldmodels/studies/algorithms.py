"""What the studies of algorithms share: a cheap world, one buffer for all, a model, baselines."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from worldmodels.agent import Agent
from worldmodels.behaviours import DQN, MBPO, PPO, SAC, ModelFree
from worldmodels.behaviours.algorithm import AlgorithmFactory
from worldmodels.dynamics import FrameStack, GaussianRSSM
from worldmodels.envs.base import PixelEnv
from worldmodels.envs.make import make_env
from worldmodels.envs.world import WorldStep
from worldmodels.envs.worlds.glitch_box import GlitchBox, GlitchBoxState
from worldmodels.evaluation import evaluate_returns
from worldmodels.nn.decoders import ConvDecoder
from worldmodels.nn.encoders import ConvEncoder
from worldmodels.nn.heads import ContinueHead, GaussianRewardHead
from worldmodels.planning import CEM, MPC
from worldmodels.replay.collect import collect_episodes
from worldmodels.replay.sampling import RecencyMixed
from worldmodels.replay.store import DatasetSpec, EpisodeStore
from worldmodels.studies.learning import learn, learn_behaviour, learn_offline, loss_terms, model_of
from worldmodels.training.settings import Batches, Collect, Replay
from worldmodels.types import ActionSpace
from worldmodels.world_model import LatentModel, WorldModel

RETURN = "return"
DISCOUNT, STEPS, COPIES = 0.95, 30, 10
ENCODER = partial(ConvEncoder, depth=6, downscale=2)
HELD_OUT = Replay(held_out=0.1)
MODEL_FREE = Batches(batch_size=32, batch_length=6)
Augmented = Callable[[int, ActionSpace], MBPO]
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


def record(folder: Path, world: type[QuickBox], episodes: int, seed: int) -> Path:
    """Records episodes of a wanderer; returns the folder."""
    env, agent = box(world, COPIES), Wanderer(world.action_space)
    store = EpisodeStore(folder, DatasetSpec.of(env))
    collect_episodes(env, agent, episodes, seed, True, "agent", 0, store.append)
    store.close()
    return folder


def box_model(env: PixelEnv) -> WorldModel:
    """A small untrained model; it sees frames averaged over squares of 2 pixels."""
    return WorldModel(
        env.obs_shape,
        env.action_space,
        encoder=ENCODER,
        dynamics=partial(GaussianRSSM, stoch=16, deter=64, hidden=64),
        decoder=partial(ConvDecoder, depth=6, upscale=2),
        reward=partial(GaussianRewardHead, hidden=64),
        continues=partial(ContinueHead, hidden=16, layers=1),
        discount=DISCOUNT,
        terms=loss_terms(image=1.0, fraction=0.5, reward=100.0),
    )


def model_free_agent(env: PixelEnv, algorithm: AlgorithmFactory) -> Agent:
    """An untrained model-free agent with the encoder of the model."""
    dynamics = partial(FrameStack, size=32)
    model = LatentModel(
        env.obs_shape, env.action_space, ENCODER, dynamics, discount=DISCOUNT, pad=1
    )
    return Agent(model, ModelFree(model.feature_dim, env.action_space, algorithm), noise=0.0)


def learn_model(folder: Path, data: Path, env: PixelEnv, updates: int, seed: int) -> WorldModel:
    """A model of recorded episodes; a tenth of them is held out, as of the model-free agents."""

    def agent() -> Agent:
        return Agent(box_model(env), MPC(CEM(env.action_space)))

    batches = Batches(batch_size=16, batch_length=8)
    return model_of(learn_offline(folder, data, seed, updates, agent, batches, replay=HELD_OUT))


def learn_augmented(
    folder: Path, data: Path, model: WorldModel, behaviour: Augmented, updates: int, seed: int
) -> Agent:
    """An agent whose algorithm learned from replay and from rollouts of a finished model."""
    batches = Batches(batch_size=12, batch_length=20)
    return learn_behaviour(folder, data, seed, updates, model, behaviour, batches)


def learn_model_free(
    folder: Path,
    data: Path,
    env: PixelEnv,
    algorithm: AlgorithmFactory,
    updates: int,
    seed: int,
) -> Agent:
    """A model-free agent that learned from recorded episodes."""

    def agent() -> Agent:
        return model_free_agent(env, algorithm)

    return learn_offline(folder, data, seed, updates, agent, MODEL_FREE, replay=HELD_OUT)


def learn_on_policy(
    folder: Path, env: PixelEnv, algorithm: AlgorithmFactory, rounds: int, updates: int, seed: int
) -> Agent:
    """A model-free agent that records its own episodes and learns from the latest alone.

    Args:
        folder: of the run.
        env: where it acts; every round plays an episode in each copy, the first one at random.
        algorithm: renews its older policy once a round.
        rounds: of collection.
        updates: in each round.
        seed: of everything.
    """
    steps = env.num_envs * STEPS
    replayed = updates * MODEL_FREE.batch_size * MODEL_FREE.batch_length
    return learn(
        folder, env, seed, rounds * updates, Collect(prefill=1, replay_ratio=replayed / steps),
        partial(model_free_agent, algorithm=algorithm), round_updates=updates, batches=MODEL_FREE,
        replay=Replay(sampler=RecencyMixed(1.0, steps)),
    ).agent  # fmt: skip


def mean_return(agent: Agent, world: type[QuickBox], episodes: int, seed: int) -> float:
    """Of the policy without exploration, from starts that training has not seen."""
    return evaluate_returns(agent, box(world, episodes), episodes, 1000 + 100 * seed).mean
