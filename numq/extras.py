"""Packages that numq does without until they are asked for: the extras of its installation.

Every module of numq imports with NumPy, Numba, ml_dtypes and safetensors alone. Whatever needs more
imports it when it is called, inside `extra`, so that a missing package is named with its remedy.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum


class Extra(Enum):
    """The sets of optional packages, by the names that pip knows them by."""

    DATA = "data"  #: scikit-learn
    DEMO = "demo"  #: data, rich, matplotlib
    BENCH = "bench"  #: demo, onnx, onnxruntime, threadpoolctl
    NOTEBOOKS = "notebooks"  #: demo, jupyter, ipywidgets
    TORCH = "torch"


class MissingExtraError(ModuleNotFoundError):
    """A package of an extra is not installed."""


@contextmanager
def extra(needed: Extra) -> Iterator[None]:
    """Around imports of optional packages.

    Raises:
        MissingExtraError: what is missing, and how to install it. It is an ImportError, with the
            missing module in `name`.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        remedy = f"install the extra: pip install 'numq[{needed.value}]'"
        raise MissingExtraError(f"{error.name} is missing; {remedy}", name=error.name) from error
