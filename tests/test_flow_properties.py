"""Random small networks through every flow: what comes out is the float network, 8 bits fine."""

import numpy as np
import pytest
from random_models import random_model

import numq as nq
from numq import flows
from numq.autograd import Tensor, mean, mul, no_grad

# One tensor of a few hundred values spans up to 8 standard deviations or so. In 255 steps the error
# of a code, uniform within one step, is 20·log10(255·√12/8) = 41 dB below it. A network here has at
# most 8 matrices (weight-only), as many batches quantized beside them (dynamic), and at most 18
# edges and matrices on codes (static). Adding their errors costs 10·log10(8), 10·log10(16),
# 10·log10(18) = 9, 12, 13 dB; a sum in which signals cancel and errors do not costs 3 dB more.
BOUND = {"weight_only": 29, "dynamic": 26, "static": 25, "trained": 25}


def trained(net, x):
    """What QAT converts to before a step was made: the static network again."""
    network = flows.prepare_qat(net, x).eval()
    network(x)
    return flows.convert(network)


FLOWS = {
    "weight_only": lambda net, x: flows.weight_only(net),
    "dynamic": lambda net, x: flows.dynamic(net),
    "static": lambda net, x: flows.static(net, [x]),
    "trained": trained,
}


@pytest.mark.parametrize("seed", range(40))
def test_every_flow_keeps_the_network(seed):
    net, x, names = random_model(seed)
    with no_grad():
        y = net(Tensor(x)).data
    for name, flow in FLOWS.items():
        network = flow(net, x)
        assert nq.sqnr_db(y, network(x)) > BOUND[name], (name, names)
        operators = {node.op for node in network.graph}
        assert operators & {"Gemm", "Conv", "QGemm", "QLinearConv", "DynamicQuantizeMatMul",
                            "DynamicQuantizeConv"}  # fmt: skip


@pytest.mark.parametrize("seed", range(40))
def test_static_and_training_follow_one_plan(seed):
    net, x, _ = random_model(seed)
    static = flows.prepare(flows.fuse(nq.graph.trace(net))).plan
    training = flows.prepare_qat(net, x).plan
    assert dict(training.quantizers) == dict(static.quantizers)
    assert (training.sources, training.fixed) == (static.sources, static.fixed)
    assert (training.nodes, training.multiplied) == (static.nodes, static.multiplied)


@pytest.mark.parametrize("seed", range(12))
def test_every_parameter_learns(seed):
    net, x, names = random_model(seed)
    network = flows.prepare_qat(net, x)
    y = network(Tensor(x))
    mean(
        mul(y, Tensor(np.random.default_rng(1).normal(size=y.shape).astype(np.float32)))
    ).backward()
    learning = {n for n, p in net.named_parameters() if p.requires_grad}
    assert learning <= set(network.constants), names
    for name in learning:
        grad = network.constants[name].grad
        assert grad is not None, (name, names)
        assert np.isfinite(grad).all(), (name, names)
