"""What this processor is, and so how the peers add uint8 × int8 on it.

ONNX Runtime and torch add pairs that saturate in int16 where an x86-64 processor has AVX2 and no
dot-product instruction, exactly where it has one (`numq.verify.saturating`). The processor is asked
itself: neither `NUMQ_ISA` nor `NUMBA_CPU_FEATURES` changes what the peers do. To see the other
kind, emulate it: `qemu-x86_64 -cpu Haswell-v4 python -m pytest tests/test_saturating.py`.
"""

import platform
import warnings
from functools import cache

import numpy as np
import pytest
from llvmlite.binding import get_host_cpu_features
from onnx_node import run_node
from peers import followed

EXACT, SATURATING = "exact", "in pairs that saturate in int16"
A, B = np.uint8([[255, 255]]), np.int8([[127], [127]])  # 64770, or 32767


def features():
    """Names of LLVM's."""
    return {name for name, there in get_host_cpu_features().items() if there}


def known():
    """How the peers add here; None on kinds of processor that were never tried."""
    if platform.machine().lower() not in ("x86_64", "amd64") or "avx2" not in features():
        return None
    if "avx512vnni" in features():
        return EXACT
    return None if "avxvnni" in features() else SATURATING


@cache
def ort_saturates():
    """Whether ONNX Runtime's sums of uint8 × int8 saturate."""
    ort = pytest.importorskip("onnxruntime")
    answer = run_node("MatMulInteger", [None, B], A).item()
    return _saturates(f"onnxruntime {ort.__version__}", answer, {EXACT: 64770, SATURATING: 32767})


@cache
def torch_saturates(engine):
    """Whether those of torch's quantized linear do; its engine qnnpack is exact everywhere."""
    torch = pytest.importorskip("torch")
    answer = torch_linear(A, 0, B.T, np.float32(1), 256.0, 0, engine).item()
    what = f"torch {torch.__version__}, engine {engine}"
    return _saturates(what, answer, {EXACT: 253, SATURATING: 128})  # in units of 256


def _saturates(what, answer, ways):
    requantization = followed(f"{what}, sums of uint8 × int8", answer, ways)
    if "qnnpack" not in what:
        assert known() in (requantization, None), (
            f"{what} adds {requantization}; processor: {sorted(features())}"
        )
    return requantization == SATURATING


def torch_linear(x, x_zero_point, w, s_w, s_y, z_y, engine):
    """torch.ops.quantized.linear on codes; (N, K) uint8, (O, K) int8, the scale of x is 1."""
    torch = pytest.importorskip("torch")
    make = torch._make_per_tensor_quantized_tensor
    before = torch.backends.quantized.engine
    torch.backends.quantized.engine = engine
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch deprecates its quantized dtypes
            weight = make(torch.from_numpy(np.ascontiguousarray(w)), float(s_w), 0)
            packed = torch.ops.quantized.linear_prepack(weight, None)
            codes = make(torch.from_numpy(x), 1.0, x_zero_point)
            return torch.ops.quantized.linear(codes, packed, s_y, z_y).int_repr().numpy()
    finally:
        torch.backends.quantized.engine = before
