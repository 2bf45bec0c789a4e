"""Floats and tables go the way that integers go: quantizer, tensor, file, training, pictures."""

from itertools import product

import numpy as np
import pytest

import numq as nq
from numq import autograd as ag
from numq import plot, qat, scales
from numq.formats import FLOAT_FORMATS
from numq.graph import Graph, load_graph, save_graph

FORMATS = [
    nq.FLOAT8_E4M3FN, nq.FLOAT4_E2M1, nq.NF4, nq.FLOAT8_E5M2FNUZ, nq.FLOAT6_E2M3, nq.FLOAT16,
    nq.TableFormat("ternary", (-1.0, 0.0, 1.0)), nq.TableFormat("binary", (-1.0, 1.0)),
]  # fmt: skip
KINDS = [nq.PerTensor(), nq.PerChannel(0), nq.PerGroup(axis=1, size=8)]
W = np.random.default_rng(0).normal(0, 0.3, (6, 20)).astype(np.float32)
EVERY = list(product(FORMATS, KINDS))
by_name = pytest.mark.parametrize("format", FORMATS, ids=lambda f: f.name)


def spread(scale, kind):
    return nq.granularity.expand(scale, kind, W.shape)


@pytest.mark.parametrize(("format", "kind"), EVERY)
def test_the_two_equations(format, kind):
    q = nq.SymmetricQuantizer(format, kind)(W)
    s = spread(q.scale, kind)
    assert (q.codes == format.encode(W / s)).all()
    assert q.codes.dtype == format.dtype
    back = q.dequantize()
    assert (
        back.tolist() == (format.decode(q.codes) * s.astype(np.float64)).astype(np.float32).tolist()
    )
    largest = np.abs(q.dequantize(np.float64)).max()
    assert largest == pytest.approx(np.abs(W).max(), rel=2**-22)  # amax is the highest grid value
    assert (
        q.nbytes == format.packed_nbytes(W.size) + 4 * s[:, ::8].size if kind == KINDS[2] else True
    )
    assert nq.fake_quantize(W, q.qparams).tolist() == back.tolist()
    assert nq.unpack(q.packed(), format, W.size).tolist() == q.codes.ravel().tolist()


@pytest.mark.parametrize(("format", "kind"), EVERY)
def test_to_a_file_and_back(format, kind, tmp_path):
    q = nq.SymmetricQuantizer(format, kind)(W)
    save_graph(Graph((), (), (), {"w": q}), tmp_path / "w.safetensors")
    assert load_graph(tmp_path / "w.safetensors").constants["w"] == q


def mean_square(q):
    return float(np.square(q.dequantize(np.float64) - W).mean())


@by_name
def test_the_observer_of_the_error_finds_no_worse_range(format):
    plain = nq.SymmetricQuantizer(format, nq.PerChannel(0))(W)
    searched = nq.SymmetricQuantizer(format, nq.PerChannel(0), observer=nq.MSEObserver())(W)
    assert mean_square(searched) <= mean_square(plain)
    cut = nq.SymmetricQuantizer(format, observer=nq.PercentileObserver(90.0))
    assert float(cut(W).scale) < float(nq.SymmetricQuantizer(format)(W).scale)
    report = cut.report(W)
    assert report.saturated <= 0.2
    assert report.saturated > 0 or format.levels == 2  # half of its step reaches far
    assert nq.SymmetricQuantizer(format).report(W).saturated == 0


def test_nf4_is_more_exact_than_four_bit_integers_on_normal_data():
    x = np.random.default_rng(1).normal(0, 1, (64, 64)).astype(np.float32)
    group = nq.PerGroup(axis=1, size=64)
    errors = [nq.SymmetricQuantizer(f, group).report(x).sqnr_db for f in (nq.NF4, nq.INT4)]
    assert errors[0] > errors[1] + 1


@by_name
def test_zero_points_belong_to_integers(format):
    with pytest.raises(ValueError, match="allowed is Symmetric, as zero points belong to integers"):
        nq.AffineQuantizer(format)
    with pytest.raises(ValueError, match=f"zero_point is 3; allowed is 0 for {format.name}"):
        nq.QParams(1.0, 3, format)
    with pytest.raises(TypeError, match="allowed are integer formats"):
        nq.integer.requantize.prepare_requantizer(1.0, 0.5, nq.QParams(1.0, 0, format))


