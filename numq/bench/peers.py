"""The others: what a peer must offer, which are installed, and NumPy, which always is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol

import numpy as np

from numq.bench.problems import (
    SCALE,
    SHIFT,
    Array,
    Call,
    ElementwiseArrays,
    GroupedArrays,
    Problem,
    ProductArrays,
)
from numq.bench.shapes import Form, Pass
from numq.extras import Extra, extra

ONE_CODE = 1.0  #: where a peer multiplies by 1 / scale, or rounds a multiplier otherwise
ONE_STEP = SCALE * 1.01  #: the same, dequantized
CHAINED = 3e-2  #: of the largest result: activations of 8 bits against those of 32


@dataclass(frozen=True, eq=False)
class Contestant:
    """One way to answer a problem."""

    name: str
    call: Call  #: this is timed
    within: float = 0.0  #: how far an answer may be from numq's
    relative: bool = False  #: ``within`` is a share of the largest answer
    read: Callable[[Any], Array] = np.asarray  #: the answer as an array; not timed


class Peer(Protocol):
    """A library to compare with; making one imports it."""

    @property
    def name(self) -> str:
        """The library and its version."""

    def contestants(self, given: Problem, threads: int) -> list[Contestant]:
        """Its ways to answer ``given`` on so many threads; none where it has none."""


@dataclass(frozen=True)
class Absent:
    """A peer that takes no part."""

    name: str
    why: str  #: where a package is missing, with the command that installs it


ADAPTERS = (
    ("numpy", "numq.bench.peers", "NumpyPeer"),
    ("onnxruntime", "numq.bench.onnxruntime_peer", "OnnxRuntimePeer"),
    ("torch", "numq.bench.torch_peer", "TorchPeer"),
)  #: library, module and class of each adapter


def find_peers() -> tuple[list[Peer], list[Absent]]:
    """Those installed, and why each other one is not there."""
    found: list[Peer] = []
    absent = []
    for library, module, name in ADAPTERS:
        try:
            found.append(getattr(import_module(module), name)())
        except (ImportError, OSError) as error:  # not there, or a library of its own is not
            absent.append(Absent(library, next(iter(str(error).splitlines()), "no reason given")))
    return found, absent


class NumpyPeer:
    """Products in float32 (OpenBLAS or the like), passes as NumPy expressions."""

    def __init__(self) -> None:
        """Nothing but the count of threads could be missing.

        Raises:
            ImportError: threadpoolctl is missing, which alone can set the threads of NumPy's BLAS.
        """
        with extra(Extra.BENCH):
            import_module("threadpoolctl")

    @property
    def name(self) -> str:
        """The library and its version."""
        return f"numpy {np.__version__}"

    def contestants(self, given: Problem, threads: int) -> list[Contestant]:
        """``threads`` was set for the whole process."""
        match given:
            case ProductArrays() if given.case.form is not Form.LINEAR:
                a, b = given.a.astype(np.float32), given.b.astype(np.float32)
                # Exact while every partial sum stays below 2**24.
                return [Contestant("numpy float32", lambda: a @ b, 1e-6, relative=True)]
            case GroupedArrays():
                x, w = given.x, given.weight()
                return [Contestant("numpy float32", lambda: x @ w, CHAINED, relative=True)]
            case ElementwiseArrays():
                return [_expression(given)]
            case _:
                return []


def _expression(given: ElementwiseArrays) -> Contestant:
    x, codes = given.x, given.codes
    scale, shift = np.float32(SCALE), np.float32(SHIFT)

    def quantize() -> Array:
        steps: Array = np.clip(np.rint(x / scale) + shift, -128, 127)
        return steps.astype(np.int8)

    def fake_quantize() -> Array:
        steps: Array = np.clip(np.rint(x / scale) + shift, -128, 127)
        return scale * (steps - shift)

    calls: dict[Pass, Call] = {
        Pass.QUANTIZE: quantize,
        Pass.DEQUANTIZE: lambda: scale * (codes - shift),
        Pass.FAKE_QUANTIZE: fake_quantize,
        Pass.MIN_MAX: lambda: np.array([x.min(), x.max()]),
    }
    return Contestant("numpy expression", calls[given.case.name])
