"""No kernel touches a byte beyond its operands: each ends where a page begins that kills who reads.

The calls run in a process of their own, on memory whose last byte lies before a page without
access (and, the other way, whose first lies behind one).
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from numq.kernels import jit_enabled

needs_pages = pytest.mark.skipif(
    not (jit_enabled() and hasattr(os, "fork")), reason="needs mprotect and compiled code"
)

SCRIPT = """
import ctypes, mmap, sys
import numpy as np
from dataclasses import replace
from itertools import product
from matrices import COMPILED
from numq.kernels import *
from numq.kernels.grouped.activations import quantize_activation
from numq.kernels.passes import elementwise, ranges, rows, special
from numq.kernels.passes.requantize import requantize
from numq.kernels.product import ways
from numq.kernels.product.prepared import prepare_product
from numq.requantization import Requantization as How
from numq.kernels.grouped.weights import PackedGroupedWeight, pack_grouped_weight
from numq.kernels.grouped.weight_only import matmul_float, matmul_integer

PAGE = mmap.PAGESIZE
protect = ctypes.CDLL(None, use_errno=True).mprotect
kept = []

def guarded(array, front):
    "A copy between two pages that nobody may touch, at the end of the room or at its beginning."
    array = np.ascontiguousarray(array)
    room = max(1, -(-array.nbytes // PAGE)) * PAGE
    area = mmap.mmap(-1, room + 2 * PAGE)
    kept.append(area)
    start = ctypes.addressof(ctypes.c_char.from_buffer(area))
    for page in (start, start + PAGE + room):
        assert protect(ctypes.c_void_p(page), ctypes.c_size_t(PAGE), 0) == 0
    offset = PAGE if front else PAGE + room - array.nbytes
    copy = np.frombuffer(area, array.dtype, array.size, offset).reshape(array.shape)
    copy[...] = array
    return copy

def run(front, isa, name):
    rng = np.random.default_rng(0)
    g = lambda array: guarded(array, front)
    code = lambda dtype, *shape: g(rng.integers(0, 256, shape).astype(dtype))
    real = lambda *shape: g(rng.random(shape, np.float32))
    word = lambda *shape: g(rng.integers(-99, 99, shape).astype(np.int32))
    if name == "product":
        for (m, k, n), kind in product(SIZES, (np.int8, np.uint8)):
            for turn in (False, True):
                a, b = code(kind, m, k), code(kind, k, n)
                if turn:
                    a, b = code(kind, k, m).T, code(kind, n, k).T
                out = g(np.zeros((m, n), np.int32))
                assert (matmul(a, b, out=out, isa=isa) == a.astype(int) @ b).all()
    if name == "fused":
        for m, k, n in SIZES:
            a, w = code(np.int8, m, k), pack_weight(code(np.uint8, k, n), isa=isa)
            zeros, factors = dict(a_zero_point=3, b_zero_point=word(n)), real(n)
            factors += np.float32(.1)
            matmul_integers(a, w, bias=word(n), out=g(np.zeros((m, n), np.int32)), **zeros)
            matmul_requantized(a, w, multiplier=factors, bias=word(n), **zeros)
            matmul_dequantized(a, w, row_scale=real(m), column_scale=real(n), bias=real(n), **zeros)
            way = ways.dequantized(factors, real(n), n)
            way = replace(way, record=g(way.record))
            real_out = prepare_product(w, way, a_dtype=np.int8, b_zero_point=word(n))
            real_out(a, row_scale=real(m), row_zero_point=word(m))
    if name == "conv":
        for layout, (c, h, w, o, kernel, groups) in product(Layout, LAYERS):
            shape = (1, c, h, w) if layout is Layout.NCHW else (1, h, w, c)
            values = code(np.int8, o, c // groups, kernel, kernel)
            weight = pack_conv_weight(values, groups=groups, isa=isa)
            for pad, step in ((0, 1), (1, 2)):
                steps = dict(padding=((pad, pad),) * 2, stride=(step, step), layout=layout)
                x, factors = code(np.uint8, *shape), real(o)
                factors += np.float32(.1)
                conv2d_integers(x, weight, x_zero_point=7, w_zero_point=word(o), **steps)
                conv2d_requantized(x, weight, multiplier=factors, bias=word(o), **steps)
                conv2d_dequantized(x, weight, scale=factors, bias=real(o), **steps)
    if name == "grouped":
        for (m, k, n), bits, group in product(SIZES, (4, 8), (5, 32)):
            codes = code(np.uint8, k, n) >> (8 - bits)
            packed = pack_grouped_weight(codes, real(-(-k // group), n), bits=bits, group=group)
            arrays = (g(getattr(packed, f)) for f in ("codes", "scales", "zero_points"))
            w = PackedGroupedWeight((k, n), bits, group, *arrays)
            matmul_integer(real(m, k), w, isa=isa), matmul_float(real(m, k), w, isa=isa)
            matmul_integer(real(m, k), w, per_row=True, isa=isa)
    if name == "passes":
        for m, n in ((1, 1), (3, 5), (7, 17), (2, 33), (1, 100)):
            x = real(m, n)
            for dtype in (np.int8, np.uint16):
                grids = (0.1, 1, None), (g(real(m) + 1), word(m), 0), (g(real(n) + 1), word(n), 1)
                for s, z, axis in grids:
                    ends = dict(qmin=0, qmax=100, axis=axis)
                    out = g(np.zeros((m, n), dtype))
                    elementwise.quantize(x, s, z, dtype=dtype, out=out, **ends)
                    elementwise.fake_quantize(x, s, z, out=real(m, n), **ends)
                    elementwise.dequantize(out, s, z, axis=axis, out=real(m, n))
            ranges.min_max(x)
            rows.quantize_rows(x, symmetric=False)
            quantize_activation(x, 8), special.erf(x)
            ends = dict(zero_point=0, qmin=-8, qmax=7, dtype=np.int16)
            factors = {How.F32_EVEN: .5, How.F64_AWAY: .5, How.GEMMLOWP_DOUBLE: 2**30}
            for (how, factor), channels in product(factors.items(), (1, n)):
                way = ways.requantized(how, factor, channels=channels, **ends)
                requantize(word(m, n), replace(way, record=g(way.record)))

SIZES = ((1, 1, 1), (1, 70, 33), (3, 5, 2), (9, 131, 17), (30, 67, 71), (97, 33, 5))
LAYERS = ((5, 7, 9, 3, 3, 1), (8, 5, 5, 17, 1, 1), (6, 6, 7, 6, 3, 6), (4, 9, 5, 8, 3, 2))
"""


def guarded(script: str) -> None:
    """Run it, from the folder of `matrices`."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT + script], cwd=Path(__file__).parent, capture_output=True,
        text=True, timeout=300, check=False, env=dict(os.environ),
    )  # fmt: skip
    assert done.returncode == 0, (done.returncode, done.stdout[-200:], done.stderr[-2000:])


@needs_pages
def test_nothing_is_touched_beyond_an_operand() -> None:
    """On every path, at the back and at the front; what was printed last is what died."""
    guarded("""
for front in (False, True):
    for isa, name in product(COMPILED, ("product", "fused", "conv", "grouped")):
        print(isa, name, "front" if front else "back", flush=True)
        run(front, isa, name)
    print("passes", flush=True)
    run(front, None, "passes")
""")


@needs_pages
def test_the_guard_kills() -> None:
    """Else the test above would prove nothing: one byte beyond is a segmentation fault."""
    beyond = "np.lib.stride_tricks.as_strided(guarded(np.ones(3, np.int8), False), (4,)).sum()"
    with pytest.raises(AssertionError, match=r"-11|-10"):
        guarded(beyond)
