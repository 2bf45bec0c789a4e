"""Dynamic convolution: right for the weights it takes, the rest refused; activations as chosen."""

import dataclasses

import numpy as np
import pytest

import numq as nq
from numq import flows, nn
from numq.graph import Graph, Node, quantized

X = np.random.default_rng(1).normal(0.3, 1, (3, 2, 5, 5)).astype(np.float32)


def layer():
    rng = np.random.default_rng(0)
    conv = nn.Conv2d(2, 3, 3, padding=1, rng=rng)
    conv.bias.data = rng.normal(size=3).astype(np.float32)
    return conv


def exact(x, w, bias):
    """3×3 with a border of one zero, in float64, whose roundings are far below the bound."""
    padded = np.pad(x.astype(np.float64), ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
    y = np.einsum("nchwij,ocij->nohw", windows, w.astype(np.float64), optimize=True)
    return y + bias.astype(np.float64)[:, None, None]


WEIGHTS = [
    nq.SymmetricQuantizer(nq.INT8, nq.PerChannel(0)),
    nq.SymmetricQuantizer(nq.INT8, nq.PerChannel(-4)),
    nq.AffineQuantizer(nq.UINT8, nq.PerChannel(0)),
    nq.SymmetricQuantizer(nq.INT4, nq.PerTensor()),
]
ACTIVATIONS = [
    nq.AffineQuantizer(nq.INT8, nq.PerToken()),
    nq.SymmetricQuantizer(nq.INT8),
    nq.AffineQuantizer(nq.UINT8, observer=nq.PercentileObserver(90)),
    nq.AffineQuantizer(nq.INT8, clip=(-0.5, 0.7)),
    nq.AffineQuantizer(nq.INT4, rule=nq.rules.LITERT_REFERENCE),
]


@pytest.mark.parametrize("weights", WEIGHTS, ids=repr)
@pytest.mark.parametrize("activations", ACTIVATIONS, ids=repr)
def test_it_is_the_product_of_what_both_quantizers_give(weights, activations):
    conv = layer()
    conv(X)
    network = flows.dynamic(conv, weights=weights, activations=activations)
    whole = dataclasses.replace(activations, granularity=nq.PerTensor())
    x, w = whole(X).dequantize(np.float64), weights(conv.weight.data).dequantize(np.float64)
    y = exact(x, w, conv.bias.data)
    magnitude = exact(np.abs(x), np.abs(w), np.abs(conv.bias.data))
    # The accumulator is exact. The product of the scales, the product with the sum, and the sum
    # with the bias round once each, to half a unit in the last place of float32; a fourth for terms
    # of second order.
    assert (np.abs(network(X) - y) <= 4 * 2.0**-24 * magnitude).all()


@pytest.mark.parametrize(
    "weights",
    [
        nq.SymmetricQuantizer(nq.INT8, nq.PerChannel(1)),
        nq.SymmetricQuantizer(nq.INT8, nq.PerGroup(1, 1)),
        nq.SymmetricQuantizer(nq.INT8, nq.PerToken()),
        nq.SymmetricQuantizer(nq.INT16, nq.PerChannel(0)),
    ],
    ids=repr,
)
def test_other_weights_are_refused(weights):
    conv = layer()
    conv(X)
    with pytest.raises(ValueError, match=r"weights of node \w+ \(Conv\) are"):
        flows.dynamic(conv, weights=weights)
    w, b = weights(conv.weight.data), conv.bias.data
    node = Node("DynamicQuantizeConv", "conv", ("x", "w", "b"), ("y",),
                {"pads": (1, 1, 1, 1), "quantizer": nq.AffineQuantizer()})  # fmt: skip
    with pytest.raises(ValueError, match="allowed in an integer convolution are"):
        flows.Network(Graph(("x",), ("y",), (node,), {"w": w, "b": b}))


def test_rows_of_activations_are_refused_by_hand():
    w = WEIGHTS[0](layer().weight.data)
    node = Node("DynamicQuantizeConv", "conv", ("x", "w"), ("y",),
                {"quantizer": ACTIVATIONS[0]})  # fmt: skip
    with pytest.raises(ValueError, match=r"quantizer is .*PerToken.*are PerTensor"):
        flows.Network(Graph(("x",), ("y",), (node,), {"w": w}))


@pytest.mark.parametrize("activations", ACTIVATIONS[1:3], ids=repr)
def test_the_kernel_is_prepared_once_for_each_zero_point(activations, monkeypatch):
    conv = layer()
    conv(X)
    network = flows.dynamic(conv, weights=WEIGHTS[0], activations=activations)
    first = network(X)
    monkeypatch.setattr(quantized, "prepare_conv2d", None)
    assert (network(X) == first).all()
