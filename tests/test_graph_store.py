"""Graphs and quantized tensors in files: they come back bit for bit, or the file is refused."""

import json
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_models import random_model

import numq as nq
from numq import flows, nn, storage
from numq.formats import INT_FORMATS
from numq.graph import Graph, Node, load_graph, save_graph
from numq.storage import load_arrays, save_arrays

NAMES = [
    "w", "w:folded", "w:scale", "w:zero_point", "w:scale:folded", "edge:x", "edge:x:scale",
    "edge:", ":", "%", "%3A", "a%3Ab", "__metadata__", "%5F_metadata__", "checked", "sha256",
    "é\n\0",
]  # fmt: skip


@st.composite
def qtensors(draw):
    format = draw(st.sampled_from([*INT_FORMATS, nq.INT8.narrow(), nq.INT4.narrow()]))
    granularity, shape, scales = draw(
        st.sampled_from(
            [
                (nq.PerTensor(), (), ()),
                (nq.PerTensor(), (0, 3), ()),
                (nq.PerChannel(1), (2, 3), (3,)),
                (nq.PerToken(), (2, 3), (2,)),
                (nq.PerGroup(axis=1, size=2), (2, 3), (2, 2)),
                (nq.PerBlock((1, 3)), (2, 3), (2, 1)),
            ]
        )
    )
    code = st.integers(format.qmin, format.qmax)
    count, blocks = int(np.prod(shape)), int(np.prod(scales))
    codes = draw(st.lists(code, min_size=count, max_size=count))
    zeros = draw(st.lists(code | st.just(max(0, format.qmin)), min_size=blocks, max_size=blocks))
    exponents = draw(st.lists(st.integers(-100, 100), min_size=blocks, max_size=blocks))
    params = nq.QParams(
        np.reshape(np.exp2(np.array(exponents, np.float32)), scales),
        np.reshape(np.array(zeros, np.int32), scales), format, granularity,
        draw(st.sampled_from([nq.FLOAT32, nq.FLOAT8_E8M0FNU])),
    )  # fmt: skip
    return nq.QTensor(np.reshape(np.array(codes, format.dtype), shape), params)


plain = st.sampled_from(
    [
        np.float32(np.nan) * np.ones(2, np.float32),
        np.array([[0.0, -0.0]], np.float32),
        np.arange(3),
        np.array(True),
        np.ones((0, 2), np.float64),
    ]
)


@settings(max_examples=60)
@given(st.dictionaries(st.sampled_from(NAMES), qtensors() | plain, max_size=6))
def test_constants_under_any_name_come_back(tmp_path_factory, constants):
    path = tmp_path_factory.getbasetemp() / "graph.safetensors"
    params = {f"x{k}": c.qparams for k, c in constants.items() if isinstance(c, nq.QTensor)}
    inputs = tuple(params) or ("x",)
    graph = Graph(inputs, inputs, (), constants, frozenset(constants), params, {inputs[0]: (2, 3)})
    save_graph(graph, path)
    again = load_graph(path)
    assert (again.inputs, again.outputs, again.nodes) == (graph.inputs, graph.outputs, ())
    assert (again.parameters, again.qparams) == (graph.parameters, graph.qparams)
    assert again.shapes == graph.shapes
    assert again.constants.keys() == constants.keys()
    for name, constant in constants.items():
        read = again.constants[name]
        if isinstance(constant, nq.QTensor):
            assert read.qparams == constant.qparams
            assert read.qparams.scale.dtype == constant.qparams.scale.dtype
            constant, read = constant.codes, read.codes
        assert (read.dtype, read.shape) == (constant.dtype, constant.shape)
        assert read.tobytes() == constant.tobytes()


@pytest.fixture(scope="module")
def networks():
    rng = np.random.default_rng(0)
    model = nn.Sequential(nn.Linear(3, 4, rng=rng), nn.Sigmoid(), nn.Linear(4, 2, rng=rng))
    x = rng.normal(0, 1, (8, 3)).astype(np.float32)
    weights = nq.AffineQuantizer(nq.INT4, nq.PerGroup(1, 2), observer=nq.PercentileObserver(99.0))
    return {
        "weight-only": flows.weight_only(model, x, weights=weights),
        "dynamic": flows.dynamic(model, x),
        "static": flows.static(model, [x]),
    }, x


@pytest.mark.parametrize("kind", ["weight-only", "dynamic", "static"])
def test_a_network_gives_the_same_bytes_and_numbers(tmp_path, networks, kind):
    network, x = networks[0][kind], networks[1]
    first, second = tmp_path / "1.safetensors", tmp_path / "2.safetensors"
    network.save(first)
    again = flows.Network.load(first)
    again.save(second)
    assert first.read_bytes() == second.read_bytes()
    assert again(x).tobytes() == network(x).tobytes()


