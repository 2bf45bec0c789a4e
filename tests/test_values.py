"""Values of the lower floors: what their fields may be, and that they stay frozen when copied."""

import copy
import dataclasses
import pickle

import numpy as np
import pytest

import numq as nq
from numq import samples
from numq.formats import FLOAT8_E4M3FN, FloatFormat, IntFormat, Specials
from numq.granularity import Granularity, PerBlock, PerChannel, PerGroup, PerTensor
from numq.integer.requantize import prepare_requantizer
from numq.observers import (
    MinMaxObserver,
    MovingAverageObserver,
    MSEObserver,
    PercentileObserver,
)
from numq.qparams import QParams
from numq.quantizers import AffineQuantizer, SymmetricQuantizer
from numq.requantization import Requantization
from numq.scales import NUMQ_FLOOR, ScaleFloor, Target

HALF = nq.FLOAT16
P = QParams(1.0, 0, nq.INT8)
VALUES = [
    QParams([0.5, 0.25], [1, -2], nq.INT4, PerChannel(1)),
    QParams(-0.5, 0, nq.INT4, scale_format=HALF, signed_scale=True),
    QParams(1e-300, 0, nq.INT8, scale_format=nq.FLOAT64),
    AffineQuantizer(nq.INT8, PerChannel(0))(np.eye(3)),
    AffineQuantizer(nq.INT4, PerGroup(1, 2), observer=MSEObserver(), clip=(0.0, None)),
    SymmetricQuantizer(nq.UINT8, PerBlock((1, 2)), scale_format=HALF, floor=NUMQ_FLOOR),
    IntFormat(5, signed=False, narrow_range=True),
    FLOAT8_E4M3FN,
    nq.rules.TORCH_PER_TENSOR_FUSED_ADD_THEN_ROUND,
    Target(nq.INT8),
    nq.error_report([1.0], nq.quantize([1.0], P)),
    PerTensor(), PerChannel(1), nq.PerToken(), PerGroup(0, 2), PerBlock((2, 2)),
    MinMaxObserver(), MovingAverageObserver(0.5), PercentileObserver(99.0), MSEObserver(),
    ScaleFloor(0.0, 0.0, 1.0), nq.Affine(), nq.Symmetric(),
]  # fmt: skip
HOLDERS = [
    *VALUES,
    prepare_requantizer(1.0, [0.5, 0.25], QParams(1.0, 0, nq.INT8)),
    MSEObserver().observe(np.arange(6.0).reshape(2, 3), PerChannel(0)),
    MSEObserver().observe(np.arange(5000.0), PerTensor()).samples,
]
COPIES = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda v: pickle.loads(pickle.dumps(v)),
    "old pickle": lambda v: pickle.loads(pickle.dumps(v, 2)),
    "replace": dataclasses.replace,
}


def arrays_of(value):
    """Every array that a value holds, in whatever depth."""
    if isinstance(value, np.ndarray):
        yield value
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            yield from arrays_of(getattr(value, field.name))


@pytest.mark.parametrize("way", COPIES)
@pytest.mark.parametrize("value", HOLDERS, ids=lambda v: type(v).__name__)
def test_copies_are_equal_and_frozen(value, way):
    again = COPIES[way](value)
    assert type(again) is type(value)
    if value in VALUES:
        assert again == value
    for mine, theirs in zip(arrays_of(value), arrays_of(again), strict=True):
        assert mine.dtype == theirs.dtype
        np.testing.assert_array_equal(mine, theirs)
        with pytest.raises(ValueError, match="read-only"):
            theirs[...] = 0
    with pytest.raises(dataclasses.FrozenInstanceError):
        again.something = None


@pytest.mark.parametrize("base", [nq.quantizers.Quantizer, Granularity, nq.Observer])
def test_bases_are_abstract_in_every_method(base):
    for name in base.__abstractmethods__:
        others = {m: None for m in base.__abstractmethods__ if m != name}
        with pytest.raises(TypeError, match="abstract"):
            type("Half", (base,), others)()
    counts = {nq.quantizers.Quantizer: 1, Granularity: 3, nq.Observer: 3}
    assert len(base.__abstractmethods__) == counts[base]


