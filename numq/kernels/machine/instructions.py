"""The instructions that only some processors have, and what each of them computes.

Nothing else in the room is made for one processor: what surrounds these is plain vector code, which
LLVM lowers for any. So a tile that is ``emulated`` gets the same sums from plain code as well, and
its path runs everywhere: slowly, with every load, shuffle, mask and store as it is on the processor
that it was written for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir

from numq.kernels.machine.ir import I16, I32, Builder, Value, call, shuffle, splat, vector
from numq.kernels.machine.tile import Tile


def vpdpbusd(b: Builder, tile: Tile, total: Value, left: Value, right: Value) -> Value:
    """``total + left . right``: in every int32 lane four uint8 of ``left``, four int8 of ``right``.

    Modulo 2**32; nothing saturates.
    """
    words = total.type
    if not tile.emulated:
        return call(b, f"llvm.x86.avx512.vpdpbusd.{32 * words.count}", words, total, left, right)
    return _emulated(b, "vpdpbusd", _dot4, words, total, left, right)


def vpmaddwd(b: Builder, tile: Tile, left: Value, right: Value) -> Value:
    """Sums of two neighbouring products, int16 x int16: int32 lanes.

    Modulo 2**32, which only ``2 * (-2**15)**2`` reaches.
    """
    words = vector(I32, left.type.count // 2)
    if not tile.emulated:
        return call(b, "llvm.x86.avx2.pmadd.wd", words, left, right)
    return _emulated(b, "vpmaddwd", pair_products, words, left, right)


def vpmaddubsw(b: Builder, tile: Tile, left: Value, right: Value) -> Value:
    """Sums of two neighbouring products, uint8 x int8: int16 lanes, which *saturate*."""
    pairs = vector(I16, left.type.count // 2)
    if not tile.emulated:
        return call(b, "llvm.x86.avx2.pmadd.ub.sw", pairs, left, right)
    return _emulated(b, "vpmaddubsw", _saturated_pairs, pairs, left, right)


def pair_products(b: Builder, left: Value, right: Value) -> Value:
    """``left[2i] * right[2i] + left[2i+1] * right[2i+1]`` of int16, in plain code."""
    count = left.type.count
    wide = vector(I32, count)
    products = b.mul(b.sext(left, wide), b.sext(right, wide))
    even, odd = (shuffle(b, products, products, range(first, count, 2)) for first in (0, 1))
    return b.add(even, odd)


def _dot4(b: Builder, total: Value, left: Value, right: Value) -> Value:
    """Byte after byte: the left one without a sign, the right one with it."""
    lanes = total.type.count

    def constant(number: int) -> Value:
        return splat(b, ir.Constant(I32, number), lanes)

    for byte in range(4):
        unsigned = b.and_(b.lshr(left, constant(8 * byte)), constant(255))
        signed = b.ashr(b.shl(right, constant(24 - 8 * byte)), constant(24))
        total = b.add(total, b.mul(unsigned, signed))
    return total


def _saturated_pairs(b: Builder, left: Value, right: Value) -> Value:
    """A product is at most 255 * 128 and fits int16; the sum of two may not."""
    count = left.type.count
    wide, pairs = vector(I16, count), vector(I16, count // 2)
    products = b.mul(b.zext(left, wide), b.sext(right, wide))
    even, odd = (shuffle(b, products, products, range(first, count, 2)) for first in (0, 1))
    return call(b, f"llvm.sadd.sat.v{pairs.count}i16", pairs, even, odd)


def _emulated(
    b: Builder, name: str, body: Callable[..., Value], result: Any, *values: Value
) -> Value:
    """A call of ``body``, as one function of the module: pasted in, it would make tiles huge."""
    name = f"numq.{name}.{result.count}"
    function = b.module.globals.get(name)
    if function is None:
        kind = ir.FunctionType(result, [value.type for value in values])
        function = ir.Function(b.module, kind, name)
        function.linkage = "internal"
        function.attributes.add("noinline")
        inside = ir.IRBuilder(function.append_basic_block("entry"))
        inside.ret(body(inside, *function.args))
    return b.call(function, values)