def test_every_flipped_bit_of_a_network_is_seen(tmp_path):
    """One Linear of one weight: all of its bits, in steps that meet every byte and every bit."""
    model = nn.Linear(1, 1, rng=np.random.default_rng(0))
    x = np.ones((1, 1), np.float32)
    network, path = flows.weight_only(model, x), tmp_path / "net.safetensors"
    network.save(path)
    whole, y, seen = path.read_bytes(), network(x), 0
    for bit in range(0, 8 * len(whole), 17):
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        try:
            assert flows.Network.load(path)(x).tobytes() == y.tobytes()
        except ValueError as error:
            seen += "net.safetensors" in str(error)
    assert seen > len(whole) // 3


@dataclass(frozen=True)
class MinMaxObserver(nq.MinMaxObserver):
    """Somebody's own, under a name that numq has."""


class Quiet(MinMaxObserver):
    """One that is no dataclass of its own."""


@pytest.mark.parametrize("own", [MinMaxObserver(), Quiet()])
def test_what_only_its_author_has_is_refused_when_saved(tmp_path, own):
    model = nn.Sequential(nn.Linear(2, 2, rng=np.random.default_rng(0)))
    quantizer = nq.AffineQuantizer(nq.UINT8, observer=own)
    network = flows.dynamic(model, np.ones((1, 2), np.float32), activations=quantizer)
    message = rf"attribute quantizer of node 0 \(.*\) has a .*{type(own).__name__}; allowed in"
    with pytest.raises(TypeError, match=message):
        network.save(tmp_path / "net.safetensors")
    assert list(tmp_path.iterdir()) == []


def changed(path, change):
    """The file with its graph's text changed, and a digest that fits."""
    arrays, metadata = load_arrays(path)
    text = json.loads(metadata["graph"])
    metadata["graph"] = change(text) or json.dumps(text)
    save_arrays(path, arrays, metadata)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: "[" * 100_000, "nested too deep"),
        (lambda t: '{"nodes":' * 50_000, "nested too deep"),
        (lambda t: "5", "the text of the graph is 5"),
        (lambda t: "null", "the text of the graph is None"),
        (lambda t: "not json", "Expecting value"),
        (lambda t: t.pop("nodes") and None, "'nodes' is missing"),
        (lambda t: t["nodes"][0].pop("op") and None, "'op' is missing"),
        (lambda t: t["nodes"].append(5), "a node is 5"),
        (lambda t: t.update(inputs="x"), "inputs is 'x'"),
        (lambda t: t.update(inputs=[5]), "inputs is 5"),
        (lambda t: t.update(quantized=[]), r"quantized is"),
        (lambda t: t["quantized"].update(more=t["quantized"]["0.weight"]), "codes of 'more' are"),
        (lambda t: t["quantized"]["0.weight"].update(shape=[1e300, 4]), "has 1e.300; allowed"),
        (lambda t: t["quantized"]["0.weight"].update(shape=[True, 3]), "has True; allowed"),
        (lambda t: t["quantized"]["0.weight"].update(shape=[10**30, 4]), "and 12 bytes"),
        (lambda t: t["quantized"]["0.weight"].update(shape=[-1, 4]), "and 12 bytes"),
        (lambda t: t["quantized"]["0.weight"].update(shape=12), "shape of 0.weight is 12"),
        (lambda t: t["quantized"]["0.weight"]["params"].pop() and None, "not enough values"),
        (lambda t: t["quantized"]["0.weight"]["params"].__setitem__(0, 8), "format is 8"),
        (lambda t: t["quantized"]["0.weight"]["params"].__setitem__(0, {"class": "os.system"}),
         r"the kind is 'os.system'; allowed in a file are IntFormat"),
        (lambda t: t["quantized"]["0.weight"]["params"].__setitem__(0, {"class": [[]]}), "kind is"),
        (lambda t: t["quantized"]["0.weight"]["params"].append({"enum": "Specials"}),
         "'name' is missing"),
        (lambda t: t["edges"]["x:codes"].update(params=5), "params is 5"),
        (lambda t: t["edges"].update({"more": t["edges"]["x:codes"]}), "'edge:more:scale' is m"),
        (lambda t: t["edges"]["x:codes"].update(ofset=True), "edge:x:codes means has 'ofset'; al"),
        (lambda t: t["edges"]["x:codes"].update(shape=[2]), "edge:x:codes means has 'shape'; al"),
        (lambda t: t["edges"]["x:codes"].pop("zero_point") and None, "'edge:x:codes:zero_point', "),
        (lambda t: t["edges"]["x:codes"].update(zero_point=False), "is False; allowed is true"),
        (lambda t: t["edges"]["x:codes"].update(offset=None), "edge:x:codes:offset is None"),
        (lambda t: t["quantized"]["0.weight"].pop("scale") and None, "'scale' is missing"),
        (lambda t: t["quantized"].update({"0.weight": None}), "what 0.weight means is None"),
        (lambda t: t.update(epochs=5), "the text of the graph has 'epochs'; allowed are inputs"),
        (lambda t: t.pop("declared") and None, "'declared' is missing"),
        (lambda t: t["nodes"][0].update(domain=""), "a node has 'domain'; allowed are op, name"),
        (lambda t: t["edges"]["x:codes"]["params"][0].update(signed=False),
         "IntFormat has 'signed'; allowed are class, fields"),
        (lambda t: json.dumps(t)[:-1] + ', "nodes": []}', "allowed is each once"),
        (lambda t: t["shapes"].update(x=["a"]), r"shapes\['x'\] has 'a'"),
    ],
)  # fmt: skip
def test_texts_that_are_no_graph(tmp_path, networks, change, message):
    path = tmp_path / "net.safetensors"
    networks[0]["static"].save(path)
    changed(path, change)
    with pytest.raises(ValueError, match=rf"path is .*net\.safetensors.*: .*{message}"):
        load_graph(path)


