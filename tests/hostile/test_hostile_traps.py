"""What a user met and took for an answer, each with what it does now."""

import numpy as np
import pytest

import numq as nq
from numq import flows, integer, nn

CODES = np.array([[1, -2], [3, 4]], np.int8)
PARAMS = nq.QParams(0.5, 0, nq.INT8)
Q = nq.QTensor(CODES, PARAMS)
X = np.ones((2, 3), np.float32)
MODEL = nn.Sequential(nn.Linear(3, 2, rng=np.random.default_rng(0)))


@pytest.mark.parametrize(
    ("action", "error", "message"),
    [
        (lambda: nq.dequantize(CODES), TypeError,
         r"^q is an array of shape \(2, 2\), int8; allowed is QTensor"),
        (lambda: np.asarray(Q), TypeError,
         r"a QTensor is no array; allowed are its \.codes, .* \.dequantize\(\)"),
        (lambda: np.add(Q, 1), TypeError, "a QTensor is no array"),
        (lambda: flows.static(MODEL, [(X, np.array([0, 1]))]), ValueError,
         r"calibration\[0\] is a tuple of 2; .* without the labels"),
        (lambda: MODEL.load_state_dict({"more": X}), ValueError, "more is unknown"),
        (lambda: nq.quantize(nn.Linear(400, 400, rng=np.random.default_rng(0)), PARAMS), TypeError,
         "^x is a Linear; allowed are arrays"),
    ],
)  # fmt: skip
def test_a_trap_says_what_to_do(action, error, message):
    with pytest.raises(error, match=message) as caught:
        action()
    assert len(str(caught.value)) < 400


def test_the_public_face_is_what_is_public():
    shown = {name for name in dir(nq) if not name.startswith("_")}
    assert shown == set(nq.__all__)
    assert not shown & {"arrays", "storage", "files", "arguments", "fast"}
    assert {"FLOAT8_E4M3FN", "FLOAT8_E5M2"} <= shown


def test_a_static_layer_prints_no_padding():
    weight = nq.SymmetricQuantizer(nq.INT8, nq.PerChannel(0))(np.ones((3, 5), np.float32))
    text = repr(integer.prepare_linear(PARAMS, weight, None, PARAMS))
    assert "5 x int8 to 3" in text
    assert "array(" not in text
