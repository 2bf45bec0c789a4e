"""Whether the answers are equal; nothing is timed before."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from numq.bench.peers import Contestant
from numq.bench.problems import Array


class UnequalAnswersError(Exception):
    """A contestant's answer is further from numq's than its way of rounding explains."""


@dataclass(frozen=True)
class Agreement:
    """How a peer's answer compares with numq's."""

    differing: int  #: elements that are not equal
    elements: int  #: of the answer
    most: float  #: the largest difference


def compare(ours: Array, contestant: Contestant) -> Agreement:
    """Ask ``contestant`` once and compare.

    Raises:
        UnequalAnswersError: another shape or dtype (of those that may differ by a share of the
            largest answer, no numbers), or a difference beyond what ``contestant`` may have.
    """
    return judge(ours, contestant, contestant.read(contestant.call()))


def judge(ours: Array, contestant: Contestant, theirs: Array) -> Agreement:
    """Compare ``theirs``, the answer of ``contestant``.

    Raises:
        UnequalAnswersError: as for ``compare``.
    """
    if theirs.shape != ours.shape:
        raise UnequalAnswersError(
            f"{contestant.name}: got shape {theirs.shape}, expected {ours.shape}"
        )
    alike = theirs.dtype.kind in "iuf" if contestant.relative else theirs.dtype == ours.dtype
    if not alike:
        raise UnequalAnswersError(
            f"{contestant.name}: got dtype {theirs.dtype}, expected {ours.dtype}"
        )
    left, right = np.ravel(theirs), np.ravel(ours)
    where = np.flatnonzero(left != right)
    if not where.size:
        return Agreement(0, ours.size, 0.0)
    apart = np.abs(left[where].astype(np.float64) - right[where])
    most = float(apart.max())
    largest = float(np.abs(right.astype(np.float64)).max()) if contestant.relative else 1.0
    if not most <= contestant.within * largest:  # NaN is beyond, too
        i = int(where[apart.argmax()])
        raise UnequalAnswersError(
            f"{contestant.name}: {where.size} of {ours.size} elements differ, by {most:g} at most; "
            f"number {i} is {left[i]}, numq says {right[i]}"
        )
    return Agreement(int(where.size), ours.size, most)
