import pytest

from worldmodels.checks import (
    check_above,
    check_at_least,
    check_at_most,
    check_between,
    check_share,
    did_you_mean,
)

ENVS = ["CartPole-v0", "CartPole-v1", "phys2d/CartPole-v0", "worldmodels/CartSwing-v0"]


@pytest.mark.parametrize(
    ("check", "line"),
    [
        (lambda: check_at_least("CEM", 1, horizon=2, elites=0), "CEM: elites=0: choose 1 or more"),
        (lambda: check_above("CEM", 0, std=0.0), "CEM: std=0.0: choose a number above 0"),
        (
            lambda: check_at_most("CEM", "candidates", 8, elites=9),
            "CEM: elites=9 exceeds candidates=8: choose 8 or less",
        ),
        (lambda: check_share("CEM", momentum=1), "CEM: momentum=1: choose at least 0 and below 1"),
        (lambda: check_between("ArmN", 2, 16, links=17), "ArmN: links=17: choose 2 to 16"),
    ],
)
def test_a_number_out_of_range_is_named_with_its_owner_and_the_fix(check, line):
    with pytest.raises(ValueError, match=f"^{line}$"):
        check()


@pytest.mark.parametrize("number", [float("nan"), -1])
def test_not_a_number_is_out_of_every_range(number):
    for check in (
        lambda: check_at_least("x", 0, n=number),
        lambda: check_above("x", 0, n=number),
        lambda: check_share("x", n=number),
        lambda: check_between("x", 0, 1, n=number),
    ):
        with pytest.raises(ValueError, match=f"n={number}"):
            check()


def test_the_bounds_themselves_and_what_was_not_given_pass():
    check_at_least("x", 1, n=1, time_limit=None)
    check_at_most("x", "m", 3, n=3)
    check_share("x", n=0)
    check_between("x", 0, 1, low=0, high=1)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("CartPole", "did you mean CartPole-v1, CartPole-v0?"),
        ("cartpole-V1", "did you mean CartPole-v1, phys2d/CartPole-v1?"),
        ("CartSwing", "did you mean worldmodels/CartSwing-v0?"),
        ("CarPole-v1", "did you mean CartPole-v1, CartPole-v0?"),
        ("qqqq", f"choose one of {', '.join([*ENVS, 'phys2d/CartPole-v1'])}"),
    ],
)
def test_names_that_contain_the_given_one_come_before_those_spelled_alike(name, hint):
    assert did_you_mean(name, [*ENVS, "phys2d/CartPole-v1"], most=2) == hint


def test_two_letters_are_in_too_many_names_to_suggest_those():
    assert did_you_mean("ar", ["CartPole-v1"], "see --help") == "see --help"


def test_a_prefix_stands_before_every_name_and_does_not_count_as_likeness():
    known = ["horizon", "candidates"]
    assert did_you_mean("horzion", known, prefix="--") == "did you mean --horizon?"
    assert did_you_mean("xy", known, prefix="--") == "choose one of --horizon, --candidates"
