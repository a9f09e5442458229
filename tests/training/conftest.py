"""Runs that many tests look at; nobody changes them."""

import pytest


@pytest.fixture(scope="session")
def planned(tmp_path_factory):
    """Two rounds of an agent that plans, online."""
    # Not above: what is imported before the tests begin escapes the shape checks.
    from tiny_training import learn

    return learn(tmp_path_factory.mktemp("planned")).path


@pytest.fixture(scope="session")
def actor_critic(tmp_path_factory):
    """Two rounds of an agent whose policy acts."""
    from tiny_training import DREAMER, learn, small_agent

    out = tmp_path_factory.mktemp("actor_critic")
    return learn(out, agent=small_agent(behaviour=DREAMER)).path