def test_a_format_without_negative_numbers_has_one_symmetric_range():
    format = nq.FLOAT8_E8M0FNU
    assert nq.SymmetricQuantizer(format)([0.5, 2.0]).dequantize().tolist() == [0.5, 2.0]
    for convention in set(scales.SymmetricRange) - {scales.SymmetricRange.RESTRICTED}:
        with pytest.raises(ValueError, match=f"range is {convention.name}; allowed for float8_e8"):
            nq.SymmetricQuantizer(format, range=convention)([0.5, 2.0])


@pytest.mark.parametrize("format", FORMATS + list(FLOAT_FORMATS[1:]), ids=lambda f: f.name)
def test_nan_and_infinity_by_the_rule(format):
    params = nq.QParams(1.0, 0, format)
    with pytest.raises(ValueError, match=r"x\[0\] is nan"):
        nq.quantize([np.nan], params)
    keep = nq.QuantizeRule(non_finite=nq.NonFinite.KEEP)
    if format.has_nan:
        assert np.isnan(nq.quantize([np.nan], params, rule=keep).dequantize()).all()
    else:
        with pytest.raises(ValueError, match=f"NaN, which has no code in {format.name}"):
            nq.quantize([np.nan], params, rule=keep)
    x = [np.inf, -np.inf, np.nan]
    ends = {nq.NonFinite.NAN_TO_QMIN: format.lowest, nq.NonFinite.NAN_TO_QMAX: format.highest,
            nq.NonFinite.NAN_AS_INFINITY: format.highest}  # fmt: skip
    for policy, value in ends.items():
        q = nq.quantize(x, params, rule=nq.QuantizeRule(non_finite=policy))
        assert q.dequantize(np.float64).tolist() == [format.highest, format.lowest, value]


@pytest.mark.parametrize("format", [nq.FLOAT8_E4M3FN, nq.NF4], ids=lambda f: f.name)
def test_integer_arithmetic_refuses_what_is_no_integer(format):
    byte, real = nq.QParams(0.1, 0, nq.INT8), nq.QParams(0.1, 0, format)
    quantizer = nq.SymmetricQuantizer(format, nq.PerChannel(0))
    w, w_int = quantizer(W), nq.SymmetricQuantizer(nq.INT8, nq.PerChannel(0))(W)
    layers = nq.nn.Sequential(nq.nn.Linear(20, 6, rng=np.random.default_rng(0)))
    refused = [
        lambda: nq.integer.linear_dynamic(W, w),
        lambda: nq.integer.linear_dynamic(W, w_int, quantizer=nq.SymmetricQuantizer(format)),
        lambda: nq.integer.linear_weight_only_integer(W, w),
        lambda: nq.integer.prepare_linear(byte, w, None, byte),
        lambda: nq.integer.prepare_linear(real, w_int, None, byte),
        lambda: nq.integer.prepare_add(real, byte, byte),
        lambda: nq.integer.prepare_average(real, byte),
        lambda: nq.integer.prepare_table(np.tanh, byte, real),
        lambda: nq.flows.dynamic(layers, W, weights=quantizer),
        lambda: nq.flows.static(layers, [W], weights=quantizer),
    ]
    for call in refused:
        with pytest.raises(ValueError, match=f"(?s){format.name}.*integers"):
            call()
    with pytest.raises(TypeError, match=f"{format.name} .*; allowed are integer formats"):
        nq.integer.prepare_linear(byte, w_int, None, real)


@pytest.mark.parametrize("format", [nq.FLOAT8_E4M3FN, nq.FLOAT4_E2M1, nq.NF4], ids=lambda f: f.name)
def test_a_weight_only_network(format):
    layers = nq.nn.Sequential(nq.nn.Linear(20, 6, rng=np.random.default_rng(0)))
    quantizer = nq.SymmetricQuantizer(format, nq.PerGroup(axis=1, size=10))
    w, bias = quantizer(layers[0].weight.data).dequantize(), layers[0].bias.data
    got = nq.flows.weight_only(layers, W, weights=quantizer)(W)
    np.testing.assert_allclose(got, W @ w.T + bias, rtol=0, atol=2**-20)  # sums of 20 below 2


@by_name
def test_straight_through(format):
    params = nq.SymmetricQuantizer(format, clip=(-0.3, 0.3)).qparams(W)
    w = ag.Tensor(W, requires_grad=True)
    y = qat.fake_quantize_ste(w, params)
    ag.sum(y).backward()
    assert y.data.tolist() == nq.fake_quantize(W, params).tolist()
    inside = format.inside(W / params.scale)
    assert 0 < inside.sum() < W.size
    assert w.grad.tolist() == inside.astype(np.float32).tolist()


