"""Helpers that build LLVM IR: one page, so that the kernels read like the loops they are.

Numba lets an *intrinsic* emit LLVM instructions directly. The kernels use that for one thing,
vectors whose shape we choose. Everything here is a thin name over llvmlite's ``IRBuilder``;
addresses travel as 64-bit integers and become pointers only at the load or store.

Vocabulary: a *lane* is one element of a vector register; ``i8x64`` is a vector of 64 int8 lanes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir

I1, I8, I16, I32, I64 = (ir.IntType(bits) for bits in (1, 8, 16, 32, 64))
F32, F64 = ir.FloatType(), ir.DoubleType()

Value = Any  # llvmlite values are untyped
Builder = Any


def i64(value: int) -> Value:
    """The 64-bit constant ``value``."""
    return ir.Constant(I64, value)


def vector(lane: Any, lanes: int) -> Any:
    """The vector type of ``lanes`` lanes."""
    return ir.VectorType(lane, lanes)


def zeros(kind: Any) -> Value:
    """All-zero constant of a vector type."""
    return ir.Constant(kind, None)


def load(b: Builder, kind: Any, address: Value) -> Value:
    """Load one ``kind`` from an integer address, at any alignment."""
    return b.load(b.inttoptr(address, kind.as_pointer()), align=1)


def store(b: Builder, value: Value, address: Value) -> None:
    """Store ``value`` at an integer address, at any alignment."""
    b.store(value, b.inttoptr(address, value.type.as_pointer()), align=1)


def offset(b: Builder, address: Value, amount: int | Value) -> Value:
    """``address + amount`` (bytes)."""
    return b.add(address, i64(amount) if isinstance(amount, int) else amount)


def splat(b: Builder, scalar: Value, lanes: int) -> Value:
    """A vector whose lanes all equal ``scalar``."""
    kind = vector(scalar.type, lanes)
    first = b.insert_element(ir.Constant(kind, ir.Undefined), scalar, ir.Constant(I32, 0))
    return b.shuffle_vector(
        first, ir.Constant(kind, ir.Undefined), ir.Constant(vector(I32, lanes), [0] * lanes)
    )


def shuffle(b: Builder, left: Value, right: Value, picks: Sequence[int]) -> Value:
    """Lanes ``picks`` of ``left`` followed by ``right``."""
    return b.shuffle_vector(left, right, ir.Constant(vector(I32, len(picks)), list(picks)))


def call(b: Builder, name: str, result: Any, *arguments: Value) -> Value:
    """Call an LLVM intrinsic by name."""
    kind = ir.FunctionType(result, [argument.type for argument in arguments])
    return b.call(_declared(b.module, name, kind), arguments)


def _declared(module: Any, name: str, kind: Any) -> Any:
    found = module.globals.get(name)
    return ir.Function(module, kind, name) if found is None else found


def counted_loop(
    b: Builder,
    count: Value,
    carried: Sequence[Value],
    body: Callable[[Value, list[Value]], list[Value]],
) -> list[Value]:
    """``for i in range(count): carried = body(i, carried)``, the carried values in registers.

    Returns:
        The carried values after the last turn (the given ones when ``count`` is 0).
    """
    before, head, done = b.block, b.append_basic_block("loop"), b.append_basic_block("done")
    b.cbranch(b.icmp_signed(">", count, i64(0)), head, done)
    b.position_at_end(head)
    index = b.phi(I64)
    index.add_incoming(i64(0), before)
    values = [b.phi(value.type) for value in carried]
    for phi, value in zip(values, carried, strict=True):
        phi.add_incoming(value, before)
    results = body(index, list(values))
    following = b.add(index, i64(1))
    last = b.block  # the body may have appended blocks
    index.add_incoming(following, last)
    for phi, result in zip(values, results, strict=True):
        phi.add_incoming(result, last)
    b.cbranch(b.icmp_signed("<", following, count), head, done)
    b.position_at_end(done)
    finals = [b.phi(value.type) for value in carried]
    for phi, value, result in zip(finals, carried, results, strict=True):
        phi.add_incoming(value, before)
        phi.add_incoming(result, last)
    return finals


def below(b: Builder, lanes: int, count: Value) -> Value:
    """The mask ``lane < count``, for any int64 ``count``."""
    return b.icmp_signed(
        "<", ir.Constant(vector(I64, lanes), list(range(lanes))), splat(b, count, lanes)
    )
