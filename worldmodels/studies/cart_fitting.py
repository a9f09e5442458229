"""Physical parameters from recorded motion, by least squares on the equations' own gradient."""

from collections.abc import Callable

import torch
from einops import rearrange, repeat
from jaxtyping import Float
from torch import Tensor
from torch.func import functional_call, jacfwd

from worldmodels.studies.cart_physics import CartEquations, CartParameters, simulate, wrapped


def levenberg_marquardt(
    residual: Callable[[Tensor], Tensor],
    jacobian: Callable[[Tensor], Tensor],
    start: Float[Tensor, " P"],
    steps: int,
) -> Float[Tensor, " P"]:
    """Minimises the sum of squares of ``residual``.

    A step that lowers the sum is taken and the damping lowered; else the damping is raised.

    Args:
        residual: variables P to residuals R.
        jacobian: variables P to the residuals' derivatives R P.
        start: variables.
        steps: iterations.

    Reference: Marquardt, 1963, "An algorithm for least-squares estimation of nonlinear parameters".
    """
    best, damping = start.detach(), 1e-3
    error = residual(best)
    for _ in range(steps):
        slope = jacobian(best)
        curvature = slope.mT @ slope
        scale = curvature.diagonal().clamp(min=1e-30)
        step = torch.linalg.solve(curvature + damping * scale.diag(), slope.mT @ error)
        # Variables are logarithms, metres and radians: a step of more than 1 has left the model.
        step = step.clamp(-1.0, 1.0)
        found = residual(best - step)
        better = bool(found.square().sum() < error.square().sum())
        damping = damping / 10 if better else damping * 10
        best, error = (best - step, found) if better else (best, error)
    return best


def fit_motions(
    equations: CartEquations,
    motion: Float[Tensor, "T 4"],
    action: Float[Tensor, "T 1"],
    steps: int = 20,
) -> CartParameters:
    """Fits all parameters to exact motions (float64), one step ahead; writes them into place.

    Args:
        equations: what to fit, from where its parameters are.
        motion: position, angle and their rates at each agent step (angles may be unwrapped).
        action: in the arrival convention: row t led to motion t.
        steps: iterations.
    """
    motion, action = motion.double(), action.double()
    # Each quantity in units of how much it changes: metres and radians weigh alike.
    unit = (motion[1:] - motion[:-1]).std(0)

    def residual(logs: Tensor) -> Tensor:
        after, _ = functional_call(equations, {"log": logs}, (motion[:-1], action[1:]))
        return ((after - motion[1:]) / unit).flatten()

    found = levenberg_marquardt(residual, jacfwd(residual), equations.log.double(), steps)
    return _written(equations, found)


def fit_positions(
    equations: CartEquations,
    measured: Float[Tensor, "B T 2"],
    action: Float[Tensor, "B T 1"],
    steps: int = 20,
) -> CartParameters:
    """Fits masses and length to measured positions and angles, as frames show them.

    The motion at the start of every window is unknown and fitted along. Windows that come near the
    rail's ends are left out, since the bump there is a jump that derivatives do not see. Friction
    stays where it is: a few seconds of pixels do not tell it.

    Args:
        equations: what to fit, from where its parameters are.
        measured: position (m) and angle (rad, any turn) in B windows of T agent steps.
        action: row t led to row t.
        steps: iterations.
    """
    free = measured[..., 0].abs().amax(1) < equations.rail - 0.05
    problem = _Windows(equations, measured[free].double(), action[free].double())
    found = levenberg_marquardt(problem.residual, problem.jacobian, problem.guess(), steps)
    return _written(equations, torch.cat([found[:3], problem.held]))


class _Windows:
    """Least squares over windows; variables are three logarithms, then a motion per window."""

    def __init__(self, equations: CartEquations, measured: Tensor, action: Tensor):
        self.simulation = _Simulation(equations)
        self.measured, self.action = measured, action
        logs = equations.log.detach().double()
        self.sought, self.held = logs[:3], logs[3:]
        self.agent_step = equations.time_step * equations.repeat

    def guess(self) -> Float[Tensor, " P"]:
        """The equations' own parameters, and the rates that the first two rows suggest."""
        change = self.measured[:, 1] - self.measured[:, 0]
        rate = torch.stack([change[:, 0], wrapped(change[:, 1])], -1) / self.agent_step
        starts = torch.cat([self.measured[:, 0], rate], -1)
        return torch.cat([self.sought, starts.flatten()])

    def residual(self, variables: Float[Tensor, " P"]) -> Float[Tensor, " R"]:
        """All that is off, in metres and radians."""
        return self._off(variables[None, :3], self._begin(variables)[None]).flatten()

    def jacobian(self, variables: Float[Tensor, " P"]) -> Float[Tensor, "R P"]:
        """Central differences: as one batched simulation they are 20 times faster than autograd.

        A window depends on its own start alone, so moving all starts at once gives every block.
        """
        nudge = 1e-5 * torch.eye(7, dtype=torch.float64)
        nudge = torch.cat([nudge, -nudge])
        begin = self._begin(variables) + nudge[:, None, 3:]
        up, down = self._off(variables[:3] + nudge[:, :3], begin).chunk(2)
        slope = (up - down) / 2e-5
        blocks = torch.block_diag(*rearrange(slope[3:], "X B T D -> B (T D) X"))
        return torch.cat([rearrange(slope[:3], "P B T D -> (B T D) P"), blocks], 1)

    def _begin(self, variables: Tensor) -> Float[Tensor, "B 4"]:
        return rearrange(variables[3:], "(B X) -> B X", X=4)

    def _off(
        self, logs: Float[Tensor, "K 3"], begin: Float[Tensor, "K B 4"]
    ) -> Float[Tensor, "K B T 2"]:
        """Simulated less measured, for K settings at once."""
        count = len(logs)
        swapped = rearrange(torch.cat([logs, self.held.expand(count, 2)], 1), "K P -> P K 1")
        given = repeat(self.action[:, 1:], "B H A -> K B H A", K=count)
        seen = functional_call(self.simulation, {"equations.log": swapped}, (begin, given))
        gap = torch.cat([begin[:, :, None], seen], 2)[..., :2] - self.measured
        return torch.stack([gap[..., 0], wrapped(gap[..., 1])], -1)


class _Simulation(torch.nn.Module):
    """A whole simulation as one module, so that its parameters can be swapped for others."""

    def __init__(self, equations: CartEquations):
        super().__init__()
        self.equations = equations

    def forward(
        self, start: Float[Tensor, "*batch 4"], actions: Float[Tensor, "*batch H 1"]
    ) -> Float[Tensor, "*batch H 4"]:
        """See ``simulate``."""
        return simulate(self.equations, start, actions)


def _written(equations: CartEquations, logs: Tensor) -> CartParameters:
    with torch.no_grad():
        equations.log.copy_(logs)
    return CartParameters(*logs.exp().tolist())
