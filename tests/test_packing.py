"""Packing orders: literals, real implementations, and a definition in Python integers."""

import ml_dtypes
import numpy as np
import onnx
import pytest
from gguf import GGMLQuantizationType
from gguf.quants import dequantize as gguf_dequantize
from gguf.quants import quantize as gguf_quantize
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper, numpy_helper
from strategies import formats

from numq.formats import (
    INT2,
    INT3,
    INT4,
    INT32,
    UINT2,
    UINT3,
    UINT4,
    UINT5,
    UINT6,
    UINT8,
    IntFormat,
)
from numq.packing import PackOrder, pack, unpack

LOW_FIRST, GPTQ, AWQ, GGUF = PackOrder
WORDS = (GPTQ, AWQ)
WIDTHS = {LOW_FIRST: range(2, 17), GPTQ: (2, 3, 4, 8), AWQ: (4,), GGUF: (4,)}
PAIRS = [(order, bits) for order, widths in WIDTHS.items() for bits in widths]


def by_hand(codes, bits, order):
    """One run as Python integers: the bytes, or the words, that the order puts its codes into."""
    codes = [c % 2**bits for c in codes]
    unit = 32 if order in WORDS else 8
    if order is AWQ:  # AutoAWQ, WQLinear_GEMM.from_linear: order_map
        codes += [0] * (-len(codes) % 8)
        nibble = (0, 2, 4, 6, 1, 3, 5, 7)
        codes = [codes[i + n] for i in range(0, len(codes), 8) for n in nibble]
    if order is GGUF:  # ggml-quants.c, quantize_row_q4_0_ref: x[j] | x[j + 16] << 4
        codes += [0] * (-len(codes) % 32)
        starts = range(0, len(codes), 32)
        return [codes[i + j] | codes[i + j + 16] << 4 for i in starts for j in range(16)]
    whole = sum(c << (bits * i) for i, c in enumerate(codes))
    return [(whole >> i) % 2**unit for i in range(0, len(codes) * bits, unit)]


def random_codes(format, *shape, seed=0):
    return np.random.default_rng(seed).integers(format.qmin, format.qmax, shape, endpoint=True)


@pytest.mark.parametrize(
    ("order", "format", "codes", "expected"),
    [
        (LOW_FIRST, UINT2, [0, 1, 2, 3, 1], "e401"),
        (LOW_FIRST, INT2, [-2, -1, 0, 1], "4e"),
        # 001 010 011 from the right: 0b11_010_001, then the top bit of the third code.
        (LOW_FIRST, UINT3, [1, 2, 3], "d100"),
        (LOW_FIRST, UINT3, [1, 2, 7], "d101"),
        (LOW_FIRST, INT3, [-4, 3, -1], "dc01"),
        (LOW_FIRST, UINT4, [1, 2, 3], "2103"),
        (LOW_FIRST, INT4, [-8, 7, -1], "780f"),
        (LOW_FIRST, UINT5, [31, 0, 1], "1f04"),
        (LOW_FIRST, UINT6, [1, 2, 3, 4], "813010"),
        (LOW_FIRST, UINT8, [1, 255], "01ff"),
        (LOW_FIRST, IntFormat(12, signed=False), [0x123, 0xABC], "23c1ab"),
        (LOW_FIRST, IntFormat(16), [0x1234, -2], "3412feff"),
        (GPTQ, UINT2, [1, 2, 3], [0x39]),
        # Ten codes fill 30 bits; the eleventh straddles: two bits here, one in the next word.
        (GPTQ, UINT3, [0] * 10 + [7], [0xC0000000, 0x00000001]),
        # The 22nd straddles the other way: one bit in the second word, two in the third.
        (GPTQ, UINT3, [0] * 21 + [7], [0x00000000, 0x80000000, 0x00000003]),
        (GPTQ, UINT3, [0] * 10 + [5], [0x40000000, 0x00000001]),
        (GPTQ, UINT4, [1, 2, 3, 4, 5, 6, 7, 8, 9], [0x87654321, 0x9]),
        (GPTQ, UINT8, [1, 2, 3, 4, 255], [0x04030201, 0xFF]),
        (AWQ, UINT4, [0, 1, 2, 3, 4, 5, 6, 7], [0x75316420]),
        (AWQ, UINT4, [0, 1, 2], [0x00010020]),
        (AWQ, UINT4, [15, 0, 0, 0, 0, 0, 0, 8, 1], [0x8000000F, 0x1]),
        (GGUF, UINT4, [*range(16)] * 2, "00112233445566778899aabbccddeeff"),
        (GGUF, UINT4, [1, 2, *[0] * 14, 3, 4, *[0] * 14, 5], "3142" + "00" * 14 + "05" + "00" * 15),
    ],
)
def test_literals(order, format, codes, expected):
    packed = pack(codes, format, order=order)
    if order in WORDS:
        assert packed.dtype == np.uint32
        assert packed.tolist() == expected
    else:
        assert packed.dtype == np.uint8
        assert packed.tobytes().hex() == expected
    assert unpack(packed, format, len(codes), order=order).tolist() == codes


