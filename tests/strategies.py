"""What the property tests draw from: values aimed at ties, bounds and the ends of float32."""

import json
from itertools import product
from pathlib import Path

import numpy as np
from hypothesis import strategies as st

from numq.formats import INT_FORMATS, IntFormat
from numq.requantization import Multiplier, Requantization
from numq.rounding import Rounding, ZeroPointOrder

GOLDEN = Path(__file__).parent / "golden"

FLOAT32_MAX = float(np.finfo(np.float32).max)
TINY = float(np.finfo(np.float32).tiny)

NEAREST = (Rounding.HALF_EVEN, Rounding.HALF_AWAY, Rounding.HALF_UP)
DETERMINISTIC = tuple(r for r in Rounding if r is not Rounding.STOCHASTIC)
# All requantizations that are defined.
FLOATS = [
    Requantization(kind, rounding, order=order)
    for kind in (Multiplier.FLOAT32, Multiplier.FLOAT64)
    for rounding in DETERMINISTIC
    for order in (ZeroPointOrder.ROUND_THEN_ADD, ZeroPointOrder.ADD_THEN_ROUND)
]
FIXED = [
    Requantization(Multiplier.Q31, rounding, high)
    for rounding, high in product(DETERMINISTIC, (None, *DETERMINISTIC))
]

small_formats = st.sampled_from([f for f in INT_FORMATS if f.bits <= 8]).flatmap(
    lambda f: st.sampled_from([f, f.narrow()])
)
formats = st.builds(
    IntFormat,
    bits=st.integers(2, 16),
    signed=st.booleans(),
    narrow_range=st.booleans(),
)
finite32 = st.floats(width=32, allow_nan=False, allow_infinity=False)
scales = st.one_of(
    st.floats(2**-20, 2**20, width=32),
    st.integers(-20, 20).map(lambda e: 2.0**e),
    st.sampled_from([TINY, FLOAT32_MAX, float(np.float32(0.1)), 1 / 3]).map(
        lambda s: float(np.float32(s))
    ),
)


@st.composite
def near_ties(draw, scale=None):
    """A float32 value at (k + ½)·scale, or up to two ulps beside it; now and then anything."""
    if draw(st.integers(0, 3)) == 0:
        return draw(finite32)
    scale = draw(scales) if scale is None else scale
    k = draw(st.integers(-300, 300) | st.sampled_from([2**15, 2**16, 2**23, 2**24, 2**31]))
    x = np.float32(min(max((k + 0.5) * scale, -FLOAT32_MAX), FLOAT32_MAX))
    for _ in range(draw(st.integers(0, 2))):
        x = np.nextafter(x, np.float32(draw(st.sampled_from([-FLOAT32_MAX, FLOAT32_MAX]))))
    return float(x)


def golden(name):
    """(meta, arrays) of each record of a golden file."""
    with np.load(GOLDEN / f"{name}.npz", allow_pickle=False) as file:
        records = {}
        for key in file.files:
            number, field = key.split(".", 1)
            records.setdefault(number, {})[field] = file[key]
    return [(json.loads(str(r.pop("meta"))), r) for _, r in sorted(records.items())]


def format_of(meta):
    """The format with the bounds that a golden record names."""
    bits = (meta["qmax"] - meta["qmin"] + 1).bit_length() - 1
    format = IntFormat(bits, signed=meta["qmin"] < 0)
    assert (format.qmin, format.qmax) == (meta["qmin"], meta["qmax"])
    return format
