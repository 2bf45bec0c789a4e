"""The register tile of each kind of processor, and the door from Numba to code written for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from inspect import Parameter, Signature, signature
from itertools import product
from types import MappingProxyType
from typing import Any, get_args, get_type_hints

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from numq.kernels.machine.cpu import EMULATED, Emulated, Isa, KernelPath
from numq.kernels.machine.ir import I64, Builder, Value
from numq.kernels.machine.numba_private import RequireLiteralValue

BLOCK_K = 1024  #: the k's of one packed block of A
ROW_PAD = 64  #: spreads the rows of that block over the sets of the first-level cache


@dataclass(frozen=True)
class Tile:
    """The shape of one register tile, and of what is packed for it."""

    isa: Isa
    lanes: int  #: int32 lanes of a vector
    rows: int  #: of the tile: rows x 2 accumulators, 2 vectors of B, 1 of A must fit the registers
    group: int  #: neighbours in k that one lane multiplies and adds
    item: int  #: bytes of one packed element of A
    emulated: bool = False  #: whether plain code stands in for the instruction

    @property
    def name(self) -> str:
        """In the names of compiled functions."""
        return f"{self.isa.value}.emulated" if self.emulated else self.isa.value

    @property
    def columns(self) -> int:
        """Columns of the tile: two vectors."""
        return 2 * self.lanes

    @property
    def row_bytes(self) -> int:
        """Between two rows of a packed block of A: constant, so that one pointer serves all."""
        return BLOCK_K * self.item + ROW_PAD

    @property
    def shift(self) -> int:
        """What packing adds to an int8 A: 128 where the instruction wants it unsigned."""
        return 128 if self.item == 1 else 0

    @property
    def ones(self) -> int:
        """One lane of A that holds ``group`` ones."""
        return 0x01010101 if self.item == 1 else 0x00010001

    @property
    def direct(self) -> int:
        """Most rows that are multiplied without packing B; above that packing pays."""
        return 9 if self.lanes == 16 else 5


_REAL: dict[KernelPath, Tile] = {
    tile.isa: tile
    for tile in (
        Tile(Isa.AVX512_VNNI, lanes=16, rows=12, group=4, item=1),
        Tile(Isa.AVX_VNNI, lanes=8, rows=6, group=4, item=1),
        Tile(Isa.AVX2, lanes=8, rows=6, group=2, item=2),
        Tile(Isa.GENERIC, lanes=4, rows=4, group=2, item=2),
    )
}
_EMULATED: dict[KernelPath, Tile] = {
    Emulated(isa): replace(_REAL[isa], emulated=True) for isa in EMULATED
}
TILES: Mapping[KernelPath, Tile] = MappingProxyType({**_REAL, **_EMULATED})
ISAS = tuple(TILES)  #: inside compiled code a path is its index here


def emitted(emit: Callable[..., None]) -> Any:
    """Make a Numba function of a function that writes IR.

    ``emit(b, tile, *values)`` gets a builder inside a fresh LLVM function, and int64 values. Numba
    code calls it as ``name(isa, *values)``, ``isa`` a literal index into ``ISAS``. What ``emit``
    takes by keyword, annotated ``Literal[...]``, is known when code is written: there is a *form*
    for each choice. Numba code passes such numbers last, as literals.
    """
    names = _values(emit)
    picks = {name: get_args(kind) for name, kind in get_type_hints(emit).items() if get_args(kind)}
    forms = {
        picked: _form(emit, dict(zip(picks, picked, strict=True)))
        for picked in product(*picks.values())
    }

    def typed(_context: Any, isa: Any, *values: Any) -> Any:
        picked = values[len(names) :]
        for known in (isa, *picked):
            if not isinstance(known, types.IntegerLiteral):
                raise RequireLiteralValue(known)
        tile = TILES[ISAS[isa.literal_value]]
        form = forms[tuple(known.literal_value for known in picked)]

        def generate(context: Any, b: Builder, _signature: Any, given: Any) -> Value:
            b.call(function_of(b.module, form, tile), given[1 : 1 + len(names)])
            return context.get_dummy_value()

        return types.void(isa, *[types.int64] * len(names), *picked), generate

    kind = Parameter.POSITIONAL_OR_KEYWORD  # Numba reads the parameters' names from here
    parameters = [Parameter(name, kind) for name in ("context", "isa", *names, *picks)]
    typed.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
    typed.__name__ = emit.__name__
    made: Any = intrinsic(typed)
    made.forms = tuple(forms.values())
    return made


def _values(emit: Callable[..., None]) -> list[str]:
    """The parameters of ``emit`` that are numbers of the compiled code."""
    parameters = signature(emit).parameters.values()
    return [p.name for p in parameters if p.kind is not Parameter.KEYWORD_ONLY][2:]


def _form(emit: Callable[..., None], known: dict[str, int]) -> Callable[..., None]:
    """``emit`` with its literals filled in; they are part of its name."""
    if not known:
        return emit
    form: Any = partial(emit, **known)
    form.__module__ = emit.__module__
    form.__name__ = emit.__name__ + "_".join(map(str, known.values()))
    return form


_bodies: dict[str, Callable[..., None]] = {}  # a name in the compiled code stands for one function


def function_of(module: Any, emit: Callable[..., None], tile: Tile) -> Any:
    """The LLVM function of ``module`` that ``emit`` writes for a tile."""
    name = f"{emit.__module__}.{emit.__name__}.{tile.name}"
    if _bodies.setdefault(name, emit) is not emit:
        raise ValueError(f"emit is a second {name}; allowed is one function of a name in a module")
    function = module.globals.get(name)
    if function is None:
        kind = ir.FunctionType(ir.VoidType(), [I64] * len(_values(emit)))
        function = ir.Function(module, kind, name)
        function.linkage = "internal"
        function.attributes.add("noinline")  # one huge function takes longer to optimize
        b = ir.IRBuilder(function.append_basic_block("entry"))
        emit(b, tile, *function.args)
        b.ret_void()
    return function


def _fact(name: str) -> Any:
    """A Numba function ``isa -> int`` that reads one number of its tile while compiling."""

    def typed(_context: Any, isa: Any) -> Any:
        if not isinstance(isa, types.IntegerLiteral):
            raise RequireLiteralValue(isa)
        number = getattr(TILES[ISAS[isa.literal_value]], name)
        return types.int64(isa), lambda context, _b, _s, _v: context.get_constant(
            types.int64, number
        )

    typed.__name__ = name
    return intrinsic(typed)


lanes_of, rows_of, group_of = _fact("lanes"), _fact("rows"), _fact("group")
columns_of, row_bytes_of, shift_of = _fact("columns"), _fact("row_bytes"), _fact("shift")
direct_of = _fact("direct")