def test_what_is_unpickled_is_checked():
    function, arguments = QParams(0.5, 3, nq.INT8).__reduce__()
    with pytest.raises(ValueError, match="scale is nan"):
        function(np.float32(np.nan), *arguments[1:])


def test_numpys_numbers_become_pythons():
    made = [
        IntFormat(np.int64(8), np.True_, np.False_),
        PerChannel(np.int8(-1)),
        PerGroup(np.uint8(1), np.int64(4)),
        PerBlock(np.array([2, 3])),
        PerBlock([2, 3]),
        FloatFormat("e4m3", np.int8(4), np.int8(3), Specials.NAN_ONLY),
        PercentileObserver(np.float32(99)),
        MovingAverageObserver(1),
        ScaleFloor(np.float64(0.5), 1, np.float32(2)),
        AffineQuantizer(clip=(np.float32(-1), np.int64(2))).target,
    ]
    plain = (int, float, bool, str, tuple, type(None))
    for value in made:
        for field in dataclasses.fields(value):
            held = getattr(value, field.name)
            for item in held if type(held) is tuple else (held,):
                assert type(item) in plain or not isinstance(item, np.generic | int | float)
    assert made[0] == nq.INT8
    assert hash(made[0]) == hash(nq.INT8)
    assert made[3] == made[4] == PerBlock((2, 3))


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: IntFormat(True), TypeError, "bits is True; allowed are integers"),
        (lambda: IntFormat(8.0), TypeError, r"bits is 8\.0"),
        (lambda: IntFormat("8"), TypeError, "bits is '8'"),
        (lambda: IntFormat(8, signed="no"), TypeError, "signed is 'no'; allowed are True and F"),
        (lambda: IntFormat(8, 1), TypeError, "signed is 1"),
        (lambda: IntFormat(8, narrow_range=7), TypeError, "narrow_range is 7"),
        (lambda: IntFormat(8, narrow_range=None), TypeError, "narrow_range is None"),
        (lambda: FloatFormat("x", 12, 3), ValueError, "exponent_bits is 12; .* from 2 to 11"),
        (lambda: FloatFormat("x", 1, 3), ValueError, "exponent_bits is 1"),
        (lambda: FloatFormat("x", 4, 0), ValueError, "mantissa_bits is 0; .* from 1 to 52"),
        (lambda: FloatFormat("x", 4, 53), ValueError, "mantissa_bits is 53"),
        (lambda: FloatFormat(8, 4, 3), TypeError, "name is 8; allowed is str"),
        (lambda: FloatFormat("x", 4, 3, "fn"), TypeError, "specials is 'fn'; allowed are Specials"),
        (lambda: PerChannel(True), TypeError, "axis is True"),
        (lambda: PerChannel("0"), TypeError, "axis is '0'"),
        (lambda: PerGroup(0, True), TypeError, "size is True"),
        (lambda: PerGroup(0, 2.0), TypeError, r"size is 2\.0"),
        (lambda: PerGroup(None, 2), TypeError, "axis is None"),
        (lambda: PerGroup(0, 0), ValueError, "size is 0; allowed are integers from 1 on"),
        (lambda: PerBlock(3), TypeError, "shape is 3"),
        (lambda: PerBlock((True, 2)), TypeError, r"shape\[0\] is True"),
        (lambda: PerBlock((2, 0)), ValueError, r"shape\[1\] is 0"),
        (lambda: PercentileObserver("99"), TypeError, "percent is '99'"),
        (lambda: PercentileObserver(100.1), ValueError, "percent is 100.1"),
        (lambda: MovingAverageObserver(True), TypeError, "momentum is True"),
        (lambda: MovingAverageObserver(np.nan), ValueError, "momentum is nan"),
        (lambda: ScaleFloor(np.nan, 1.0, 1.0), ValueError, "minimum is nan; allowed are finite"),
        (lambda: ScaleFloor(1.0, np.nan, 1.0), ValueError, "replacement is nan"),
        (lambda: ScaleFloor(1.0, 1.0, np.inf), ValueError, "all_zero is inf"),
        (lambda: ScaleFloor(-1.0, 1.0, 1.0), ValueError, "minimum is -1.0"),
        (lambda: ScaleFloor(1.0, 0.0, 1.0), ValueError, "replacement is 0.0; .* above 0"),
        (lambda: ScaleFloor(0.0, -1.0, 1.0), ValueError, "replacement is -1.0; .* from 0"),
        (lambda: ScaleFloor(1.0, 1.0, 0.0), ValueError, "all_zero is 0.0; .* above 0"),
        (lambda: ScaleFloor("1", 1.0, 1.0), TypeError, "minimum is '1'"),
        (lambda: Target("int8"), TypeError, "format is 'int8'; allowed is Format"),
        (lambda: Target(nq.INT8, nq.Affine), TypeError, r"scheme is Affine; allowed are "),
        (lambda: Target(nq.INT8, scale_format=16), TypeError, "scale_format is 16"),
        (lambda: Target(nq.INT8, floor=0.1), TypeError, "floor is 0.1; allowed is ScaleFloor"),
        (lambda: Target(nq.INT8, clip=[0, 1]), TypeError, "clip is .*; allowed is tuple"),
        (lambda: Target(nq.INT8, clip=(0,)), ValueError, r"clip is \(0,\); allowed are two"),
        (lambda: Target(nq.INT8, clip=(True, 2)), TypeError, "clip is True"),
        (lambda: Target(nq.INT8, clip=(0, np.inf)), ValueError, "clip is inf"),
        (lambda: Target(nq.INT8, clip=(1, 1)), ValueError, r"clip is \(1, 1\); allowed is a low"),
        (lambda: AffineQuantizer(nq.INT8, clip=("a", 2)), TypeError, "clip is 'a'"),
        (lambda: AffineQuantizer("int8"), TypeError, "format is 'int8'"),
        (lambda: AffineQuantizer(nq.INT8, PerTensor), TypeError,
         "PerTensor; allowed is Granularity: write it with"),
        (lambda: AffineQuantizer(nq.INT8, observer="mse"), TypeError, "observer is 'mse'"),
        (lambda: AffineQuantizer(nq.INT8, rule="onnx"), TypeError, "rule is 'onnx'"),
        (lambda: AffineQuantizer(nq.INT8, zero_point=0), TypeError, "zero_point is 0"),
        (lambda: SymmetricQuantizer(nq.INT8, range="full"), TypeError, "range is 'full'"),
        (lambda: QParams(1.0, 0, "int8"), TypeError, "format is 'int8'; allowed is Format"),
        (lambda: QParams(1.0, 0, nq.INT8, "row"), TypeError, "granularity is 'row'; allowed is"),
        (lambda: QParams(1.0, 0, nq.INT8, scale_format="half"), TypeError,
         "scale_format is 'half'; allowed is FloatFormat"),
        (lambda: nq.choose_qparams(0, 1, "int8"), TypeError, "format is 'int8'"),
        (lambda: nq.choose_qparams(0, 1, nq.INT8, scheme="affine"), TypeError, "scheme is 'aff"),
        (lambda: nq.choose_qparams(0, 1, nq.INT8, floor=0.0), TypeError, "floor is 0.0"),
        (lambda: nq.QTensor([1], 0.5), TypeError, "qparams is 0.5; allowed is QParams"),
        (lambda: nq.quantize([1.0], 0.5), TypeError, "qparams is 0.5; allowed is QParams"),
        (lambda: nq.fake_quantize([1.0], 0.5), TypeError, "qparams is 0.5; allowed is QParams"),
        (lambda: nq.quantize([1.0], P, rule="onnx"), TypeError, "rule is 'onnx'; allowed is Quant"),
        (lambda: nq.fake_quantize([1.0], P, rule=1), TypeError, "rule is 1; allowed is Quant"),
        (lambda: nq.round_values([1.0], "even"), TypeError, "rounding is 'even'"),
        (lambda: nq.INT8.encode([1.0], overflow="wrap"), TypeError, "overflow is 'wr"),
        (lambda: nq.pack([1], "int4"), TypeError, "format is 'int4'"),
        (lambda: nq.pack([1], nq.UINT4, order="awq"), TypeError, "order is 'awq'"),
        (lambda: QParams(1.0, 0, nq.INT8, signed_scale=1), TypeError, "signed_scale is 1"),
        (lambda: QParams(True, 0, nq.INT8), TypeError, "scale has dtype bool"),
        (lambda: QParams(1.0, True, nq.INT8), TypeError, "zero_point has dtype bool"),
        (lambda: nq.QuantizeRule(scale_op="/"), TypeError, "scale_op is '/'; allowed are ScaleOp"),
        (lambda: nq.QuantizeRule(order=1), TypeError, "order is 1; allowed are ZeroPointOrder"),
        (lambda: nq.QuantizeRule(rounding=1), TypeError, "rounding is 1; allowed are Rounding"),
        (lambda: nq.QuantizeRule(overflow=None), TypeError, "overflow is None; allowed are Over"),
        (lambda: nq.QuantizeRule(non_finite=True), TypeError, "non_finite is True; allowed are"),
    ],
)  # fmt: skip
def test_fields_of_other_types_are_named(make, error, message):
    with pytest.raises(error, match=message):
        make()


