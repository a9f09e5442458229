"""Does a plugged-in dynamics class keep the contract? Answers in seconds, one line per mistake."""

from typing import NamedTuple

import torch
from einops import rearrange, repeat
from torch import Tensor

from worldmodels.dynamics.base import Dynamics, detach_state, select_state
from worldmodels.types import State

_BATCH, _STEPS, _EMBED, _ACTION, _PLANS = 3, 4, 32, 2, 3


class DynamicsReport(NamedTuple):
    """What sound dynamics look like."""

    name: str
    state: dict[str, tuple[int, ...]]
    feature_dim: int
    parameters: int

    def lines(self) -> list[str]:
        """For people."""
        fields = ", ".join(f"{name} {shape}" for name, shape in self.state.items())
        return [
            f"{self.name} keeps the Dynamics contract",
            f"  state       {fields}",
            f"  feature     {self.feature_dim}",
            f"  parameters  {self.parameters:,}",
        ]


def check_dynamics(cls: type) -> DynamicsReport:
    """Builds ``cls(embed_dim, action_dim)`` and tries every rule of ``Dynamics``.

    Raises:
        ValueError: names the first broken rule and the fix.
    """
    if not (isinstance(cls, type) and issubclass(cls, Dynamics)):
        raise ValueError(f"{cls} is no subclass of worldmodels.dynamics.Dynamics: derive it")
    module = cls(_EMBED, _ACTION)
    state = module.initial(_BATCH)
    _check_state(cls.__name__, "initial(3)", state)
    prior = module.prior(state, torch.zeros(_BATCH, _ACTION))
    _check_state(cls.__name__, "prior(state, action)", prior)
    posterior = module.posterior(prior, torch.zeros(_BATCH, _EMBED))
    _check_state(cls.__name__, "posterior(prior, embed)", posterior)
    _check_shape(cls.__name__, "feature", module.feature(state), (_BATCH, module.feature_dim))
    _check_shape(cls.__name__, "kl", module.kl(posterior, prior), (_BATCH,))
    _check_loops(cls.__name__, module)
    return DynamicsReport(
        cls.__name__,
        {name: tuple(value.shape[1:]) for name, value in state._asdict().items()},
        module.feature_dim,
        sum(parameter.numel() for parameter in module.parameters()),
    )


def _check_state(name: str, call: str, state: State) -> None:
    fields = getattr(state, "_asdict", None)
    if fields is None:
        raise ValueError(f"{name}.{call} returned {type(state).__name__}: return a NamedTuple")
    for field, value in fields().items():
        if not isinstance(value, Tensor) or value.shape[:1] != (_BATCH,):
            raise ValueError(f"{name}.{call}.{field} must be a tensor with {_BATCH} rows")
        if not torch.isfinite(value).all():
            raise ValueError(f"{name}.{call}.{field} is not finite")


def _check_shape(name: str, call: str, value: Tensor, shape: tuple[int, ...]) -> None:
    if tuple(value.shape) != shape:
        raise ValueError(f"{name}.{call} has shape {tuple(value.shape)}: return {shape}")


def _check_loops(name: str, module: Dynamics) -> None:
    embed = torch.randn(_BATCH, _STEPS, _EMBED)
    # Differentiable inputs: exact dynamics have no parameter to carry a gradient.
    action = (torch.rand(_BATCH, _STEPS, _ACTION) * 2 - 1).requires_grad_()
    is_first = torch.zeros(_BATCH, _STEPS, dtype=torch.bool)
    posterior, prior = module.observe(embed, action, is_first)
    wanted = (_BATCH, _STEPS, module.feature_dim)
    _check_shape(name, "feature(observe(...)[0])", module.feature(posterior), wanted)
    last = select_state(posterior, (slice(None), -1))
    predicted = module.feature(module.predict(last, action))
    _check_shape(name, "feature(predict(...))", predicted, wanted)
    (predicted.sum() + module.kl(posterior, prior).sum()).backward()
    for path, parameter in module.named_parameters():
        if parameter.grad is not None and not torch.isfinite(parameter.grad).all():
            raise ValueError(f"{name}: the gradient of {path} is not finite")
    _check_equal_plans(name, module, detach_state(last), action.detach())


@torch.no_grad()
def _check_equal_plans(name: str, module: Dynamics, state: State, action: Tensor) -> None:
    """Equal plans from one start must be predicted alike, or the luckiest would win."""
    rows = _BATCH * _PLANS * module.particles
    starts = module.plan_starts(state, _PLANS)  # (B N P) ...
    _check_shape(
        name, "feature(plan_starts(...))", module.feature(starts), (rows, module.feature_dim)
    )
    plans = repeat(action, "B H A -> (B N P) H A", N=_PLANS, P=module.particles)
    predicted = module.feature(module.predict(starts, plans, _PLANS))  # (B N P) H F
    apart = rearrange(predicted, "(B N P) H F -> B N P H F", N=_PLANS, P=module.particles)
    # Products of other rows may be added up in another order.
    if not torch.allclose(apart, apart[:, :1].expand_as(apart), rtol=1e-4, atol=1e-4):
        raise ValueError(
            f"{name}.predict_steps(state, actions, plans={_PLANS}) predicts equal plans of one "
            "start differently: draw noise once per start and particle, and hand it to its plans "
            "with self.shared(noise, plans)"
        )