@by_name
def test_learned_step_by_hand(format):
    v = np.array(
        [format.lowest * 2, format.lowest * 0.7, 0.2 * format.highest, format.highest * 1.5]
    )
    s = ag.Tensor(np.array(0.5), requires_grad=True)
    x = ag.Tensor(v * 0.5, requires_grad=True)
    y = qat.lsq(x, s, format, grad_factor=1.0)
    ag.sum(y).backward()
    q = format.decode(format.encode(v))
    assert y.data.tolist() == (q * 0.5).tolist()
    assert float(s.grad) == pytest.approx(format.lowest + (q - v)[1] + (q - v)[2] + format.highest)
    assert x.grad.tolist() == [0, 1, 1, 0]


@by_name
def test_a_learned_step_starts_with_the_reach_of_as_many_integers(format):
    """E5M2's largest number is 57344: divided by its root, nearly all weights would saturate."""
    values = format.decode(format.codes)
    count = int(((values > 0) & np.isfinite(values)).sum())
    assert format.above_zero == count
    start = qat.lsq_initial_scale(W, format)
    assert start == pytest.approx(2 * np.abs(W).mean() * count**0.5 / format.highest)
    as_it_is = qat.lsq_initial_scale(W, nq.IntFormat(8))
    assert as_it_is == np.float32(2 * np.abs(W).mean() / 127**0.5)


def test_a_learned_step_of_halves_is_twice_that_of_the_whole_numbers():
    whole, halves = (nq.TableFormat("t", (-2.0 * s, -s, 0.0, s, 2 * s)) for s in (1.0, 0.5))
    start = [float(qat.lsq_initial_scale(W, format)) for format in (whole, halves)]
    assert start[1] == pytest.approx(2 * start[0])


def test_a_learned_step_of_powers_of_two_alone_is_refused():
    assert nq.FLOAT8_E8M0FNU.above_zero == 255
    with pytest.raises(ValueError, match="format is float8_e8m0fnu; allowed are formats with 0"):
        qat.lsq_initial_scale(W, nq.FLOAT8_E8M0FNU)
    assert qat.lsq_initial_scale(W, nq.FLOAT64) == 1  # so wide that the first step is too small


@by_name
def test_learned_step_makes_the_error_smaller(format):
    s = np.array(np.abs(W).max() / format.highest * 2)
    errors = []
    for _ in range(60):
        step = ag.Tensor(s, requires_grad=True)
        loss = ag.mean(
            ag.mul(
                qat.lsq(W.astype(np.float64), step, format) - W,
                qat.lsq(W.astype(np.float64), step, format) - W,
            )
        )
        loss.backward()
        errors.append(float(loss))
        s = s - np.sign(step.grad) * 0.01 * s
    assert min(errors) < errors[0]


@pytest.mark.parametrize("format", [nq.FLOAT4_E2M1, nq.NF4, nq.FLOAT8_E4M3FN], ids=lambda f: f.name)
def test_pictures(format):
    params = nq.SymmetricQuantizer(format).qparams(W)
    values = plot.levels(params)
    assert (np.diff(values) > 0).all()
    assert values[[0, -1]].tolist() == [float(params.range[0]), float(params.range[1])]
    for draw in (plot.number_line, plot.staircase, plot.error):
        assert draw(params).figure is not None
    plot.histogram(W, params)
    plot.float_values({"codes": params, format.name: format})
    plot.packed_layout(format, 4)


def test_saturation_is_measured_in_the_step_of_its_own_end():
    table = nq.TableFormat("uneven", (-1.0, -0.9, 0.0, 1.0))
    for sign in (1.0, -1.0):  # steps of 0.1 below and 1 above; turned round by a negative scale
        params = nq.QParams(sign, 0, table, signed_scale=True)
        x = sign * np.array([-1.1, -1.04, 1.4, 1.6])
        assert nq.error_report(x, nq.quantize(x, params)).saturated == 0.5


def test_the_mask_rounds_by_the_rule():
    params, rule = nq.QParams(1.0, 0, nq.FLOAT4_E2M1), nq.QuantizeRule(rounding=nq.Rounding.FLOOR)
    x = ag.Tensor(np.array([6.9, 7.1, 8.0, -5.0, -6.1]), requires_grad=True)
    for given, passes in ((rule, [1, 1, 0, 1, 0]), (nq.rules.ONNX, [1, 0, 0, 1, 1])):
        x.grad = None
        ag.sum(qat.fake_quantize_ste(x, params, rule=given)).backward()
        assert x.grad.tolist() == passes