def test_a_file_from_before_the_digest_is_read():
    """Saved by 0.1.0 of November 21; its inputs are not declared either."""
    stored = Path(__file__).parent / "stored" / "network_without_digest"
    with np.load(stored.with_suffix(".npz"), allow_pickle=False) as expected:
        network = flows.Network.load(stored.with_suffix(".safetensors"))
        assert network(expected["x"]).tobytes() == expected["y"].tobytes()


@pytest.mark.parametrize("mark", ["sha256", "checked"])
def test_half_of_the_mark_of_a_digest_is_damage(tmp_path, networks, mark):
    path = tmp_path / "net.safetensors"
    networks[0]["static"].save(path)
    raw = path.read_bytes()
    (length,) = struct.unpack_from("<Q", raw)
    header = json.loads(raw[8 : 8 + length])
    del header["__metadata__"][mark]
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + raw[8 + length :])
    with pytest.raises(ValueError, match="digest"):
        load_graph(path)


@pytest.mark.parametrize("seed", range(12))
def test_random_networks_come_back(tmp_path, seed):
    net, x, _ = random_model(seed)
    first, second = tmp_path / "1.safetensors", tmp_path / "2.safetensors"
    for flow in (flows.weight_only, flows.dynamic, lambda net, x: flows.static(net, [x])):
        network = flow(net, x)
        network.save(first)
        again = flows.Network.load(first)
        again.save(second)
        assert first.read_bytes() == second.read_bytes()
        assert repr(again) == repr(network)
        assert again(x).tobytes() == network(x).tobytes()


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"function": "Expand"}, "function is 'Expand'; allowed are"),
        (
            {"function": "Expand", "shape": [3 * 10**9, 2]},
            "has 'shape', which is unknown",
        ),
        ({"function": "Softmax"}, "function is 'Softmax'; allowed are"),
    ],
)
def test_a_table_holds_a_function_of_one_element(tmp_path, networks, attributes, message):
    """Nothing that expands its 256 answers: a file of 2 KB would ask for 24 GB."""
    path = tmp_path / "net.safetensors"
    networks[0]["static"].save(path)

    def change(text):
        (table,) = (node for node in text["nodes"] if node["op"] == "Table")
        table["attributes"].update(attributes)

    changed(path, change)
    with pytest.raises(ValueError, match=rf"path is .*, which is damaged; .*{message}"):
        flows.Network.load(path)


ENTRIES = [
    None, True, -1, 0, 1, 2**31, 10**30, 0.5, float("nan"), float("inf"), "x", "", [], [[]], {},
    [1, 2, 3, 4, 5], {"class": "IntFormat", "fields": {}}, {"enum": "Rounding", "name": "X"},
]  # fmt: skip


def places(text, path=()):
    """Where something stands in a text, as keys and indices."""
    yield path
    if isinstance(text, dict | list):
        keys = text if isinstance(text, dict) else range(len(text))
        for key in keys:
            yield from places(text[key], (*path, key))


def replaced(text, path, entry):
    """The text with another entry at a place."""
    if not path:
        return entry
    key, *rest = path
    inner = replaced(text[key], rest, entry)
    if isinstance(text, dict):
        return {**text, key: inner}
    return [*text[:key], inner, *text[key + 1 :]]