@pytest.mark.parametrize("count", [0, 1, 7, 8, 9, 31, 32, 33, 65])
@pytest.mark.parametrize(("order", "bits"), PAIRS)
def test_equals_the_definition_in_integers(order, bits, count):
    for signed in signs(order):
        format = IntFormat(bits, signed)
        codes = random_codes(format, 3, count, seed=count)
        packed = pack(codes, format, order=order)
        assert packed.tolist() == [by_hand(row, bits, order) for row in codes.tolist()]


def signs(order):
    """Only plain low-first packing has signed codes; the other orders store an offset instead."""
    return (True, False) if order is LOW_FIRST else (False,)


def test_a_narrow_format_does_not_read_the_code_it_lacks():
    with pytest.raises(ValueError, match="has values from -8 to 0; allowed is int4_narrow"):
        unpack(np.uint8([0x80]), INT4.narrow(), 2)


@pytest.mark.parametrize("order", [GPTQ, AWQ, GGUF])
def test_signed_codes_are_refused_where_the_format_stores_an_offset(order):
    with pytest.raises(ValueError, match=f"{order.name} are unsigned codes: add 8"):
        pack([-1, 7], INT4, order=order)


def gptq_3bit(codes):
    """The packer of GPTQ for 3 bits (opt.py, Quant3Linear.pack), 32 codes to three words."""
    words = []
    for start in range(0, len(codes), 32):
        c = codes[start : start + 32]
        first = sum(c[j] << (3 * j) for j in range(10)) | c[10] << 30
        second = (c[10] >> 2) & 1 | sum(c[j] << (3 * (j - 11) + 1) for j in range(11, 21))
        second |= c[21] << 31
        third = (c[21] >> 1) & 3 | sum(c[j] << (3 * (j - 22) + 2) for j in range(22, 32))
        words += [w % 2**32 for w in (first, second, third)]
    return words


def test_gptq_3bit_equals_its_packer():
    codes = random_codes(UINT3, 96).tolist()
    assert pack(codes, UINT3, order=GPTQ).tolist() == gptq_3bit(codes)


# int2 came with onnx 1.20.
ONNX_TYPES = [n for n in ("INT4", "UINT4", "INT2", "UINT2") if hasattr(onnx.TensorProto, n)]


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 8, 33])
@pytest.mark.parametrize("name", ONNX_TYPES)
def test_low_first_is_onnx(name, count):
    format = IntFormat(int(name[-1]), signed=name.startswith("I"))
    codes = random_codes(format, count, seed=count)
    ours = pack(codes, format).tobytes()
    data_type = getattr(onnx.TensorProto, name)
    small = codes.astype(getattr(ml_dtypes, name.lower()))
    assert numpy_helper.from_array(small).raw_data == ours
    unraw = helper.make_tensor("codes", data_type, [count], codes.tolist())
    assert bytes(unraw.int32_data) == ours
    raw = helper.make_tensor("codes", data_type, [count], ours, raw=True)
    assert numpy_helper.to_array(raw).astype(np.int64).tolist() == codes.tolist()
    assert unpack(np.frombuffer(ours, np.uint8), format, count).tolist() == codes.tolist()


def test_gguf_is_q4_0():
    codes = random_codes(UINT4, 5, 64)
    blocks = pack(codes, UINT4, order=GGUF).reshape(5, 2, 16)
    # A block is a float16 scale, here 1, then the codes; they stand for code − 8.
    scale = np.frombuffer(np.float16(1).tobytes(), np.uint8)
    stored = np.concatenate([np.broadcast_to(scale, (5, 2, 2)), blocks], axis=-1).reshape(5, 36)
    theirs = gguf_dequantize(stored, GGMLQuantizationType.Q4_0)
    assert (theirs + 8).tolist() == codes.tolist()

    codes[:, ::32] = 0  # −8, so that the scale of every block is 1 when gguf quantizes
    theirs = gguf_quantize((codes - 8).astype(np.float32), GGMLQuantizationType.Q4_0)
    assert (
        pack(codes, UINT4, order=GGUF).tolist()
        == theirs.reshape(5, 2, 18)[..., 2:].reshape(5, 32).tolist()
    )


