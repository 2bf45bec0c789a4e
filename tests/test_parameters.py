"""Scales and offsets of every storage: their meaning, their bytes, their way to a file and back."""

import copy
import json
import pickle
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_graph_store import ENTRIES, places, replaced

import numq as nq
from numq import integer, storage
from numq.formats import FLOAT_FORMATS, INT_FORMATS
from numq.granularity import expand
from numq.integer.doors import prepare_dequantize, prepare_quantize
from numq.storage import load_arrays

GRANULARITIES = [
    (nq.PerTensor(), (2, 3), ()),
    (nq.PerTensor(), (), ()),
    (nq.PerChannel(1), (2, 3), (3,)),
    (nq.PerToken(), (2, 0), (2,)),
    (nq.PerGroup(1, 2), (2, 3), (2, 2)),
    (nq.PerBlock((1, 3)), (2, 3), (2, 1)),
]
FORMATS = [*INT_FORMATS, nq.NF4, *(f for f in FLOAT_FORMATS if f.bits <= 32)]
NARROW = [nq.FLOAT8_E8M0FNU, nq.FLOAT8_E4M3FN, nq.BFLOAT16, nq.FLOAT6_E3M2, nq.FLOAT4_E2M1]


def finite_codes(format, shape, rng):
    """Codes of a format that stand for finite numbers."""
    codes = rng.integers(format.codes.start, format.codes.stop, shape).astype(format.dtype)
    return np.where(np.isfinite(format.decode(codes)), codes, format.encode(np.ones(shape)))


def coded(format, shape, rng, *, signed, **requantization):
    """A small QTensor: what scales or offsets may be. Scales are not negative."""
    codes = finite_codes(format, shape, rng)
    if not signed:
        codes = np.where(format.decode(codes) < 0, format.encode(np.zeros(shape)), codes)
    return nq.QTensor(
        codes, nq.QParams(np.ldexp(1.0, int(rng.integers(-9, 9))), 0, format, **requantization)
    )


@st.composite
def qtensors(draw):
    """A tensor of any format, its scales and offsets stored in any way."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    format = draw(st.sampled_from(FORMATS))
    kind, shape, scales = draw(st.sampled_from(GRANULARITIES))
    storage = draw(st.sampled_from([nq.FLOAT16, nq.FLOAT32, nq.FLOAT64, *NARROW, "E4M3", "6 bits"]))
    offset = draw(st.sampled_from([None, "floats", "codes"]))
    zero = 0
    if storage == "E4M3":
        scale = coded(nq.FLOAT8_E4M3FN, scales, rng, signed=False)
        storage = nq.FLOAT32
    elif storage == "6 bits":
        scale = coded(nq.UINT6, scales, rng, signed=False, scale_format=nq.FLOAT16)
        storage = nq.FLOAT32
    else:
        near = np.clip(rng.gamma(1.0, 1.0, scales), 0.5, 6)
        scale = storage.decode(storage.encode(near))
    if offset == "floats" and storage.signed:
        offset = storage.decode(storage.encode(rng.normal(0, 2, scales)))
    else:
        offset = coded(nq.INT6, scales, rng, signed=True) if offset == "codes" else None
    if offset is None and len(format.zero_points) > 1:
        zero = rng.choice([0 if format.qmin < 0 else format.qmin, format.qmax])
    params = nq.QParams(scale, zero, format, kind, storage, offset=offset)
    return nq.QTensor(finite_codes(format, shape, rng), params)


def exact(q):
    """What the codes stand for, in fractions."""
    numbers = [q.format.decode(q.codes)]
    for part in (q.scale, q.zero_point, np.zeros(q.scale.shape) if q.qparams.offset is None
                 else q.qparams.offset):  # fmt: skip
        numbers.append(np.broadcast_to(expand(part, q.granularity, q.shape), q.shape))
    value, s, z, b = ([Fraction(float(v)) for v in part.ravel()] for part in numbers)
    return [s[i] * (v - z[i]) + b[i] for i, v in enumerate(value)]


def nearest_float32(value):
    """The float32 next to a fraction, ties to the even one: by the double's neighbours."""
    near = np.float32(float(value)) if abs(value) < 2**127 else np.float32(0)
    around = (np.nextafter(near, np.float32(-np.inf)), near, np.nextafter(near, np.float32(np.inf)))
    return min(around, key=lambda f: (abs(Fraction(float(f)) - value), int(f.view(np.int32)) & 1))


