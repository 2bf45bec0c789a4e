"""Vectors taken from real releases, each by the rule that its oracle follows."""

import numpy as np
import pytest
from strategies import format_of, golden

from numq import rules
from numq.choose import choose_qparams
from numq.fixedpoint import (
    multiply_by_quantized_multiplier,
    quantize_multiplier,
    rounding_divide_by_pot,
    saturating_rounding_doubling_high_mul,
)
from numq.formats import FLOAT64, INT8, UINT8
from numq.granularity import PerBlock, PerChannel, PerGroup, PerTensor
from numq.integer.accumulate import accumulate, matmul_int8
from numq.integer.requantize import prepare_requantizer, requantize
from numq.observers import MinMaxObserver, MovingAverageObserver
from numq.qparams import QParams
from numq.qtensor import quantize
from numq.quantizers import AffineQuantizer, SymmetricQuantizer
from numq.requantization import Requantization
from numq.scales import (
    ORT_FLOOR,
    TORCH_FLOOR,
    Affine,
    Symmetric,
    SymmetricRange,
    ZeroPointRule,
)

RULES = {
    "onnxruntime": rules.ONNXRUNTIME,
    "torch.quantize_per_tensor": rules.TORCH_PER_TENSOR_FUSED_ADD_THEN_ROUND,
    "torch.quantize_per_channel": rules.TORCH_PER_CHANNEL_ADD_THEN_ROUND,
    "torchao.quantize_affine": rules.TORCHAO,
    "LiteRT QUANTIZE reference kernel": rules.LITERT_REFERENCE,
}
TORCHAO_RANGES = {
    "SYMMETRIC": SymmetricRange.HALF_SPAN,
    "SYMMETRIC_NO_CLIPPING_ERR": SymmetricRange.NO_CLIP,
}


def records(file, *ops):
    return [
        pytest.param(meta, data, id=f"{i}-{meta['op']}-{meta['oracle'].split()[0]}")
        for i, (meta, data) in enumerate(golden(file))
        if meta["op"] in ops
    ]


@pytest.mark.parametrize(("meta", "data"), records("quantize", "quantize"))
def test_quantize_and_dequantize_to_the_bit(meta, data):
    if meta["axis"] is None:
        granularity = PerTensor()
    elif "block" in meta:
        granularity = PerGroup(meta["axis"], meta["block"])
    else:
        granularity = PerChannel(meta["axis"])
    qparams = QParams(data["scale"], data["zp"].astype(np.int32), format_of(meta), granularity)
    q = quantize(data["x"], qparams, rule=RULES[meta["oracle"]])
    np.testing.assert_array_equal(q.codes, data["q"])
    if "dq" in data:
        assert q.dequantize().tobytes() == data["dq"].tobytes()


def observed(meta, data):
    """The quantizer that stands for a torch.ao observer, calibrated on the three batches."""
    observer = MovingAverageObserver(meta["averaging"]) if meta["averaging"] else MinMaxObserver()
    granularity = PerTensor() if meta["axis"] is None else PerChannel(meta["axis"])
    format = format_of(meta)
    if meta["symmetric"]:
        quantizer = SymmetricQuantizer(
            format,
            granularity,
            observer=observer,
            range=SymmetricRange.HALF_SPAN,
            floor=TORCH_FLOOR,
        )
    else:
        quantizer = AffineQuantizer(format, granularity, observer=observer, floor=TORCH_FLOOR)
    return quantizer.calibrate([data["x0"], data["x1"], data["x2"]])


def chosen(meta, data):
    """torchao.choose_qparams_affine."""
    granularity, format = PerBlock(tuple(meta["block"])), format_of(meta)
    if meta["mapping"] == "ASYMMETRIC":
        return AffineQuantizer(format, granularity, floor=TORCH_FLOOR).qparams(data["x"])
    convention = TORCHAO_RANGES[meta["mapping"]]
    quantizer = SymmetricQuantizer(format, granularity, range=convention, floor=TORCH_FLOOR)
    return quantizer.qparams(data["x"])


def computed(meta, data):
    """onnxruntime.quantization.quant_utils.compute_scale_zp."""
    # ORT's symmetric mode spans [−amax, amax] with all codes.
    scheme = Symmetric(SymmetricRange.HALF_SPAN) if meta["symmetric"] else Affine()
    return choose_qparams(
        data["rmin"], data["rmax"], format_of(meta), scheme=scheme, floor=ORT_FLOOR
    )


