"""The compiled passes behind quantize, dequantize and fake-quantize give NumPy's bits."""

import numpy as np
import pytest

from numq import fast
from numq.formats import FLOAT16, INT4, INT8, INT16, UINT8, UINT16
from numq.granularity import PerChannel, PerGroup, PerTensor, PerToken
from numq.kernels import uses_kernels
from numq.metrics import sqnr_db
from numq.observers import MSEObserver
from numq.qtensor import fake_quantize
from numq.quantizers import AffineQuantizer, SymmetricQuantizer
from numq.scales import SymmetricRange

SHAPE = (12, 40, 96)  # large enough for the kernels


def on_ties():
    """Values on and beside the half steps of most scales, and far outside."""
    rng = np.random.default_rng(0)
    x = (rng.integers(-600, 600, SHAPE) / 4).astype(np.float32)
    x[::3] = np.nextafter(x[::3], np.float32(np.inf))
    x[0, 0, :4] = [3e38, -3e38, 1e-40, -0.0]
    return x


@pytest.fixture
def by_numpy(monkeypatch):
    """Run a function with the kernels switched off."""

    def run(function, *arguments):
        with monkeypatch.context() as patch:
            patch.setattr(fast, "uses_kernels", lambda: False)
            return function(*arguments)

    return run


def assert_same_bits(a, b):
    assert a.dtype == b.dtype
    assert a.tobytes() == b.tobytes()


@pytest.mark.parametrize("format", [INT8, UINT8, INT4, INT8.narrow(), INT16, UINT16])
@pytest.mark.parametrize(
    "granularity", [PerTensor(), PerChannel(0), PerChannel(1), PerChannel(-1), PerToken(),
                    PerGroup(2, 32), PerGroup(-1, 8), PerGroup(2, 36), PerGroup(1, 8)],
)  # fmt: skip
@pytest.mark.parametrize("kind", [AffineQuantizer, SymmetricQuantizer])
def test_kernels_give_the_bits_of_numpy(format, granularity, kind, by_numpy):
    x, quantizer = on_ties(), kind(format, granularity)
    qparams = quantizer.qparams(np.clip(x, -100, 100))
    q, plain = quantizer(x, qparams), by_numpy(quantizer, x, qparams)
    assert q == plain
    assert not q.codes.flags.writeable
    assert_same_bits(q.dequantize(), by_numpy(q.dequantize))
    assert_same_bits(fake_quantize(x, qparams), by_numpy(fake_quantize, x, qparams))


@pytest.mark.parametrize("layout", ["F", "strided", "reversed", "big-endian", "read-only"])
def test_any_layout(layout, by_numpy):
    x = on_ties()[1:]
    views = {
        "F": np.asfortranarray(x),
        "strided": np.repeat(x, 2, axis=2)[..., ::2],
        "reversed": x[::-1, :, ::-1].copy()[::-1, :, ::-1],
        "big-endian": x.astype(">f4"),
        "read-only": np.frombuffer(x.tobytes(), np.float32).reshape(x.shape),
    }
    quantizer = AffineQuantizer(INT8, PerChannel(1))
    assert quantizer(views[layout]) == by_numpy(quantizer, x)


@pytest.mark.parametrize("kind", [AffineQuantizer, SymmetricQuantizer])
@pytest.mark.parametrize("format", [INT8, UINT8, INT4, INT8.narrow()])
@pytest.mark.parametrize("factor", [1.0, 1e-42, 1e36])
def test_rows_by_their_own_range(kind, format, factor, by_numpy):
    rng = np.random.default_rng(1)
    x = (rng.normal(size=(40, 64)) * factor).astype(np.float32)
    x[1], x[2], x[3] = 0, np.abs(x[2]), factor
    quantizer = kind(format, PerToken())
    rows = fast.rows_quantizer(format, symmetric=kind is SymmetricQuantizer)
    taken = rows is not None and rows(x) is not None
    assert taken == uses_kernels()
    assert quantizer(x) == by_numpy(quantizer, x)


def test_rows_that_reach_the_end_of_float32(by_numpy):
    x = np.full((40, 64), 3e38, np.float32)
    x[:, ::2] *= -1
    quantizer = AffineQuantizer(INT8, PerToken())
    assert quantizer(x) == by_numpy(quantizer, x)
    assert np.isfinite(quantizer(x).dequantize()).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_non_finite_values_are_named(bad):
    x = on_ties()
    x[5, 6, 7] = bad
    qparams = AffineQuantizer(INT8).qparams(on_ties())
    for call in (lambda: AffineQuantizer(INT8)(x, qparams), lambda: fake_quantize(x, qparams)):
        with pytest.raises(ValueError, match=rf"x\[5, 6, 7\] is {bad} \(1 of "):
            call()
    rows = x.reshape(-1, 96)
    with pytest.raises(ValueError, match=rf"x\[206, 7\] is {bad}"):
        AffineQuantizer(INT8, PerToken())(rows)


def test_other_choices_stay_with_numpy():
    rows = np.random.default_rng(0).normal(size=(512, 128)).astype(np.float32)
    halves = AffineQuantizer(INT8, PerToken(), scale_format=FLOAT16)
    assert halves(rows).scale.dtype == np.float16
    full = SymmetricQuantizer(INT8, PerToken(), range=SymmetricRange.FULL)(rows)
    np.testing.assert_array_equal(full.scale, np.abs(rows).max(axis=1) / np.float32(128))
    best = SymmetricQuantizer(INT4, PerToken(), observer=MSEObserver())
    assert sqnr_db(rows, best(rows).dequantize()) > 17.5  # min and max alone reach 16.7