@settings(max_examples=150, deadline=None)
@given(qtensors())
def test_what_is_stored_is_what_is_meant_counted_and_read(tmp_path_factory, q):
    path = tmp_path_factory.getbasetemp() / "tensor.safetensors"
    nq.save_tensors(path, {"w": q})
    assert nq.load_tensors(path) == {"w": q}
    again = nq.load_tensors(path)["w"]
    assert again.scale.dtype == q.scale.dtype
    assert again.codes.tobytes() == q.codes.tobytes()
    assert sum(array.nbytes for array in load_arrays(path)[0].values()) == q.nbytes
    for same in (copy.deepcopy(q), pickle.loads(pickle.dumps(q))):
        assert same == q
    if q.format.bits <= 16:  # of wider codes the product is rounded in float64 first
        values = exact(q)
        if all(abs(v) < 2**127 for v in values):
            got = q.dequantize().ravel()
            assert [float(g) for g in got] == [float(nearest_float32(v)) for v in values]


def test_nothing_else_stands_for_equal_parameters():
    """Equal numbers in another storage are other parameters."""
    one = nq.QParams(1.0, 0, nq.INT8)
    codes = nq.QTensor(np.uint8(127), nq.QParams(1.0, 0, nq.FLOAT8_E8M0FNU))
    others = [
        nq.QParams(1.0, 0, nq.INT8, scale_format=nq.FLOAT16),
        nq.QParams(codes, 0, nq.INT8),
        nq.QParams(1.0, 0, nq.INT8, offset=0.0),
    ]
    assert [float(p.scale) for p in others] == [1.0] * 3
    assert [p.nbytes for p in (one, *others)] == [4, 2, 5, 8]
    assert all(p not in (one, *others[:i]) for i, p in enumerate(others))