@pytest.mark.parametrize(
    ("meta", "data"),
    [
        record
        for record in records("qparams", "observe", "choose_qparams", "compute_scale_zp")
        # HistogramObserver is compared by quality in test_observers.py: its bits are its own.
        if "Histogram" not in record.values[0]["oracle"]
    ],
)
def test_scales_to_3e_7_and_zero_points_exactly(meta, data):
    make = {"observe": observed, "choose_qparams": chosen, "compute_scale_zp": computed}
    qparams = make[meta["op"]](meta, data)
    # The oracles compute in float32, numq in float64: two roundings of 2^-24 each, and one more.
    np.testing.assert_allclose(qparams.scale.ravel(), data["scale"].ravel(), rtol=3e-7)
    np.testing.assert_array_equal(qparams.zero_point.ravel(), data["zp"].ravel())


@pytest.mark.parametrize(("meta", "data"), records("fixedpoint", "srdhm"))
def test_srdhm(meta, data):
    y = saturating_rounding_doubling_high_mul(data["a"], data["b"])
    np.testing.assert_array_equal(y, data["y"])


@pytest.mark.parametrize(("meta", "data"), records("fixedpoint", "rounding_divide_by_pot"))
def test_rounding_divide_by_pot(meta, data):
    np.testing.assert_array_equal(rounding_divide_by_pot(data["a"], data["e"]), data["y"])


@pytest.mark.parametrize(("meta", "data"), records("fixedpoint", "mbqm"))
def test_multiply_by_quantized_multiplier(meta, data):
    rules = {"single": Requantization.FIXED_SINGLE_UP, "double": Requantization.GEMMLOWP_DOUBLE}
    y = multiply_by_quantized_multiplier(
        data["x"], data["m"], data["s"], requantization=rules.pop(meta["rounding"])
    )
    np.testing.assert_array_equal(y, data["y"])
    (other,) = rules.values()
    rival = multiply_by_quantized_multiplier(data["x"], data["m"], data["s"], requantization=other)
    assert (rival != data["y"]).any(), "these vectors do not tell single from double rounding"


@pytest.mark.parametrize(("meta", "data"), records("fixedpoint", "quantize_multiplier"))
def test_quantize_multiplier(meta, data):
    m, shift = quantize_multiplier(data["d"])
    np.testing.assert_array_equal(m, data["m"])
    np.testing.assert_array_equal(shift, data["s"])


@pytest.mark.parametrize(("meta", "data"), records("fixedpoint", "choose_qparams_tflite"))
def test_tflite_qparams_to_the_bit(meta, data):
    format = INT8 if meta["signed"] else UINT8
    for rmin, rmax, scale, zero_point in zip(
        *(data[k] for k in ("min", "max", "scale", "zp")), strict=True
    ):
        qparams = choose_qparams(
            rmin,
            rmax,
            format,
            scheme=Affine(ZeroPointRule.NEAREST_END),
            scale_format=FLOAT64,
        )
        assert qparams.scale == scale
        assert qparams.zero_point == zero_point


@pytest.mark.parametrize(("meta", "data"), records("intmm", "int8_matmul"))
def test_int8_matmul(meta, data):
    np.testing.assert_array_equal(matmul_int8(data["a"], data["b"]), data["y"])


@pytest.mark.parametrize(("meta", "data"), records("intmm", "qlinear_fixedpoint"))
def test_litert_fully_connected_reference(meta, data):
    acc = accumulate(data["x"], data["zx"], data["w"].T, 0) + data["bias"]
    out = QParams(data["sy"], data["zy"], INT8)
    scale = data["sw"][0] if data["sw"].size == 1 else data["sw"]
    requantization = Requantization.F64_AWAY
    y = requantize(acc, prepare_requantizer(data["sx"], scale, out, requantization=requantization))
    np.testing.assert_array_equal(y, data["y"])


@pytest.mark.parametrize(("meta", "data"), records("intmm", "qlinear"))
def test_torch_quantized_linear(meta, data):
    """x86 torch adds a float bias; as int32 it may round the other way, by one, now and then."""
    bias = np.rint(data["bias_f32"] / (data["sx"].astype(np.float64) * data["sw"]))
    acc = accumulate(data["x"], data["zx"], data["w"].T, 0) + bias.astype(np.int32)
    out = QParams(data["sy"], data["zy"], UINT8)
    requantization = Requantization.F32_EVEN
    y = requantize(
        acc, prepare_requantizer(data["sx"], data["sw"], out, requantization=requantization)
    )
    difference = np.abs(y.astype(int) - data["y"])
    # The int32 bias is off by at most half a step of the accumulator, of which an output step
    # holds 1/multiplier: that share of the outputs may land on the other side of a tie.
    multiplier = float(data["sx"] * data["sw"] / data["sy"])
    assert difference.max() <= 1
    assert (difference != 0).mean() <= multiplier