@given(st.data(), formats, st.sampled_from(PackOrder))
def test_round_trip(data, format, order):
    if format.bits not in WIDTHS[order] or format.signed not in signs(order):
        bits = data.draw(st.sampled_from(WIDTHS[order]))
        format = IntFormat(bits, format.signed and order is LOW_FIRST, format.narrow_range)
    shape = data.draw(st.sampled_from([(), (2,), (0,), (2, 3)]))
    count = data.draw(st.integers(0, 70))
    codes = random_codes(format, *shape, count, seed=data.draw(st.integers(0, 2**32 - 1)))
    packed = pack(codes, format, order=order)
    run, unit = {LOW_FIRST: (1, 8), GPTQ: (1, 32), AWQ: (8, 32), GGUF: (32, 8)}[order]
    units = -(-(-(-count // run) * run * format.bits) // unit)  # whole runs, then whole units
    assert packed.shape == (*shape, units)
    if order is LOW_FIRST:
        assert units == format.packed_nbytes(count)
    back = unpack(packed, format, count, order=order)
    assert back.dtype == format.dtype
    assert back.shape == codes.shape
    assert (back == codes).all()
    fewer = data.draw(st.integers(0, count))
    assert (unpack(packed, format, fewer, order=order) == codes[..., :fewer]).all()


@pytest.mark.parametrize(("order", "bits"), PAIRS)
def test_both_ends_of_every_format(order, bits):
    for format in (IntFormat(bits, signed) for signed in signs(order)):
        codes = [format.qmin, format.qmax, format.qmax, format.qmin, 0]
        assert unpack(pack(codes, format, order=order), format, 5, order=order).tolist() == codes


@pytest.mark.parametrize("order", PackOrder)
def test_memory_layout_does_not_matter(order):
    codes = random_codes(UINT4, 64, 6).astype(np.uint8)
    views = (codes.T, codes[::-1, ::-1], np.asfortranarray(codes), codes.T.astype(">i4"))
    for view in views:
        packed = pack(view, UINT4, order=order)
        assert packed.tolist() == pack(view.copy(order="C"), UINT4, order=order).tolist()
        strided = np.repeat(packed, 2, axis=-1)[..., ::2]
        for stored in (strided, packed.astype(packed.dtype.newbyteorder(">"))):
            assert unpack(stored, UINT4, view.shape[-1], order=order).tolist() == view.tolist()


@pytest.mark.parametrize("format", [UINT4, INT4, INT4.narrow(), UINT2], ids=lambda f: f.name)
def test_codes_outside_the_format_are_refused(format):
    for code in (format.qmin - 1, format.qmax + 1, 2**40, -(2**40)):
        with pytest.raises(
            ValueError, match=rf"{code}.*allowed is {format.name} \[{format.qmin}, "
        ):
            pack([0 if format.qmin <= 0 else format.qmin, code], format)


@pytest.mark.parametrize(
    ("codes", "error", "message"),
    [
        (3, ValueError, "codes is 0-dimensional"),
        ([1.0, 2.0], TypeError, "codes has dtype float64; allowed are integers"),
        ([True, False], TypeError, "codes has dtype bool"),
        (np.ma.masked_array([1, 2], [0, 1]), TypeError, "codes is a masked array"),
    ],
)
def test_pack_refuses(codes, error, message):
    with pytest.raises(error, match=message):
        pack(codes, UINT4)


@pytest.mark.parametrize(
    ("order", "format"),
    [
        (LOW_FIRST, INT32),
        (GPTQ, UINT5),
        (GPTQ, UINT6),
        (AWQ, UINT3),
        (AWQ, UINT8),
        (GGUF, UINT2),
        (GGUF, UINT8),
    ],
)
def test_widths_that_an_order_does_not_define_are_refused(order, format):
    message = f"format has {format.bits} bits; allowed for {order.name} are "
    with pytest.raises(ValueError, match=message):
        pack([0, 1], format, order=order)
    with pytest.raises(ValueError, match=message):
        unpack(np.zeros(16, np.uint32 if order in WORDS else np.uint8), format, 1, order=order)


@pytest.mark.parametrize("order", PackOrder)
def test_unpack_refuses_other_dtypes(order):
    right = np.uint32 if order in WORDS else np.uint8
    for dtype in {np.uint8, np.uint16, np.uint32, np.uint64, np.int8, np.int32, np.float32} - {
        right
    }:
        with pytest.raises(TypeError, match=f"packed has dtype {np.dtype(dtype)}"):
            unpack(np.zeros(16, dtype), UINT4, 1, order=order)


@pytest.mark.parametrize(
    ("order", "bits", "units", "most"),
    [
        (LOW_FIRST, 4, 3, 6),
        (LOW_FIRST, 3, 2, 5),
        (LOW_FIRST, 16, 1, 0),
        (GPTQ, 3, 1, 10),
        (AWQ, 4, 2, 16),
        (GGUF, 4, 31, 32),
        (GGUF, 4, 15, 0),
    ],
)
def test_unpack_refuses_more_codes_than_there_are(order, bits, units, most):
    packed = np.zeros(units, np.uint32 if order in WORDS else np.uint8)
    format = IntFormat(bits, signed=False)
    assert unpack(packed, format, most, order=order).shape == (most,)
    for count in (most + 1, -1):
        with pytest.raises(ValueError, match=f"count is {count}; allowed are 0 to {most}"):
            unpack(packed, format, count, order=order)
    with pytest.raises(ValueError, match="packed is 0-dimensional"):
        unpack(packed.dtype.type(0), format, 0, order=order)