def test_scales_of_a_byte_and_of_six_bits_take_what_they_take():
    w = np.random.default_rng(0).normal(size=(64, 64)).astype(np.float32)
    mx = nq.SymmetricQuantizer(
        nq.FLOAT4_E2M1, nq.PerGroup(1, 32),
        scale_format=nq.FLOAT8_E8M0FNU, scale_rounding=nq.Rounding.CEIL,
    )(w)  # fmt: skip
    nv = nq.SymmetricQuantizer(
        nq.FLOAT4_E2M1, nq.PerGroup(1, 16), scales=nq.SymmetricQuantizer(nq.FLOAT8_E4M3FN)
    )(w)
    six = nq.AffineQuantizer(nq.UINT6, nq.PerGroup(1, 2), scale_format=nq.FLOAT16)
    k = nq.OffsetQuantizer(nq.UINT4, nq.PerGroup(1, 32), scales=six, offsets=six)(w)
    q4_1 = nq.OffsetQuantizer(nq.UINT4, nq.PerGroup(1, 32), scale_format=nq.FLOAT16)(w)
    half = w.size // 2
    assert mx.nbytes == half + w.size // 32
    assert nv.nbytes == half + w.size // 16 + 4
    assert q4_1.nbytes == half + w.size // 32 * 4
    assert k.nbytes - half == 2 * (w.size // 32 * 6 // 8 + w.size // 64 * 2) + w.size // 64 * 6 // 8
    for q, least in ((mx, 16), (nv, 19), (q4_1, 20), (k, 18)):
        assert nq.sqnr_db(w, q.dequantize()) > least
    assert "as float8_e8m0fnu (128 bytes)" in repr(mx)
    assert "as float8_e4m3fn × float32 (260 bytes)" in repr(nv)
    assert "as uint6 × float16" in repr(k)


@pytest.mark.parametrize(
    ("rounding", "expected"),
    [(nq.Rounding.CEIL, 1.0), (nq.Rounding.HALF_EVEN, 0.5), (nq.Rounding.FLOOR, 0.5)],
)
def test_a_power_of_two_is_rounded_as_asked(rounding, expected):
    requantization = {"scale_format": nq.FLOAT8_E8M0FNU, "scale_rounding": rounding}
    q = nq.SymmetricQuantizer(nq.INT8, **requantization)([0.7 * 127])
    assert (float(q.scale), q.scale.dtype, q.qparams.nbytes) == (expected, np.float32, 1)


def test_a_block_of_zeros_does_not_spoil_the_other_scales():
    """Its exact scale is 0 and becomes the smallest code; a scale of 1 would be the largest."""
    w = np.zeros((1, 32), np.float32)
    w[0, 16:] = np.linspace(-0.01, 0.01, 16)
    q = nq.SymmetricQuantizer(
        nq.INT4, nq.PerGroup(1, 16), scales=nq.AffineQuantizer(nq.UINT6)
    )(w)  # fmt: skip
    assert q.qparams.stored_scale.codes.tolist() == [[1, 63]]
    assert not q.dequantize()[0, :16].any()
    assert np.abs(q.dequantize() - w).max() < 0.01 / 7


def test_a_scale_of_zero_reads_as_zeros():
    scale = nq.QTensor(np.array([0, 3], np.uint8), nq.QParams(0.5, 0, nq.UINT6))
    x = np.array([[1.0, -2.0], [3.0, -4.5]], np.float32)
    for format in (nq.INT8, nq.FLOAT4_E2M1):
        params = nq.QParams(scale, 0, format, nq.PerChannel(0))
        q = nq.quantize(x, params)
        assert q.codes[0].tolist() == [0, 0]
        assert q.dequantize().tolist() == [[0.0, 0.0], [3.0, -4.5]]
        with pytest.raises(ValueError, match="w has scales of 0; allowed are"):
            integer.check_weight(q)
    biased = nq.QParams(scale, 7, nq.UINT8, nq.PerChannel(0))
    assert nq.quantize(x, biased).codes.tolist() == [[7, 7], [9, 4]]
    for rule in (nq.rules.TORCHAO, nq.rules.TORCH_PER_TENSOR_FUSED_ADD_THEN_ROUND):
        assert nq.quantize(x, biased, rule=rule).codes[0].tolist() == [7, 7]
    floats = nq.QParams(scale, 0, nq.UINT8, nq.PerChannel(0), offset=[0.25, -4.5])
    assert nq.quantize(x, floats).dequantize().tolist() == [[0.25, 0.25], [3.0, -4.5]]


def half_floats(rng, *shape):
    """float16 numbers of all sizes, and a zero."""
    made = rng.normal(0, 1, shape) * np.exp2(rng.integers(-20, 12, shape))
    made.flat[-1] = 0
    return made.astype(np.float16)


def float16_codes(values):
    """A QTensor may hold a scale of 0; in GGUF a block of zeros has one."""
    return nq.QTensor(values.view(np.uint16), nq.QParams(1.0, 0, nq.FLOAT16))


def test_q4_1_is_what_gguf_reads():
    gguf = pytest.importorskip("gguf", reason="gguf is the peer")
    rng = np.random.default_rng(0)
    d, m = np.abs(half_floats(rng, 50, 1)), half_floats(rng, 50, 1)
    codes = rng.integers(0, 16, (50, 32)).astype(np.uint8)
    packed = nq.pack(codes, nq.UINT4, order=nq.PackOrder.GGUF)
    raw = np.hstack([d.view(np.uint8), m.view(np.uint8), packed])
    theirs = gguf.quants.dequantize(raw, gguf.GGMLQuantizationType.Q4_1)
    group = nq.PerGroup(1, 32)
    q = nq.QTensor(codes, nq.QParams(float16_codes(d), 0, nq.UINT4, group, offset=m))
    assert q.dequantize().tobytes() == theirs.tobytes()
    kept = nq.QTensor(codes[:-1], nq.QParams(d[:-1], 0, nq.UINT4, group, nq.FLOAT16, offset=m[:-1]))
    assert kept.dequantize().tobytes() == theirs[:-1].tobytes()
    assert kept.nbytes == raw[:-1].nbytes


def test_q4_k_is_what_gguf_reads():
    """Six bits for the scale and the minimum of 32 numbers, a float16 for eight of either."""
    gguf = pytest.importorskip("gguf", reason="gguf is the peer")
    rng = np.random.default_rng(0)
    d, least = np.abs(half_floats(rng, 20, 1)), np.abs(half_floats(rng, 20, 1))
    d[-1], least[-1] = 1, 2
    small, packed = (
        rng.integers(0, 256, (20, 12), np.uint8),
        rng.integers(0, 256, (20, 128), np.uint8),
    )
    raw = np.hstack([d.view(np.uint8), least.view(np.uint8), small, packed])
    theirs = gguf.quants.dequantize(raw, gguf.GGMLQuantizationType.Q4_K)
    scales, minima = gguf.quants.Q4_K.get_scale_min(small)
    codes = np.stack([packed & 15, packed >> 4]).reshape(2, 20, 4, 32).transpose(1, 2, 0, 3)
    eight = nq.PerGroup(1, 8)
    scale = nq.QTensor(scales, nq.QParams(d, 0, nq.UINT6, eight, nq.FLOAT16))
    offset = nq.QTensor(minima, nq.QParams(-least, 0, nq.UINT6, eight, nq.FLOAT16, True))
    params = nq.QParams(scale, 0, nq.UINT4, nq.PerGroup(1, 32), offset=offset)
    q = nq.QTensor(codes.reshape(20, 256), params)
    assert np.array_equal(q.dequantize(), theirs)
    assert q.nbytes == raw.nbytes


def test_product_and_offset_are_rounded_once():
    """1 + 2^-24 + 2^-54, which float64 makes the tie 1 + 2^-24; 33025·32513 = 2^30 + 1."""
    params = nq.QParams(33025 * 2.0**-54, 0, nq.INT16, offset=1.0)
    assert nq.QTensor(32513, params).dequantize() == 1 + 2.0**-23


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: nq.QParams(1.0, 3, nq.INT8, offset=1.0), "zero_point is 3; allowed beside an off"),
        (lambda: nq.QParams(1.0, 3, nq.NF4), "zero_point is 3; allowed is 0 for nf4, which has no"),
        (lambda: nq.QParams([1.0, -2.0], 0, nq.INT8, nq.PerChannel(0)), "scale is -2.0 as float32"),
        (lambda: nq.QParams(1.0, 0, nq.INT8, offset=np.inf), "offset is inf"),
        (lambda: nq.QParams(1.0, 0, nq.INT8, offset=[1.0]), r"offset has shape \(1,\)"),
        (lambda: nq.QParams(0.3, 0, nq.INT8, scale_format=nq.FLOAT8_E4M3FN),
         "scale is 0.3; allowed are the numbers of float8_e4m3fn only"),
        (lambda: nq.QParams(-1.0, 0, nq.INT8, scale_format=nq.FLOAT8_E8M0FNU, signed_scale=True),
         "scale is -1; allowed are the numbers of float8_e8m0fnu only"),
        (lambda: nq.QParams(nq.QTensor(np.uint8(255), nq.QParams(1.0, 0, nq.FLOAT8_E8M0FNU)), 0,
                            nq.INT8), "scale is nan"),
        (lambda: nq.QParams(nq.QTensor(np.int8(-1), nq.QParams(1.0, 0, nq.INT8)), 0, nq.INT8),
         "allowed is finite and not negative"),
        (lambda: nq.QParams(nq.QTensor(np.int8(1), nq.QParams(1.0, 0, nq.INT8)), 0, nq.INT8,
                            scale_format=nq.FLOAT16), "scale_format is float16; allowed for"),
        (lambda: nq.AffineQuantizer(scale_rounding=nq.Rounding.STOCHASTIC), "scale_rounding is ST"),
        (lambda: nq.AffineQuantizer(scale_format=nq.FLOAT16, scales=nq.AffineQuantizer()),
         "scale_format is float16, scale_rounding HALF_EVEN; allowed beside scales"),
        (lambda: nq.OffsetQuantizer(scale_format=nq.FLOAT8_E8M0FNU), "scale_format is float8"),
        (lambda: nq.OffsetQuantizer(observer=nq.MSEObserver())([1.0]), "observer is MSEObserver"),
        (lambda: nq.OffsetQuantizer(scale_format=nq.FLOAT16)([1e6]), "offset is .*; allowed"),
        (lambda: nq.AffineQuantizer(scale_format=nq.FLOAT8_E4M3FN)([1e6]), "scale is .* to 448"),
        (lambda: nq.SymmetricQuantizer(
            range=nq.SymmetricRange.SIGNED_MAX, scale_format=nq.FLOAT8_E8M0FNU),
         "scale_format is float8_e8m0fnu; allowed under SIGNED_MAX, whose scales can be negative"),
        (lambda: nq.Target(nq.INT4, nq.Symmetric(nq.SymmetricRange.SIGNED_MAX), nq.FLOAT8_E8M0FNU),
         "scale_format is float8_e8m0fnu; allowed under SIGNED_MAX, whose scales can be negative"),
        (lambda: nq.SymmetricQuantizer(nq.FLOAT8_E8M0FNU, range=nq.SymmetricRange.FULL),
         "range is FULL; allowed for float8_e8m0fnu, with nothing below zero, is RESTRICTED"),
        (lambda: nq.SymmetricQuantizer(
            range=nq.SymmetricRange.SIGNED_MAX, scales=nq.SymmetricQuantizer(nq.FLOAT8_E8M0FNU)),
         "scales is SymmetricQuantizer.*; allowed for what can be negative are formats with num"),
        (lambda: nq.OffsetQuantizer(offsets=nq.SymmetricQuantizer(nq.FLOAT8_E8M0FNU)),
         "offsets is SymmetricQuantizer.*; allowed for what can be negative are formats with num"),
        (lambda: nq.SymmetricQuantizer(scale_format=nq.FLOAT8_E4M3FN,
                                       scale_rounding=nq.Rounding.CEIL)([450.0 * 127]),
         "scale is 450; allowed for float8_e4m3fn is -448 to 448"),
        (lambda: nq.AffineQuantizer(scale_format=nq.FLOAT4_E2M1)([1e6]), "scale is .* to 6"),
    ],
)  # fmt: skip
def test_parameters_that_nothing_stores_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_integer_operators_refuse_an_offset():
    w = nq.OffsetQuantizer(nq.UINT8)(np.eye(3, dtype=np.float32))
    p, plain = w.qparams, nq.QParams(0.5, 0, nq.UINT8)
    x = np.ones((2, 3), np.float32)
    calls = [
        ("w", lambda: integer.check_weight(w)),
        ("w", lambda: integer.linear_weight_only_integer(x, w)),
        ("x", lambda: integer.prepare_linear(p, nq.AffineQuantizer()(x), None, plain)),
        ("out", lambda: nq.prepare_requantizer(1.0, 1.0, p)),
        ("quantizer", lambda: integer.check_dynamic(nq.OffsetQuantizer(nq.UINT8))),
        ("others", lambda: nq.flows.Recipe(others=nq.OffsetQuantizer(nq.UINT8))),
    ]
    for name, call in calls:
        with pytest.raises(ValueError, match=f"^{name} .*offset"):
            call()
    codes = prepare_quantize(p, nq.rules.ONNX)(x)
    assert np.array_equal(codes, nq.quantize(x, p).codes)
    assert np.array_equal(prepare_dequantize(p)(codes), nq.QTensor(codes, p).dequantize())
    y = integer.linear_weight_only(x, w)
    assert np.array_equal(y, x @ w.dequantize().T)