@pytest.mark.parametrize("kind", ["weight-only", "dynamic", "static"])
@pytest.mark.parametrize("step", [53, pytest.param(1, marks=pytest.mark.slow)])
def test_any_entry_replaced_by_any_other_is_refused_or_runs(
    tmp_path, monkeypatch, networks, kind, step
):
    """With a digest that fits: as somebody would write it by hand."""
    path, x = tmp_path / "net.safetensors", networks[1]
    networks[0][kind].save(path)
    arrays, metadata = load_arrays(path)
    text = json.loads(metadata["graph"])
    stored = {}
    monkeypatch.setattr(
        storage, "write_whole", lambda path, content: stored.update({path: content})
    )
    monkeypatch.setattr(storage, "read_whole", stored.__getitem__)
    tried = [(place, entry) for place in places(text) for entry in ENTRIES]
    for place, entry in tried[::step]:
        changed = {**metadata, "graph": json.dumps(replaced(text, place, entry))}
        save_arrays(path, arrays, changed)
        try:
            network = flows.Network.load(path)
        except ValueError as error:
            assert str(error).startswith(f"path is {path}")  # noqa: PT017
            continue
        try:
            assert np.shape(network(x))[:1] == (len(x),) or not network.graph.outputs
        except (ValueError, TypeError):  # an attribute that does not fit this input
            continue


def test_a_state_and_a_graph_are_not_each_other(tmp_path, networks):
    model = nn.Linear(3, 4, rng=np.random.default_rng(0))
    networks[0]["static"].save(tmp_path / "net.safetensors")
    with pytest.raises(ValueError, match="which holds a graph; allowed is what save"):
        model.load(tmp_path / "net.safetensors")
    model.save(tmp_path / "state.safetensors")
    with pytest.raises(ValueError, match=r"format 'numq state'.*; allowed is a numq graph"):
        flows.Network.load(tmp_path / "state.safetensors")


def test_attributes_that_a_file_cannot_hold(tmp_path):
    for value in (np.ones(2), {"a": 1}, b"bytes", object(), print, 1j):
        graph = Graph(("x",), ("y",), (Node("LeakyRelu", "n", ("x",), ("y",), {"alpha": 0.5}),))
        object.__setattr__(graph.nodes[0], "attributes", {"alpha": value})
        with pytest.raises(TypeError, match=r"attribute alpha of node n \(LeakyRelu\) has a"):
            save_graph(graph, tmp_path / "g.safetensors")


def test_a_graph_of_version_1_names_its_scale_formats_otherwise(tmp_path):
    """Scales were floats in an enum's format, and powers of two were always rounded up."""
    two = {"scale_format": nq.FLOAT8_E8M0FNU, "scale_rounding": nq.Rounding.CEIL}
    model = nn.Linear(3, 4, rng=np.random.default_rng(0))
    x = np.ones((2, 3), np.float32)
    weights, edges = nq.SymmetricQuantizer(nq.INT8, **two), nq.AffineQuantizer(nq.UINT8, **two)
    network = flows.dynamic(model, x, weights=weights, activations=edges)
    path = tmp_path / "net.safetensors"
    network.save(path)
    arrays, metadata = load_arrays(path)
    text = json.loads(metadata["graph"])
    (name,) = text["quantized"]
    meaning = text["quantized"][name]
    q = network.graph.constants[name]
    old = {"enum": "ScaleFormat", "name": "POWER_OF_TWO"}
    meaning["params"][2], arrays[f"{name}:scale"] = old, q.scale
    del meaning["scale"]
    for node in text["nodes"]:
        if "quantizer" in node["attributes"]:
            fields = node["attributes"]["quantizer"]["fields"]
            fields["scale_format"] = old
            del fields["scale_rounding"]
    before = {**metadata, "version": "1", "graph": json.dumps(text)}
    save_arrays(path, arrays, before)
    again = flows.Network.load(path)
    assert again.graph.constants[name] == q
    assert repr(again) == repr(network)
    assert again(x).tobytes() == network(x).tobytes()
    save_arrays(path, arrays, {**before, "version": "3"})
    with pytest.raises(ValueError, match="version '3'; allowed is a numq graph of version 1 or 2"):
        load_graph(path)


@pytest.mark.parametrize(
    "weights",
    [
        nq.SymmetricQuantizer(
            nq.FLOAT4_E2M1, nq.PerGroup(1, 2), scales=nq.SymmetricQuantizer(nq.FLOAT8_E4M3FN)
        ),
        nq.OffsetQuantizer(nq.UINT4, nq.PerGroup(1, 2), scale_format=nq.FLOAT16),
    ],
)
def test_weights_with_two_levels_or_offsets_are_a_network_too(tmp_path, networks, weights):
    model = nn.Sequential(nn.Linear(3, 4, rng=np.random.default_rng(0)), nn.ReLU())
    network = flows.weight_only(model, networks[1], weights=weights)
    network.save(tmp_path / "net.safetensors")
    again = flows.Network.load(tmp_path / "net.safetensors")
    assert again(networks[1]).tobytes() == network(networks[1]).tobytes()
    tensors = [{k: c for k, c in net.graph.constants.items() if isinstance(c, nq.QTensor)}
               for net in (again, network)]  # fmt: skip
    assert tensors[0] == tensors[1] != {}
    assert again.nbytes == network.nbytes
