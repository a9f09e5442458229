"""Which member of an ensemble predicts which row, and how rows meet their member's weights."""

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor


class Propagation(ABC):
    """Whom an imagined trajectory follows.

    Reference: Chua et al., 2018 (PETS), section 5 (trajectory sampling).
    """

    @abstractmethod
    def next_member(self, member: Int[Tensor, " B"], members: int) -> Int[Tensor, " B"]:
        """The members that predict the next step, after ``member`` predicted this one."""


class TSinf(Propagation):
    """TS-infinity: a trajectory follows one member to its end, so its errors add up."""

    def next_member(self, member: Int[Tensor, " B"], members: int) -> Int[Tensor, " B"]:
        """The same."""
        return member


class TS1(Propagation):
    """TS1: any member may predict the next step, so the errors of one do not add up."""

    def next_member(self, member: Int[Tensor, " B"], members: int) -> Int[Tensor, " B"]:
        """Uniform draws."""
        return torch.randint_like(member, members)


class Grouping(NamedTuple):
    """Rows sorted by member: ``rows[m]`` are those of member m, padded to one length.

    ``slot`` is where each row went in the flattened groups.
    """

    rows: Int[Tensor, "M C"]
    slot: Int[Tensor, " B"]

    def split(self, values: Float[Tensor, "B X"]) -> Float[Tensor, "M C X"]:
        """Rows to groups."""
        return values[self.rows]  # M C X

    def join(self, groups: Float[Tensor, "M C X"]) -> Float[Tensor, "B X"]:
        """Groups to rows."""
        return rearrange(groups, "M C X -> (M C) X")[self.slot]


def group_rows(member: Int[Tensor, " B"], members: int) -> Grouping:
    """Sorts rows by member, so that each member's weights meet its rows in one product."""
    sizes = torch.bincount(member, minlength=members)  # M
    capacity = int(sizes.max())
    order = member.argsort(stable=True)
    owner = member[order]  # B
    rank = torch.arange(len(member), device=member.device) - (sizes.cumsum(0) - sizes)[owner]
    slot = torch.empty_like(member)
    slot[order] = owner * capacity + rank
    # Row 0 fills the gaps; nobody reads what becomes of it there.
    rows = member.new_zeros(members * capacity)
    rows[slot] = torch.arange(len(member), device=member.device)
    return Grouping(rearrange(rows, "(M C) -> M C", M=members), slot)