def test_an_offset_is_the_minimum_wherever_zero_lies():
    params = nq.OffsetQuantizer(nq.UINT4).qparams([5.0, 6.5, 12.5])
    assert (float(params.scale), float(params.offset), int(params.zero_point)) == (0.5, 5.0, 0)
    signed = nq.OffsetQuantizer(nq.INT4).qparams([-9.0, -1.5])
    assert (float(signed.scale), float(signed.offset)) == (0.5, -5.0)
    assert [float(end) for end in signed.range] == [-9.0, -1.5]
    assert nq.OffsetQuantizer(nq.UINT4)([3.5, 3.5]).dequantize().tolist() == [3.5, 3.5]


def test_a_large_tensor_with_an_offset_stays_with_numpy():
    x = np.random.default_rng(0).normal(5, 1, (256, 256)).astype(np.float32)
    q = nq.OffsetQuantizer(nq.UINT8, nq.PerChannel(0))(x)
    assert np.abs(q.dequantize() - x).max() <= q.scale.max() * 0.5001
    rows = nq.OffsetQuantizer(nq.UINT8, nq.PerToken())(x)
    assert np.array_equal(rows.codes, q.codes)
    kept = nq.fake_quantize(x, q.qparams)
    assert np.array_equal(kept, q.dequantize())


