"""Each named rule against the release it is named for, and against its rivals; no peer needed."""

import itertools

import numpy as np
import pytest
from strategies import format_of, golden

from numq import rules
from numq.formats import INT8, UINT8
from numq.qparams import QParams
from numq.qtensor import fake_quantize, quantize
from numq.rounding import ZeroPointOrder
from numq.rules import NonFinite, Overflow, QuantizeRule, ScaleOp
from numq.verify import oracle

NAMED = {name: rule for name, rule in vars(rules).items() if isinstance(rule, QuantizeRule)}
RECORDS = golden("rules")


def settings(meta):
    return QParams(meta["scale"], meta["zero_point"], format_of(meta))


@pytest.mark.parametrize(
    ("meta", "data"), RECORDS, ids=[f"{m['rule']}-{m['zero_point']}" for m, _ in RECORDS]
)
def test_every_rule_is_its_release_to_the_bit(meta, data):
    codes = quantize(data["x"], settings(meta), rule=NAMED[meta["rule"]]).codes
    np.testing.assert_array_equal(codes, data["q"])


@pytest.mark.parametrize("pair", list(itertools.combinations(NAMED, 2)), ids="-".join)
def test_the_vectors_tell_every_two_rules_apart(pair):
    """On recorded data: ties for the arithmetic, special values for the rest."""
    mine, theirs = (NAMED[name] for name in pair)
    if mine == theirs:
        assert pair == ("TORCHAO", "TORCH_PER_CHANNEL_ROUND_THEN_ADD")  # two names, one arithmetic
        return
    differ = False
    for meta, data in RECORDS:
        params = settings(meta)
        refused = NonFinite.RAISE in (mine.non_finite, theirs.non_finite)
        x = data["x"][np.isfinite(data["x"])] if refused else data["x"]
        codes = [quantize(x, params, rule=rule).codes for rule in (mine, theirs)]
        differ |= bool((codes[0] != codes[1]).any())
    # What differs only in NaN and infinity cannot differ where one of the two refuses them.
    same = all(
        getattr(mine, f) == getattr(theirs, f)
        for f in ("scale_op", "order", "rounding", "overflow")
    )
    assert differ or (same and refused)


# Half steps of s = 0.3, z = 3, where x/s is a tie, or x·(1/s) is, or the sum with z is.
SCALE = float(np.float32(0.3))
HALF_GRID = ((np.arange(-120, 120) + 0.5) * np.float32(0.3)).astype(np.float32)
RIVALS = {
    "scale_op": (ScaleOp.DIVIDE, ScaleOp.MULTIPLY_RECIPROCAL),
    "order": (ZeroPointOrder.ROUND_THEN_ADD, ZeroPointOrder.ADD_THEN_ROUND),
    "rounding": (rules.Rounding.HALF_EVEN, rules.Rounding.HALF_AWAY, rules.Rounding.HALF_UP),
}


@pytest.mark.parametrize("field", RIVALS)
@pytest.mark.parametrize("name", NAMED)
def test_a_rule_with_one_choice_changed_fails_on_ties(name, field):
    rule = NAMED[name]
    for choice in RIVALS[field]:
        fused = rule.order is ZeroPointOrder.FUSED_ADD_THEN_ROUND
        if choice is getattr(rule, field) or (fused and field == "scale_op"):
            continue
        changed = {f: getattr(rule, f) for f in QuantizeRule.__dataclass_fields__}
        rival = QuantizeRule(**changed | {field: choice})
        params = QParams(SCALE, 3, INT8)
        mine, theirs = (quantize(HALF_GRID, params, rule=r).codes for r in (rule, rival))
        assert (mine != theirs).any(), choice
        wanted = [oracle.quantize(float(v), SCALE, 3, INT8, rule) for v in HALF_GRID]
        assert mine.tolist() == wanted


def test_what_each_rule_makes_of_what_no_format_holds():
    """The table of the module, column by column; z = 5, int8 and uint8."""
    x, qmax, z = np.float32([1e38, np.nan, 0.5]), 127, 5
    by_hand = {
        "ONNXRUNTIME": (qmax, -128),
        "ONNX_REFERENCE": (-128, -128),
        "TORCH_FAKE_QUANTIZE": (qmax, -128),
        "TORCH_FAKE_QUANTIZE_PER_CHANNEL": (-128, -128),
        "TORCHAO": (qmax, 0),
        "TORCH_PER_CHANNEL_ADD_THEN_ROUND": (qmax, 0),
        "TORCH_PER_TENSOR_FUSED_ADD_THEN_ROUND": (qmax, qmax),
        "TORCH_PER_TENSOR_ROUND_THEN_ADD": (qmax, qmax),
        "TORCH_PER_CHANNEL_ROUND_THEN_ADD": (qmax, 0),
    }
    refusing = {"ONNX", "LITERT_REFERENCE"}
    assert set(by_hand) | refusing == set(NAMED)
    for name, (large, nan) in by_hand.items():
        codes = quantize(x, QParams(1.0, z, INT8), rule=NAMED[name]).codes.tolist()
        assert codes[:2] == [large, nan], name
        assert quantize(x, QParams(1.0, z, UINT8), rule=NAMED[name]).codes[2] in (5, 6)
    for name in refusing:
        assert quantize(x[:1], QParams(1.0, z, INT8), rule=NAMED[name]).codes == [qmax]
        with pytest.raises(ValueError, match=r"x\[1\] is nan"):
            quantize(x, QParams(1.0, z, INT8), rule=NAMED[name])


def test_a_cap_before_the_zero_point_wraps_above_127():
    """2^31 − 128 and a zero point of 128 or more leave int32; NaN is capped as 1e38 is."""
    rule = NAMED["TORCH_PER_TENSOR_ROUND_THEN_ADD"]
    for z, code in ((127, 255), (128, 0), (200, 0)):
        codes = quantize(np.float32([np.nan, 1e38]), QParams(1.0, z, UINT8), rule=rule).codes
        assert codes.tolist() == [code, code]
        assert oracle.quantize(float("nan"), 1.0, z, UINT8, rule) == code


def test_code_zero_is_held_within_a_format_that_lacks_it():
    rule = QuantizeRule(non_finite=NonFinite.NAN_TO_CODE_ZERO)
    params = QParams(1.0, 3, UINT8.narrow())
    assert quantize([np.nan], params, rule=rule).codes == [1]
    assert oracle.quantize(float("nan"), 1.0, 3, UINT8.narrow(), rule) == 1
    assert fake_quantize([np.nan], params, rule=rule).tolist() == [-2.0]
    assert len(Overflow) > 4


def test_torchs_decomposed_rule_live():
    torch = pytest.importorskip("torch", reason="torch is an optional peer")
    decomposed = pytest.importorskip("torch.ao.quantization.fx._decomposed")
    special = [np.nan, np.inf, -np.inf, 3e9, -3e9, 1e38, -1e38]
    x = np.concatenate([HALF_GRID, np.nextafter(HALF_GRID, np.float32(0)), np.float32(special)])
    assert decomposed is not None
    for format, dtype, z in ((INT8, torch.int8, -5), (UINT8, torch.uint8, 7)):
        theirs = torch.ops.quantized_decomposed.quantize_per_tensor(
            torch.tensor(x), SCALE, z, format.qmin, format.qmax, dtype
        )
        ours = quantize(x, QParams(SCALE, z, format), rule=rules.TORCHAO).codes
        assert ours.tolist() == theirs.tolist()
