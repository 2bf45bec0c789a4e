"""What is measured: the workloads, as data."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from numq.arguments import flag, integer, integers, shown
from numq.arrays import check_type


class Section(Enum):
    """A part of the benchmark that can be run alone."""

    MATMUL = "matmul"  #: two matrices given afresh each time, int32 out
    PREPACKED = "prepacked"  #: a weight prepared once
    MATVEC = "matvec"  #: one row times a weight: the speed of memory
    CONV = "conv"  #: convolutions, requantized
    ELEMENTWISE = "elementwise"  #: one pass over an array
    TRAINING = "training"  #: an epoch in float32, forward and backward


def most_threads() -> int:
    """The largest number of threads that this process may use."""
    from numq.kernels.machine.numba_private import config

    return int(config.NUMBA_NUM_THREADS)


def default_threads() -> tuple[int, ...]:
    """One thread and two; where two are more than may be, one."""
    return tuple(dict.fromkeys((1, min(2, most_threads()))))


@dataclass(frozen=True)
class BenchOptions:
    """What to run.

    Raises:
        TypeError, ValueError: no sections, threads that are no integers from 1 on, and the like.
    """

    sections: tuple[Section, ...] = tuple(Section)
    threads: tuple[int, ...] = field(default_factory=default_threads)  #: each a run of its own
    quick: bool = False  #: a subset that takes well under a minute
    rounds: int | None = None  #: turns of every contestant; None: 5 if quick, else 9
    seed: int = 0  #: of the arrays

    def __post_init__(self) -> None:
        """Refuse before the work what would fail in its middle."""
        if not isinstance(self.sections, tuple) or not self.sections:
            raise TypeError(f"sections is {shown(self.sections)}; allowed are tuples of Section")
        for section in self.sections:
            check_type(section, Section, "sections")
        object.__setattr__(self, "threads", integers(self.threads, "threads", 1))
        if not self.threads:
            raise ValueError("threads is empty; allowed are one count and more")
        flag(self.quick, "quick")
        if self.rounds is not None:
            integer(self.rounds, "rounds", 1)
        integer(self.seed, "seed", 0)


class Form(Enum):
    """What goes into a product, and what comes out; the value is a table's title."""

    S8S8 = "int8 × int8 → int32"
    U8S8 = "uint8 × int8 → int32"
    PACKED = "uint8 × prepacked int8 → int32"
    LINEAR = "uint8 × prepacked int8 → uint8, a scale per column"
    INT4 = "float32 × prepacked int4 with a scale per 32 → float32"


@dataclass(frozen=True)
class Product:
    """(m, k) times (k, n)."""

    section: Section
    form: Form
    m: int
    k: int
    n: int

    @property
    def group(self) -> str:
        """Title of the table that the case is a row of."""
        return f"{self.section.value}: {self.form.value}"

    @property
    def label(self) -> str:
        """The row."""
        return f"{self.m} × {self.k} × {self.n}"

    @property
    def work(self) -> int:
        """Multiplications."""
        return self.m * self.k * self.n

    @property
    def moved(self) -> int:
        """Bytes of operands and result: what has to be read or written at least once."""
        match self.form:
            case Form.INT4:
                return 4 * self.m * (self.k + self.n) + self.k * self.n * 5 // 8
            case Form.LINEAR:
                return self.m * (self.k + self.n) + self.k * self.n
            case _:
                return self.m * (self.k + 4 * self.n) + self.k * self.n

    unit = "GMAC/s"


@dataclass(frozen=True)
class Convolution:
    """A square convolution of one NCHW picture, padded to keep ``size / stride``."""

    channels: int
    filters: int
    size: int  #: rows and columns of the picture
    kernel: int
    stride: int
    groups: int = 1
    section: Section = Section.CONV

    @property
    def group(self) -> str:
        """Title of the table that the case is a row of."""
        name = "depthwise" if self.groups > 1 else "layers of a ResNet-50"
        return f"conv: {name}, uint8 × int8 → uint8"

    @property
    def label(self) -> str:
        """The row."""
        stride = f"/{self.stride}" if self.stride > 1 else ""
        return f"{self.kernel}×{self.kernel}{stride} {self.channels}→{self.filters}, {self.size}²"

    @property
    def padding(self) -> int:
        """On each side."""
        return self.kernel // 2

    @property
    def out_size(self) -> int:
        """Rows and columns of the result."""
        return (self.size + 2 * self.padding - self.kernel) // self.stride + 1

    @property
    def weights(self) -> int:
        """Elements of the weight."""
        return self.filters * self.channels // self.groups * self.kernel**2

    @property
    def work(self) -> int:
        """Multiplications."""
        return self.out_size**2 * self.weights

    @property
    def moved(self) -> int:
        """Bytes of operands and result."""
        return self.channels * self.size**2 + self.weights + self.filters * self.out_size**2

    unit = "GMAC/s"


class Pass(Enum):
    """An elementwise pass over float32 or its codes."""

    QUANTIZE = "quantize"
    DEQUANTIZE = "dequantize"
    FAKE_QUANTIZE = "fake-quantize"
    MIN_MAX = "min-max"


MOVED = {Pass.QUANTIZE: 5, Pass.DEQUANTIZE: 5, Pass.FAKE_QUANTIZE: 8, Pass.MIN_MAX: 4}