def test_files_hold_what_they_say(tmp_path):
    path = tmp_path / "w.safetensors"
    tensors = {
        "w:scale": np.ones(2, np.float32),
        "edge:x": np.arange(3),
        "w": nq.SymmetricQuantizer(nq.NF4, nq.PerGroup(1, 2))(np.eye(4)),
    }
    nq.save_tensors(path, tensors)
    again = nq.load_tensors(path)
    assert again.keys() == tensors.keys()
    assert again["w"] == tensors["w"]
    assert again["w"].format.values == nq.NF4.values
    first = path.read_bytes()
    nq.save_tensors(path, tensors)
    assert path.read_bytes() == first
    with pytest.raises(TypeError, match=r"tensors\['a'\] is 1"):
        nq.save_tensors(path, {"a": 1})
    wide = nq.FloatFormat("tf32", 8, 10)
    with pytest.raises(TypeError, match="format has 19 bits"):
        nq.save_tensors(path, {"a": nq.SymmetricQuantizer(wide)(np.eye(2))})
    with pytest.raises(ValueError, match="allowed is a numq graph"):
        nq.graph.load_graph(path)
    nq.graph.save_graph(nq.graph.Graph(("x",), ("x",), ()), path)
    with pytest.raises(ValueError, match="'numq graph', version '2'; allowed is a numq tensors of"):
        nq.load_tensors(path)


