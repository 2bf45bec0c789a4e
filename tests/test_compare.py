"""A row a layer: which rows there are, and what their numbers mean."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from numq import INT4, AffineQuantizer, flows, nn, sqnr_db
from numq.autograd import Tensor
from numq.graph import Graph, Node, Program, run, trace

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
    with pytest.raises(ValueError, match=r"another 0.weight:codes now, as it has trained on since"):
        flows.compare(trained, network, X)
    weight.data = was
    assert flows.compare(trained, network, X) == rows
    trained(Tensor(3 * X))  # ranges follow the batch in training
    for stale in (network, again):
        with pytest.raises(ValueError, match=r"trained on since .*; allowed .*convert it again"):
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
    with pytest.raises(ValueError, match=r"model has \(64, 9\) at 0, network \(64, 8\)"):
        flows.compare(wider, flows.static(net, [X]), X)
    with pytest.raises(ValueError, match="model has no edge"):
        flows.compare(nn.Linear(6, 3, rng=np.random.default_rng(0)), flows.static(net, [X]), X)


def masked(size: int = 5) -> tuple[nn.Module, np.ndarray, np.ndarray]:
    attention = nn.MultiheadAttention(8, 2, rng=np.random.default_rng(0))
    x = np.random.default_rng(1).normal(size=(2, size, 8)).astype(np.float32)
    return attention, x, np.tril(np.ones((size, size), np.bool_))


def test_a_mask_is_no_signal() -> None:
    attention, x, mask = masked()
    for network in (
        flows.weight_only(attention, x, None, mask),
        flows.static(attention, [(x, None, mask)]),
    ):
        edges = network.edges(x, mask)
        hidden = [e for e, v in edges.items() if v.dtype.kind == "f" and np.isneginf(v).any()]
        assert len(hidden) > 0
        rows = {r.layer: r for r in flows.compare(attention, network, x, mask)}
        assert all(r.sqnr_db > 20 for r in rows.values())
    node = next(n for n in network.graph if n.output == hidden[0])
    seen = np.broadcast_to(mask, edges[hidden[0]].shape)
    kept: dict[str, np.ndarray] = {}
    run(Program(trace(attention, x, None, mask)), (x, mask), kept.__setitem__)
    wanted, got = kept[hidden[0]][seen], edges[hidden[0]][seen]
    assert rows[node.name].sqnr_db == sqnr_db(wanted, got)  # of the places that attention sees


def test_infinity_in_one_of_both_is_named() -> None:
    w, v = np.eye(2, dtype=np.float32), np.float32([[3e38, 0], [0, 1]])
    nodes = Node("Gemm", "a", ("x", "w"), ("h",)), Node("Exp", "e", ("h",), ("y",))
    graphs = [Graph(("x",), ("y",), nodes, {"w": c}) for c in (w, v)]
    network = flows.weight_only(graphs[0])
    with (
        np.errstate(over="ignore"),
        pytest.raises(ValueError, match=r"^edge y .*is inf at \[0, 0\] in model, 2.7.* in network"),
    ):
        flows.compare(graphs[1], network, np.ones((1, 2), np.float32))


def test_an_empty_batch_says_nothing() -> None:
    net = model()
    for network in (flows.static(net, [X]), flows.weight_only(net)):
        with pytest.raises(ValueError, match=r"^inputs\[0\] has shape \(0, 6\), nothing to comp"):
            flows.compare(net, network, X[:0])


def test_truth_values_are_compared() -> None:
    w = np.eye(6, dtype=np.float32)
    nodes = (
        Node("Gemm", "a", ("x", "w"), ("h",)), Node("Greater", "g", ("h", "zero"), ("y",)),
    )  # fmt: skip
    graph = Graph(("x",), ("y",), nodes, {"w": w, "zero": np.zeros((), np.float32)})
    assert flows.compare(graph, flows.weight_only(graph), X)[-1].sqnr_db == np.inf


def test_long_names_have_room() -> None:
    name = "encoder.layers.0.attention.query"
    nodes = Node("Gemm", name, ("x", "w"), ("h",)), Node("Gemm", "b", ("h", "w"), ("y",))
    graph = Graph(("x",), ("y",), nodes, {"w": np.eye(6, dtype=np.float32)})
    lines = [repr(r) for r in flows.compare(graph, flows.weight_only(graph), X)]
    assert [line.split()[:2] for line in lines] == [[name, "Gemm"], ["b", "Gemm"]]
    assert len({line.index(" Gemm ") for line in lines}) == 1
    assert repr(flows.LayerError(name, 25 * "O", 1.0, np.nan, np.nan)).split()[0] == name


def test_a_row_reads() -> None:
    row = flows.LayerError("conv", "QLinearConv", 41.25, 2.5, 0.0125)
    words = "conv QLinearConv 41.2 dB worst 2.5 steps saturated 1.25%"
    assert repr(row).split() == words.split()