@dataclass(frozen=True)
class Elementwise:
    """One pass over ``count`` elements."""

    name: Pass
    count: int
    section: Section = Section.ELEMENTWISE

    @property
    def group(self) -> str:
        """Title of the table that the case is a row of."""
        return "elementwise: float32 ↔ int8, one scale; bytes read and written"

    @property
    def label(self) -> str:
        """The row."""
        size = f"{self.count >> 20}M" if self.count >= 1 << 20 else f"{self.count >> 10}k"
        return f"{self.name.value} {size}"

    @property
    def work(self) -> int:
        """Bytes read and written."""
        return self.count * MOVED[self.name]

    moved = work
    unit = "GB/s"


BATCH = 50  #: pictures of a mini-batch
_MACS = 8 * 8 * 16 * 9 + 4 * 4 * 32 * 16 * 9 + 128 * 10  #: of the CNN, forward, a picture


@dataclass(frozen=True)
class Training:
    """An epoch of the digits CNN over ``pictures``."""

    pictures: int
    section: Section = Section.TRAINING

    @property
    def group(self) -> str:
        """Title of the table that the case is a row of."""
        return "training: an epoch of the digits CNN in float32 (the roof is int8's)"

    @property
    def label(self) -> str:
        """The row."""
        return f"{self.pictures} pictures of 8×8"

    @property
    def work(self) -> int:
        """Multiplications: forward, and twice as many backward."""
        return 3 * _MACS * self.pictures

    @property
    def moved(self) -> int:
        """Bytes of the pictures."""
        return 4 * 64 * self.pictures

    unit = "GMAC/s"


Case = Product | Convolution | Elementwise | Training


def _products(section: Section, form: Form, *shapes: tuple[int, int, int]) -> tuple[Product, ...]:
    return tuple(Product(section, form, *shape) for shape in shapes)


SQUARES = tuple((n, n, n) for n in (32, 64, 128, 256, 512, 1024, 2048))
PRIMES = tuple((n, n, n) for n in (31, 67, 127, 257, 509, 1021))
LEAN = ((4096, 64, 64), (64, 64, 4096), (64, 4096, 64))  #: tall, flat, deep
BATCHES = ((1, 4096, 4096), (8, 4096, 4096), (128, 4096, 4096))
LAYERS = ((64, 64, 64), (256, 256, 256), (1024, 1024, 1024), (128, 768, 3072), (509, 509, 509))
RESNET50 = (
    (3, 64, 224, 7, 2),
    (64, 64, 56, 1, 1), (64, 64, 56, 3, 1), (64, 256, 56, 1, 1), (256, 64, 56, 1, 1),
    (256, 128, 56, 1, 1), (128, 128, 56, 3, 2), (128, 512, 28, 1, 1), (256, 512, 56, 1, 2),
    (512, 128, 28, 1, 1), (128, 128, 28, 3, 1),
    (512, 256, 28, 1, 1), (256, 256, 28, 3, 2), (256, 1024, 14, 1, 1), (512, 1024, 28, 1, 2),
    (1024, 256, 14, 1, 1), (256, 256, 14, 3, 1),
    (1024, 512, 14, 1, 1), (512, 512, 14, 3, 2), (512, 2048, 7, 1, 1), (1024, 2048, 14, 1, 2),
    (2048, 512, 7, 1, 1), (512, 512, 7, 3, 1),
)  # fmt: skip
"""Channels, filters, size, kernel, stride of every distinct layer for pictures of 224 × 224; the
stride sits in the 3×3 layers."""
DEPTHWISE = ((32, 112, 1), (96, 112, 2), (144, 56, 1), (384, 14, 1), (960, 7, 1))
SIZES = (1 << 16, 1 << 20, 1 << 24)

CASES: tuple[Case, ...] = (
    *_products(Section.MATMUL, Form.S8S8, *SQUARES, *PRIMES, *LEAN, *BATCHES),
    *_products(Section.MATMUL, Form.U8S8, *SQUARES, *PRIMES, *LEAN, *BATCHES),
    *_products(Section.PREPACKED, Form.LINEAR, *LAYERS, *BATCHES),
    *_products(Section.PREPACKED, Form.PACKED, *LAYERS, *BATCHES[1:]),
    *_products(Section.MATVEC, Form.PACKED, (1, 4096, 4096), (1, 1024, 1024), (1, 4096, 11008)),
    *_products(Section.MATVEC, Form.INT4, (1, 4096, 4096), (1, 1024, 1024), (1, 4096, 11008)),
    *(Convolution(*layer) for layer in RESNET50),
    *(Convolution(c, c, size, 3, stride, groups=c) for c, size, stride in DEPTHWISE),
    *(Elementwise(name, count) for name in Pass for count in SIZES),
    Training(1000),
)

QUICK: tuple[Case, ...] = (
    *_products(Section.MATMUL, Form.S8S8, SQUARES[1], SQUARES[5], PRIMES[3], LEAN[0], BATCHES[0]),
    *_products(Section.MATMUL, Form.U8S8, SQUARES[1], SQUARES[5], PRIMES[3]),
    *_products(Section.PREPACKED, Form.LINEAR, LAYERS[1], LAYERS[2], BATCHES[1]),
    *_products(Section.MATVEC, Form.PACKED, (1, 4096, 4096)),
    *_products(Section.MATVEC, Form.INT4, (1, 4096, 4096)),
    *(Convolution(*RESNET50[i]) for i in (2, 3, 15)),
    Convolution(144, 144, 56, 3, 1, groups=144),
    *(Elementwise(name, 1 << 20) for name in Pass),
    Training(1000),
)


def cases(options: BenchOptions) -> tuple[Case, ...]:
    """The workloads that were asked for, in the order of the tables."""
    every = QUICK if options.quick else CASES
    return tuple(case for case in every if case.section in options.sections)
