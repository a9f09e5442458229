import json
import time

import numpy as np
import torch

from worldmodels.envs.make import make_env
from worldmodels.evaluation import evaluate_returns


class FirstChoice:
    """Always the first choice; a known number of milliseconds to think."""

    def __init__(self, milliseconds=0.0):
        self.milliseconds = milliseconds
        self.explored = []

    def initial(self, batch, seed):
        return 0

    def act(self, obs, is_first, state, explore=False):
        self.explored.append(explore)
        time.sleep(self.milliseconds / 1000)
        return torch.eye(3)[:1].repeat(len(obs), 1), state


def counting(num_envs=1):
    return make_env("worldmodels/Counting-v0", num_envs=num_envs)


def test_return_is_the_sum_of_rewards():
    # Counting pays 1, 2, ..., 10 and is cut off after 10 steps.
    result = evaluate_returns(FirstChoice(), counting(2), 3, seed=0)
    assert result.values.tolist() == [55, 55, 55]
    assert result.lengths.tolist() == [10, 10, 10]
    np.testing.assert_allclose(result.interval, 55)
    assert (result.mean, result.low, result.high) == (55, 55, 55)
    assert isinstance(result.mean, float)


def test_evaluation_does_not_explore():
    agent = FirstChoice()
    evaluate_returns(agent, counting(), 1, seed=0)
    assert agent.explored == [False] * 10


def test_decision_time_is_per_environment():
    result = evaluate_returns(FirstChoice(40.0), counting(2), 2, seed=0)
    assert 20 <= result.decision_ms < 38  # one call of 40 ms decides for two


def test_result_is_plain_numbers_for_json():
    result = evaluate_returns(FirstChoice(), counting(), 2, seed=0)
    read = json.loads(json.dumps(result.as_dict()))
    assert read["returns"] == [55, 55]
    assert read["return"] == {"mean": 55, "low": 55, "high": 55}
    told = str(result).splitlines()
    assert told[0] == "return 55 [55, 55] (mean and 95 % interval of 2 episodes)"
    assert told[1].startswith("10 steps an episode, ")