OBSERVERS = [MinMaxObserver(), MovingAverageObserver(), PercentileObserver(), MSEObserver()]


@pytest.mark.parametrize("mine", OBSERVERS)
@pytest.mark.parametrize("other", OBSERVERS)
def test_an_observer_reads_only_what_its_kind_has_seen(mine, other):
    state, own = (o.observe([1.0, 2.0], PerTensor()) for o in (other, mine))
    if mine is other:
        assert mine.range(state, Target(nq.INT8))[1] == pytest.approx(2, rel=1e-4)
        return
    message = f"is what a {type(other).__name__} has seen; allowed is what a {type(mine).__name__}"
    for call in (
        lambda: mine.range(state, Target(nq.INT8)),
        lambda: mine.merge(own, state),
        lambda: mine.merge(state, own),
    ):
        with pytest.raises(ValueError, match=message):
            call()


def test_what_is_no_state_is_named():
    observer, state = MSEObserver(), MSEObserver().observe([1.0], PerTensor())
    with pytest.raises(TypeError, match=r"state is an array of shape \(3,\).*Observed"):
        observer.range(np.ones(3), Target(nq.INT8))
    with pytest.raises(TypeError, match="b is None; allowed is Observed"):
        observer.merge(state, None)
    with pytest.raises(TypeError, match=r"target is .*int8.*; allowed is Target"):
        observer.range(state, nq.INT8)
    with pytest.raises(TypeError, match="granularity is 0; allowed is Granularity"):
        observer.observe([1.0], 0)


