"""Which instructions a product may use: what the machine offers, and how to force one."""

from __future__ import annotations

import os
from dataclasses import dataclass
from enum import Enum
from functools import cache
from typing import overload

from numq.kernels.machine.jit import jit_enabled
from numq.kernels.machine.numba_private import config, host_cpu_features

SWITCH = "NUMQ_ISA"  #: environment variable that forces one, by the value of an ``Isa``


class Isa(Enum):
    """The instruction that multiplies; the comment says how many products one of them makes."""

    AVX512_VNNI = "avx512_vnni"  #: vpdpbusd on 512 bits: 64
    AVX_VNNI = "avx_vnni"  #: vpdpbusd on 256 bits: 32
    AVX2 = "avx2"  #: vpmaddwd on 256 bits: 16
    GENERIC = "generic"  #: vector code that LLVM can lower for any processor: 8
    NUMPY = "numpy"  #: no JIT at all


@dataclass(frozen=True)
class Emulated:
    """The path of ``isa`` with the same sum in plain code instead of its instruction.

    For tests: it runs on every machine, many times slower, everything around the instruction as it
    is on a processor that has it. Any function that takes ``isa=`` takes it; nothing chooses it.

    Raises:
        ValueError: ``isa`` has no instruction of its own.
    """

    isa: Isa

    def __post_init__(self) -> None:
        if self.isa not in EMULATED:
            allowed = ", ".join(map(str, EMULATED))
            raise ValueError(f"isa is {self.isa!r}; allowed are {allowed}")


EMULATED = (Isa.AVX512_VNNI, Isa.AVX_VNNI, Isa.AVX2)  #: the paths with an instruction to emulate
KernelPath = Isa | Emulated  #: what compiled code is made for

NEEDS = {
    Isa.AVX512_VNNI: {"avx512f", "avx512bw", "avx512vl", "avx512vnni"},
    Isa.AVX_VNNI: {"avx2", "avxvnni"},
    Isa.AVX2: {"avx2"},
    Isa.GENERIC: set[str](),
}  #: the processor features, by LLVM's names, that the code of each is made of


@cache
def available() -> tuple[Isa, ...]:
    """The instruction sets that this process can use, best first; ``Isa.NUMPY`` is the last."""
    if not jit_enabled():
        return (Isa.NUMPY,)
    features = compiled_features()
    return (*(isa for isa, needs in NEEDS.items() if needs <= features), Isa.NUMPY)


@overload
def choose(forced: None = None) -> Isa: ...


@overload
def choose(forced: KernelPath | None) -> KernelPath: ...


def choose(forced: KernelPath | None = None) -> KernelPath:
    """The instruction set to use: ``forced``, else the one that ``NUMQ_ISA`` names, else the best.

    The environment is read once, at the first call.

    Raises:
        TypeError: ``forced`` is no ``Isa``.
        ValueError: this process cannot use the one asked for, or ``NUMQ_ISA`` names none.
    """
    if forced is None:
        return _preferred()
    if not isinstance(forced, Isa | Emulated):
        raise TypeError(f"isa is {forced!r}; allowed are {', '.join(map(str, available()))}")
    if forced in available() or (isinstance(forced, Emulated) and jit_enabled()):
        return forced
    raise ValueError(
        f"isa is {forced!s}; allowed in this process are {', '.join(map(str, available()))}"
    )


def uses_kernels() -> bool:
    """Whether compiled kernels are to be used at all: the JIT is on, and nobody asked for NumPy."""
    return choose() is not Isa.NUMPY


@cache
def _preferred() -> Isa:
    named = os.environ.get(SWITCH, "").strip().lower()
    for isa in available():
        if named in ("", isa.value):
            return isa
    allowed = ", ".join(isa.value for isa in available())
    raise ValueError(f"{SWITCH} is {named!r}; allowed in this process are {allowed}")


def compiled_features() -> set[str]:
    """The processor features that Numba compiles for, by LLVM's names.

    Those of this machine, unless ``NUMBA_CPU_FEATURES`` says otherwise: code that used more would
    not assemble.
    """
    given: str | None = config.CPU_FEATURES
    text = host_cpu_features() if given is None else given
    return {name[1:] for name in text.split(",") if name.startswith("+")}
