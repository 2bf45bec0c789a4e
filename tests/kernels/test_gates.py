"""What the gates count and compare; the gates themselves take two checkouts and are run by hand."""

from __future__ import annotations

import numpy as np
from gates.instructions import compared, inner_loops
from gates.speed import digest

NESTED = """
f:
\tmovq\t%rdi, %rax
.LBB0_1:
\txorl\t%ecx, %ecx
.LBB0_2:
\t.p2align\t4
\tvmovdqu64\t(%rsi,%rcx), %zmm1
\tvpdpbusd\t%zmm1, %zmm2, %zmm0
\tvpdpbusd\t(%rdx,%rcx), %zmm2, %zmm3
\taddq\t$64, %rcx
\tcmpq\t%rcx, %rax
\tjne\t.LBB0_2
\tvmovdqu64\t%zmm0, (%rdi)
\tdecq\t%rax
\tjne\t.LBB0_1
.LBB0_3:
\tvmovups\t%ymm0, (%rdi,%rcx) {%k1}
\tdecq\t%rcx
\tjne\t.LBB0_3
\tretq
"""


def test_only_the_innermost_loops_are_counted() -> None:
    """The one with two products and no store; the one with a store."""
    assert inner_loops(NESTED) == [(2, 0, 6), (0, 1, 3)]


def test_a_loop_may_shrink_and_not_grow() -> None:
    before = [(2, 0, 6), (12, 0, 20), (0, 1, 3)]
    assert compared("f", before, before) == []
    assert compared("f", before, [(2, 0, 5), (12, 0, 20), (0, 1, 3)]) == []
    (grew,) = compared("f", before, [(2, 0, 6), (12, 0, 21), (0, 1, 3)])
    assert grew == "f: a loop of 12 products has 1.75 instructions for each; before 1.67"
    (new,) = compared("f", before, [*before, (1, 0, 9)])
    assert "a loop of 1 products has 9.00 instructions for each; before no such loop" in new


def test_a_loop_that_is_unrolled_otherwise_is_held_to_the_whole() -> None:
    """As many loops with no more instructions in all, though another number of products in one."""
    assert compared("f", [(2, 0, 6), (4, 0, 9)], [(2, 0, 6), (3, 0, 9)]) == []
    assert compared("f", [(2, 0, 6), (4, 0, 9)], [(2, 0, 6), (3, 0, 10)]) != []


def test_answers_differ_by_a_bit_a_shape_or_a_type() -> None:
    ones = np.ones((2, 2), np.int8)
    others = (ones.copy(), ones.astype(np.uint8), ones.reshape(4), 2 * ones, (ones, ones))
    assert [digest(other) == digest(ones) for other in others] == [True, *[False] * 4]
