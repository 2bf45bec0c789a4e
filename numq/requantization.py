"""How an int32 accumulator becomes a code: one value, for every operator on integers.

    y = clamp(round(acc · M) + z_y),   M = s_x·s_w / s_y

What kind of number M is, how often it is rounded and which way, and when the zero point is added:
on each backends disagree. The named ones were established on real backends (x86-64), on ties too.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import ClassVar

from numq.arrays import check_type
from numq.rounding import Rounding, ZeroPointOrder


class Multiplier(Enum):
    """What kind of number an accumulator is multiplied by."""

    FLOAT32 = "float32; so is the accumulator, rounded to even beyond 2^24"
    FLOAT64 = "float64"
    Q31 = "an int32 and a shift: multiplier · 2^(shift − 31), in integers alone"


@dataclass(frozen=True, repr=False)
class Requantization:
    """The arithmetic from an accumulator to a code.

    Attributes:
        multiplier: the kind of number.
        rounding: the last rounding; STOCHASTIC is not defined here.
        high: of a Q31 multiplier that rounds twice, the rounding of the doubling high product
            `acc·m / 2^31`, which `rounding` then shifts; None rounds the 64-bit product once.
        order: when the zero point is added; before rounding for float multipliers alone. (A sum of
            codes by F32_EVEN is ONNX Runtime's, which adds it first: see `integer.add`.)

    Raises:
        TypeError: a field of another type.
        ValueError: a combination that is not defined; names the field.

    >>> Requantization.GEMMLOWP_DOUBLE
    Requantization.GEMMLOWP_DOUBLE(Q31 multiplier, high product HALF_UP, then HALF_AWAY)
    >>> Requantization(Multiplier.FLOAT32, Rounding.HALF_EVEN) == Requantization.F32_EVEN
    True
    """

    multiplier: Multiplier
    rounding: Rounding
    high: Rounding | None = None
    order: ZeroPointOrder = ZeroPointOrder.ROUND_THEN_ADD

    F32_EVEN: ClassVar[Requantization]
    """`rint(float32(acc) · float32 M)`: XNNPACK, ONNX Runtime on x86-64."""
    F64_AWAY: ClassVar[Requantization]
    """`round_half_away(float64(acc) · float64 M)`: LiteRT 2.3, reference FULLY_CONNECTED."""
    GEMMLOWP_DOUBLE: ClassVar[Requantization]
    """Q31, rounded twice, at last half away: gemmlowp, LiteRT 2.3, reference CONV_2D."""
    RUY_DOUBLE_UP: ClassVar[Requantization]
    """Q31, rounded twice, at last half up: ruy, LiteRT 2.3, built-in kernels."""
    FIXED_SINGLE_UP: ClassVar[Requantization]
    """Q31, rounded once, half up: TFLITE_SINGLE_ROUNDING, TOSA."""
    NAMED: ClassVar[tuple[Requantization, ...]]
    """All of these."""

    def __post_init__(self) -> None:
        """Refuse what is not defined."""
        check_type(self.multiplier, Multiplier, "multiplier")
        check_type(self.rounding, Rounding, "rounding")
        check_type(self.high, Rounding | None, "high")
        check_type(self.order, ZeroPointOrder, "order")
        for name, rounding in (("rounding", self.rounding), ("high", self.high)):
            if rounding is Rounding.STOCHASTIC:
                raise ValueError(f"{name} is STOCHASTIC; allowed are the deterministic ones")
        if self.high is not None and not self.fixed:
            raise ValueError(
                f"high is {self.high.name}; allowed beside a {self.multiplier.name} multiplier is "
                "None, as it rounds once"
            )
        orders = [ZeroPointOrder.ROUND_THEN_ADD]
        orders += [] if self.fixed else [ZeroPointOrder.ADD_THEN_ROUND]
        if self.order not in orders:
            allowed = ", ".join(order.name for order in orders)
            raise ValueError(
                f"order is {self.order.name}; allowed beside a {self.multiplier.name} multiplier: "
                f"{allowed}"
            )

    @property
    def fixed(self) -> bool:
        """Whether it is integers alone."""
        return self.multiplier is Multiplier.Q31

    @property
    def twice(self) -> bool:
        """Whether it rounds twice."""
        return self.high is not None

    @property
    def name(self) -> str:
        """That of a named one, else what it is made of."""
        return _NAMES.get(self) or str(self)

    def __str__(self) -> str:
        """What it is made of."""
        high = "" if self.high is None else f"high product {self.high.name}, then "
        first = self.order is ZeroPointOrder.ADD_THEN_ROUND
        added = ", the zero point added first" if first else ""
        return f"{self.multiplier.name} multiplier, {high}{self.rounding.name}{added}"

    def __repr__(self) -> str:
        """Its name, if it has one, and what it is made of."""
        name = _NAMES.get(self)
        return f"Requantization{'.' + name if name else ''}({self})"


Requantization.F32_EVEN = Requantization(Multiplier.FLOAT32, Rounding.HALF_EVEN)
Requantization.F64_AWAY = Requantization(Multiplier.FLOAT64, Rounding.HALF_AWAY)
Requantization.GEMMLOWP_DOUBLE = Requantization(
    Multiplier.Q31, Rounding.HALF_AWAY, high=Rounding.HALF_UP
)
Requantization.RUY_DOUBLE_UP = Requantization(
    Multiplier.Q31, Rounding.HALF_UP, high=Rounding.HALF_UP
)
Requantization.FIXED_SINGLE_UP = Requantization(Multiplier.Q31, Rounding.HALF_UP)

_NAMES = {
    value: name for name, value in vars(Requantization).items() if isinstance(value, Requantization)
}
Requantization.NAMED = tuple(_NAMES)