@pytest.mark.parametrize("masked", [
    [np.ma.masked_equal([1.0, 2.0], 2.0), [3.0, 4.0]],
    ([[1.0, np.ma.masked]],),
    [1.0, np.ma.masked],
])  # fmt: skip
def test_masked_arrays_in_lists_are_refused(masked):
    for call in (
        lambda: AffineQuantizer(nq.INT8)(masked),
        lambda: QParams(masked, 0, nq.INT8, PerChannel(0)),
        lambda: nq.sqnr_db(masked, masked),
    ):
        with pytest.raises(
            TypeError, match="is a sequence with a masked array; allowed are arrays whose"
        ):
            call()
    with pytest.raises(TypeError, match="codes is a sequence with a masked array"):
        nq.pack([np.ma.masked_equal([1, 2], 2)], nq.INT4)


def test_observers_leave_the_data_and_each_other_alone():
    x = np.arange(10.0).reshape(2, 5)
    x.setflags(write=False)
    for observer in OBSERVERS:
        state = observer.observe(x, PerGroup(1, 3))  # the second group of a row has two values
        before = [a.copy() for a in arrays_of(state.samples)]
        observer.range(state, Target(nq.INT4))
        observer.merge(state, observer.observe(-x, PerGroup(1, 3)))
        for a, b in zip(before, arrays_of(state.samples), strict=True):
            np.testing.assert_array_equal(a, b)
    assert samples.sample(x).values is not x


