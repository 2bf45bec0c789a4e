"""A row a layer: which rows there are, and what their numbers mean."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from numq import INT4, AffineQuantizer, flows, nn
from numq.autograd import Tensor

X = np.random.default_rng(1).normal(size=(64, 6)).astype(np.float32)


def model() -> nn.Module:
    rng = np.random.default_rng(0)
    return nn.Sequential(nn.Linear(6, 8, rng=rng), nn.ReLU(), nn.Linear(8, 3, rng=rng))


def test_a_row_for_each_node_and_the_numbers_of_the_edges() -> None:
    net = model()
    network = flows.static(net, [X])
    rows = flows.compare(net, network, X)
    assert [(r.layer, r.operator) for r in rows] == [
        ("x:quantize", "QuantizeLinear"),
        ("0", "QGemm"),
        ("2", "QGemm"),
    ]
    qparams = network.graph.qparams["2:codes"]
    codes = network.edges(X)["2:codes"].astype(np.float64)
    wanted = net(X).data / float(qparams.scale) + int(qparams.zero_point)
    assert rows[-1].worst_steps == pytest.approx(np.abs(codes - wanted).max(), rel=1e-5)
    assert rows[0].worst_steps <= 0.5 + 1e-6  # nothing but rounding has happened yet
    assert rows[0].sqnr_db > rows[-1].sqnr_db > 30


def test_saturation_is_seen_where_it_is() -> None:
    net = model()
    clipped = AffineQuantizer(clip=(-0.5, 0.5))
    rows = flows.compare(net, flows.static(net, [X], activations=clipped), X)
    assert rows[0].saturated == pytest.approx((np.abs(X) > 0.5).mean(), abs=0.01)
    assert rows[0].saturated > 0.5 > rows[-1].saturated


def test_float_edges_have_no_steps() -> None:
    net = model()
    for flow in (flows.weight_only, flows.dynamic):
        rows = flows.compare(net, flow(net, X), X)
        assert np.isnan([(r.worst_steps, r.saturated) for r in rows]).all()
        assert all(repr(r).endswith(" dB") for r in rows)
        assert all(25 < r.sqnr_db < 80 for r in rows)
    fewer = flows.compare(net, flows.static(net, [X], activations=AffineQuantizer(INT4)), X)
    assert fewer[-1].sqnr_db < flows.compare(net, flows.static(net, [X]), X)[-1].sqnr_db - 12


def test_a_trained_network_beside_its_own_values() -> None:
    net = model()
    trained = flows.prepare_qat(net, X).eval()
    trained(X)
    for parameter in trained.parameters():  # as training does; `net` knows nothing of it
        parameter.data = parameter.data * np.float32(0.9)
    network = flows.convert(trained)
    own, others = (flows.compare(m, network, X)[-1].sqnr_db for m in (trained, net))
    assert own > 30 > 20 > others


def test_a_network_that_trained_on_is_refused(tmp_path: Path) -> None:
    trained = flows.prepare_qat(model(), X)
    trained(Tensor(X))
    network = flows.convert(trained)
    network.save(tmp_path / "network.safetensors")
    again = flows.Network.load(tmp_path / "network.safetensors")
    rows = flows.compare(trained, network, X)
    assert flows.compare(trained, again, Tensor(X)) == rows
    weight, was = trained.constants["0.weight"], trained.constants["0.weight"].data
    weight.data = was * np.float32(1.5)
    with pytest.raises(ValueError, match=r"trained on since .*: 0.weight:codes is another now"):
        flows.compare(trained, network, X)
    weight.data = was
    assert flows.compare(trained, network, X) == rows
    trained(Tensor(3 * X))  # ranges follow the batch in training
    for stale in (network, again):
        with pytest.raises(ValueError, match=r"trained on since .*; convert it again"):
            flows.compare(trained, stale, X)
    assert len(flows.compare(trained, flows.convert(trained), X)) == len(rows)


def test_what_is_refused() -> None:
    net = model()
    with pytest.raises(TypeError, match="network"):
        flows.compare(net, net, X)  # type: ignore[arg-type]
    wider = nn.Sequential(
        nn.Linear(6, 9, rng=np.random.default_rng(0)), nn.ReLU(),
        nn.Linear(9, 3, rng=np.random.default_rng(0)),
    )  # fmt: skip
    with pytest.raises(ValueError, match=r"model makes \(64, 9\) at 0, network \(64, 8\)"):
        flows.compare(wider, flows.static(net, [X]), X)
    with pytest.raises(ValueError, match="model has no edge"):
        flows.compare(nn.Linear(6, 3, rng=np.random.default_rng(0)), flows.static(net, [X]), X)


def test_a_row_reads() -> None:
    row = flows.LayerError("conv", "QLinearConv", 41.25, 2.5, 0.0125)
    words = "conv QLinearConv 41.2 dB worst 2.5 steps saturated 1.25%"
    assert repr(row).split() == words.split()