@pytest.mark.parametrize("step", [7, pytest.param(1, marks=pytest.mark.slow)])
def test_any_entry_of_a_file_replaced_by_any_other_is_refused_or_read(tmp_path, monkeypatch, step):
    """With a digest that fits: as somebody would write it by hand."""
    path = tmp_path / "w.safetensors"
    six = nq.AffineQuantizer(nq.UINT6, nq.PerGroup(1, 2), scale_format=nq.FLOAT16)
    requantization = {"scales": six, "offsets": nq.SymmetricQuantizer(nq.FLOAT8_E4M3FN)}
    w = nq.OffsetQuantizer(nq.NF4, nq.PerGroup(1, 2), **requantization)(
        np.arange(8.0).reshape(2, 4)
    )
    mx = nq.SymmetricQuantizer(nq.FLOAT4_E2M1, scale_format=nq.FLOAT8_E8M0FNU)(np.eye(2))
    nq.save_tensors(path, {"w": w, "mx": mx, "z": nq.AffineQuantizer(nq.UINT8)([-1.0, 1.0])})
    arrays, metadata = load_arrays(path)
    stored = {}
    monkeypatch.setattr(
        storage, "write_whole", lambda path, content: stored.update({path: content})
    )
    monkeypatch.setattr(storage, "read_whole", stored.__getitem__)
    text = json.loads(metadata["quantized"])
    tried = [(place, entry) for place in places(text) for entry in ENTRIES]
    refused = 0
    for place, entry in tried[::step]:
        changed = {**metadata, "quantized": json.dumps(replaced(text, place, entry))}
        storage.save_arrays(path, arrays, changed)
        try:
            nq.load_tensors(path)
        except ValueError as error:
            refused += 1
            assert str(error).startswith(f"path is {path}")  # noqa: PT017
    assert refused > len(tried) // step // 2
    for lost in arrays:
        storage.save_arrays(path, {k: a for k, a in arrays.items() if k != lost}, metadata)
        with pytest.raises(ValueError, match="missing"):
            nq.load_tensors(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t, a, m: t["w"].pop("offset"), "arrays has 'w:offset', which no tensor has"),
        (lambda t, a, m: t["z"].pop("zero_point"), "arrays has 'z:zero_point', which no tensor"),
        (lambda t, a, m: t["w"].update(ofset=True), "what w means has 'ofset'; allowed are params"),
        (lambda t, a, m: t["w"].update(offset=None), "shape of w:offset is None"),
        (lambda t, a, m: t["w"].update(scale=None), "shape of w:scale is None"),
        (lambda t, a, m: t["w"].pop("scale"), "'scale' is missing"),
        (lambda t, a, m: t["z"].update(zero_point=1), "zero_point of z is 1; allowed is true"),
        (lambda t, a, m: t.update(w=None), "what w means is None"),
        (lambda t, a, m: a.update({"zz:scale": np.ones(1)}), "arrays has 'zz:scale', which no"),
        (lambda t, a, m: a.update({"edge:x": np.ones(1)}), "arrays has 'edge:x', which no tensor"),
        (lambda t, a, m: a.update({"%77": np.ones(1)}), "an array is '%77'; allowed is 'w'"),
        (lambda t, a, m: m.update(author="me"), "the metadata has 'author'; allowed are format"),
    ],
)
def test_what_a_reader_does_not_know_is_refused(tmp_path, change, message):
    """An offset whose key is lost would make other numbers of the same codes, without a word."""
    path = tmp_path / "w.safetensors"
    w, z = nq.OffsetQuantizer(nq.UINT4)([5.0, 6.5]), nq.AffineQuantizer(nq.UINT8)([-1.0, 1.0])
    nq.save_tensors(path, {"w": w, "z": z})
    arrays, metadata = load_arrays(path)
    text = json.loads(metadata["quantized"])
    change(text, arrays, metadata)
    storage.save_arrays(path, arrays, {**metadata, "quantized": json.dumps(text)})
    with pytest.raises(ValueError, match=message):
        nq.load_tensors(path)


def test_a_file_gives_its_tensors_in_the_order_of_their_names(tmp_path):
    path, names = tmp_path / "many.safetensors", [f"w{i}" for i in (3, 0, 12, 7, 1, 5, 2)]
    nq.save_tensors(path, {name: np.zeros(2, np.float32) for name in names})
    assert list(nq.load_tensors(path)) == sorted(names)


def test_a_tensor_tells_its_offset():
    x = np.float32([[1.0, 4.0], [-3.0, 0.0]])
    q = nq.OffsetQuantizer(nq.UINT4, nq.PerChannel(0))(x)
    assert q.offset.tolist() == [1.0, -3.0]
    assert nq.SymmetricQuantizer(nq.INT4)(x).offset is None