def test_what_came_is_shown_briefly():
    for value in (np.zeros((500, 500)), list(range(10**4)), nq.nn.Sequential(), "x" * 10**4):
        with pytest.raises(TypeError) as caught:
            QParams(1.0, 0, value)
        assert len(str(caught.value)) < 200
    with pytest.raises(TypeError, match=r"requantizer is an array of shape \(2,\)"):
        nq.requantize([1], np.ones(2))
    with pytest.raises(TypeError, match=r"requantization is 1; allowed is Requantization$"):
        prepare_requantizer(1.0, 1.0, QParams(1.0, 0, nq.INT8), requantization=1)
    assert len(Requantization.NAMED) == 5


def test_the_public_face():
    face = dir(nq)
    for internal in ("arrays", "arguments", "storage", "observers", "arithmetic", "annotations"):
        assert internal not in face
    assert {"FLOAT8_E4M3FN", "FLOAT8_E5M2", "FLOAT4_E2M1", "BFLOAT16", "INT8", "integer"} <= set(
        face
    )
    for name in nq.__all__:
        assert getattr(nq, name) is not None
    assert nq.format_named(" Half ") is nq.FLOAT16
    assert nq.format_named("int8_narrow") == nq.INT8.narrow()
    with pytest.raises(ValueError, match=r"name is .u1.; allowed are float64, .* fp16 or u8"):
        nq.format_named("u1")
    with pytest.raises(TypeError, match="name is 8; allowed is str"):
        nq.format_named(8)


def test_a_qtensor_is_no_array_and_says_so():
    q = nq.quantize([0.5], QParams(0.25, 0, nq.INT8))
    for call in (np.asarray, np.array, lambda v: np.float32(1) * v, lambda v: np.ones(1) + v):
        with pytest.raises(TypeError, match=r"no array; .* its \.codes|unsupported operand"):
            call(q)
    with pytest.raises(TypeError, match="x is a QTensor; allowed are arrays of real"):
        nq.quantize(q, q.qparams)
    with pytest.raises(TypeError, match=r"q is an array of shape .*; allowed is QTensor"):
        nq.dequantize(q.codes)


def test_prepared_layers_print_what_they_do():
    w = SymmetricQuantizer(nq.INT4, PerChannel(0))(np.ones((3, 5)))
    x, out = QParams(0.5, 3, nq.UINT8), QParams(0.25, 0, nq.INT8)
    assert repr(nq.integer.prepare_linear(x, w, None, out)) == (
        "Linear(5 x uint8 to 3, weights int4\n"
        "  Requantizer(FIXED_SINGLE_UP, multiplier (3,) in 0.2857…0.2857, int8, zero_point 0, "
        "clamped to [-128, 127]))"
    )
    square = nq.QTensor(np.ones((3, 5, 1, 1), np.int8), w.qparams)
    text = repr(nq.integer.prepare_conv2d(x, square, None, out, padding=((0, 0), (0, 0))))
    assert text.startswith("Conv2d(uint8, weights int4 (3, 5, 1, 1)\n  stride (1, 1), padding")
    table = nq.integer.prepare_table(np.tanh, x, out)
    assert repr(table) == "Table(uint8 to int8)"
