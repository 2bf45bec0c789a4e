"""A graph recorded at some lengths is right at others, or refuses them by name."""

import pickle
import re

import numpy as np
import pytest
from graph_models import Residual, floats, pictures, settled

from numq import autograd as ag
from numq import flows, nn
from numq.autograd import Tensor, parameter
from numq.graph import Input, Numbers, Program, Size, load_graph, run_tensors, save_graph, trace


def values(*shape):
    return np.random.default_rng(len(shape)).normal(size=shape).astype(np.float32)


GAMMA, TABLE = parameter(values(1, 3)), parameter(values(20, 3))


def by_tensor_length(x):
    return x * ag.broadcast_to(GAMMA, (x.shape[0], 3))


def with_positions(x):
    return x + TABLE[: x.shape[1]]


def branching(x):
    return x * 2.0 if x.shape[0] > 30 else x + 1.0


def masked(x):
    return ag.where(nn.causal_mask(x.shape[1]), x, 0.0)


def checked(x):
    """As careful code does: what it asks has one answer at all lengths."""
    y = ag.relu(x)
    n, t, features = y.shape
    if x.shape != y.shape or features % 3 or x.ndim != 3 or n < 0 or x.shape[:2] != (n, t):
        raise ValueError(f"x has shape {x.shape}")
    assert isinstance(n, int)
    assert n + 1 > 0
    return ag.reshape(y, (n, t * features)) * features**-0.5


def heads_by_hand(x):
    n, t, e = x.shape
    q = ag.transpose(ag.reshape(x, (n, t, 2, e // 2)), (0, 2, 1, 3))
    seen = ag.matmul(ag.softmax(ag.matmul(q, ag.transpose(q)) * (e // 2) ** -0.5), q)
    return ag.reshape(ag.transpose(seen, (0, 2, 1, 3)), (n, t, e))


def last_halves(x):
    y = x[:, -1] * 1.0
    n, e = y.shape
    return ag.reshape(y, (n, 2, e // 2))


# Recorded at the first shape, run at the others: the numbers are the function's own.
RIGHT = {
    "rows": (lambda x: ag.reshape(x, (x.shape[0], -1)), (4, 8, 8), [(8, 8, 8), (1, 8, 8)]),
    "rows with both lengths": (lambda x: ag.reshape(x, (x.shape[0], 64)), (4, 8, 8), [(7, 8, 8)]),
    "first axes joined": (
        lambda x: ag.reshape(x, (x.shape[0] * x.shape[1], 3)), (2, 5, 3), [(4, 2, 3), (1, 9, 3)],
    ),
    "heads": (
        lambda x: ag.reshape(x, (*x.shape[:2], 2, x.shape[2] // 2)), (2, 3, 6), [(5, 4, 6)],
    ),
    "last step": (lambda x: x[:, -1], (2, 8, 3), [(2, 10, 3), (3, 1, 3)]),
    "last step by its number": (lambda x: x[:, x.shape[1] - 1], (2, 8, 3), [(2, 10, 3)]),
    "all but the last": (lambda x: x[:, :-1], (2, 8, 3), [(2, 10, 3), (2, 1, 3)]),
    "up to the length": (lambda x: x[:, 1 : x.shape[1]], (2, 8, 3), [(2, 10, 3), (2, 3, 3)]),
    "backwards": (lambda x: x[:, ::-1], (2, 8, 3), [(2, 10, 3)]),
    "the last three backwards": (lambda x: x[:, -1:-4:-1], (2, 8, 3), [(2, 10, 3), (1, 2, 3)]),
    "at most five": (lambda x: x[:, :5], (2, 8, 3), [(2, 3, 3), (2, 12, 3)]),
    "repeated": (by_tensor_length, (4, 3), [(9, 3), (1, 3)]),
    "repeated from its own length": (
        lambda x: ag.broadcast_to(ag.unsqueeze(x, (1,)), (x.shape[0], 5, 3)), (4, 3), [(6, 3)],
    ),
    "table of positions": (with_positions, (2, 8, 3), [(2, 5, 3), (1, 20, 3)]),
    "picked": (lambda x: x[np.array([0, 1, -1])], (4, 3), [(6, 3)]),
    "checked": (checked, (8, 5, 3), [(2, 5, 3), (200, 9, 3)]),
    "heads by hand": (heads_by_hand, (1, 5, 4), [(8, 5, 4), (3, 9, 4), (2, 1, 4)]),
    "the last step's halves": (last_halves, (8, 5, 4), [(1, 5, 4), (3, 1, 4)]),
    "a large batch": (lambda x: ag.reshape(x, (x.shape[0], -1)), (64, 8), [(1, 8), (9999, 8)]),
    "softmax": (lambda x: ag.softmax(x), (4, 3), [(2, 7)]),
    "mean": (lambda x: ag.mean(x, 1), (4, 3), [(2, 7)]),
}  # fmt: skip


@pytest.mark.parametrize("name", RIGHT)
def test_right_at_other_lengths(name):
    function, shape, others = RIGHT[name]
    program = Program(trace(function, values(*shape)))
    for other in [shape, *others]:
        x = values(*other)
        want = function(Tensor(x)).data
        got = program(x)
        assert got.shape == want.shape
        assert (got == want).all()
        assert (run_tensors(program.graph, [Tensor(x)])[0].data == want).all()


def in_blocks(x):
    return ag.concat([x[i : i + 16] * 2.0 for i in range(0, x.shape[0], 16)], 0)


def behind_a_stride(x):
    y = ag.max_pool2d(x, (1, 1), stride=(16, 1))
    return x * (y.shape[2] // 8 + 1.0)


# Recorded at the first shape, and wrong at the second if it ran.
REFUSED = {
    "half": (lambda x: x[:, : x.shape[1] // 2], (2, 8, 3), (2, 10, 3), "8 along axis 1"),
    "a number of the length": (lambda x: x / x.shape[1], (2, 3), (2, 4), "3 along axis 1"),
    "a loop": (lambda x: sum(x[:, t] for t in range(x.shape[1])), (2, 3), (2, 5), "axis 1"),
    "a mask": (masked, (2, 8, 8), (2, 10, 10), "8 along axis 1"),
    "a mask of one": (masked, (2, 1, 1), (2, 5, 5), "1 along axis 1"),
    "a branch": (branching, (40, 3), (8, 3), "40 along axis 0"),
    "a branch far away": (branching, (4, 3), (31, 3), "4 along axis 0"),
    "a branch beyond": (lambda x: x * 2.0 if x.shape[0] <= 16 else x, (8, 3), (20, 3), "axis 0"),
    "a branch at one length": (
        lambda x: x * 2.0 if x.shape[0] != 33 else -x,
        (8, 3),
        (33, 3),
        "axis 0",
    ),
    "a branch on none": (lambda x: x * 2.0 if x.shape[0] else x + 1.0, (8, 3), (0, 3), "axis 0"),
    "the smaller": (lambda x: x * 1.0 + min(x.shape[0], 4), (20, 3), (2, 3), "axis 0"),
    "rounded up": (lambda x: x * (-(-x.shape[0] // 64)), (8, 3), (65, 3), "axis 0"),
    "blocks": (in_blocks, (8, 3), (20, 3), "8 along axis 0"),
    "blocks of a list": (
        lambda x: x + len([0, 1, 2][: x.shape[0]]),
        (8, 3),
        (2, 3),
        "8 along axis 0",
    ),
    "by its elements": (lambda x: x * (1.0 if x.size < 64 else 2.0), (8, 3), (30, 3), "axis 0"),
    "by its len": (lambda x: x * (1.0 if len(x) < 64 else 2.0), (8, 3), (70, 3), "axis 0"),
    "row by row": (
        lambda x: sum(x[i] for i, _ in enumerate(x) if i < 4) + x,
        (8, 3),
        (3, 3),
        "axis 0",
    ),
    "by its array": (lambda x: x * max(1, x.data.shape[0] // 64), (8, 3), (130, 3), "axis 0"),
    "by NumPy": (
        lambda x: x + np.float32(np.zeros(x.shape[0])[64:].size),
        (8, 3),
        (70, 3),
        "axis 0",
    ),
    "by a table": (lambda x: x * {8: 1.0}.get(x.shape[0], 1.0), (8, 3), (9, 3), "axis 0"),
    "by its text": (lambda x: x * (1.0 + len(f"{x.shape[0]}")), (2, 3), (10, 3), "axis 0"),
    "of a square": (
        lambda x: x * 2.0 if x.shape[0] * x.shape[1] < 99 else -x,
        (8, 8),
        (20, 8),
        "axis 0",
    ),
    "of a sum": (lambda x: x * 2.0 if sum(x.shape[:2]) > 8 else -x, (8, 8), (1, 2), "axis 0"),
    "behind a stride": (behind_a_stride, (1, 1, 64, 4), (1, 1, 128, 4), "64 along axis 2"),
    "behind an end": (
        lambda x: x * max(1, x[:, :5].shape[1] - 3),
        (2, 8, 3),
        (2, 4, 3),
        "8 along axis 1",
    ),
    "another rank": (lambda x: x * 2.0, (2, 3), (2, 3, 4), r"allowed is \(batch, x\[1\]\)"),
    "a table's end": (lambda x: x + TABLE, (2, 20, 3), (2, 1, 3), "20 along axis 1"),
    "a length written down": (lambda x: ag.reshape(x, (2, -1)), (4, 5, 3), (5, 5, 3), "axis 0"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_at_other_lengths(name):
    function, shape, other, words = REFUSED[name]
    program, x = Program(trace(function, values(*shape))), values(*other)
    for run in (program, lambda x: run_tensors(program.graph, [Tensor(x)])):
        with pytest.raises(ValueError, match=rf"x has shape .*{words}"):
            run(x)


def cut(start, end, step):
    return lambda x: x[:, start:end:step]


def by_rows(x):
    """As a matrix and back, by the lengths it has."""
    n, t, features = x.shape
    return ag.reshape(ag.relu(ag.reshape(x, (n * t, features))), (n, t, features))


def by_columns(x):
    return ag.reshape(ag.reshape(x, (x.shape[0], -1)) * 2.0, (-1, x.shape[1], x.shape[2]))


def summed(x):
    total = x[:, 0]
    for t in range(1, x.shape[1]):
        total = total + x[:, t]
    return x + ag.unsqueeze(total, (1,))


def steps(axis, k):
    """Ways to use lengths on (N, T, F); `axis` and `k` make variants of them."""
    return [
        by_rows, by_columns, summed, cut(k, None, 1), cut(-k - 1, None, 1), cut(None, -k - 1, 1),
        cut(None, None, -1), cut(-1, -k - 3, -1), cut(0, k + 2, 2),
        lambda x: x[:, : x.shape[1] - k],
        lambda x: x[:, x.shape[1] - 1 : x.shape[1]],
        lambda x: x[:, None, x.shape[1] - 1 - k],
        lambda x: x / x.shape[axis],
        lambda x: x + np.arange(x.shape[axis], dtype=np.float32).reshape((-1, *[1] * (2 - axis))),
        lambda x: x * 2.0 if x.shape[axis] > 3 * k else x + 1.0,
        lambda x: ag.concat([x, x[:, :1]], 1),
        lambda x: ag.pad(x, ((0, 0), (k, 1), (0, 0))),
        lambda x: ag.broadcast_to(ag.mean(x, axis, keepdims=True), x.shape),
        lambda x: ag.softmax(x, axis),
        lambda x: ag.transpose(x, (1, 0, 2)),
        lambda x: ag.matmul(x, ag.transpose(x)),
    ]  # fmt: skip


def refusal(program, x):
    """What is said of an input that is refused."""
    try:
        program(x)
    except ValueError as error:
        return str(error)
    return None


@pytest.mark.parametrize("seed", range(60))
def test_chains_of_steps_are_right_or_refused(seed):
    rng = np.random.default_rng(seed)
    chosen = []
    for _ in range(rng.integers(1, 4)):
        ways = steps(int(rng.integers(3)), int(rng.integers(3)))
        chosen.append(ways[rng.integers(len(ways))])

    def function(x):
        for step in chosen:
            x = step(x)
        return x * 1.5

    shape = tuple(int(n) for n in rng.integers(3, 8, 3))
    program = Program(trace(function, values(*shape)))
    for _ in range(6):
        other = tuple(int(rng.integers(1, 10)) if rng.random() < 0.6 else n for n in shape)
        x = values(*other)
        if message := refusal(program, x):
            assert re.match("x has shape|node ", message)
            assert other != shape
            continue
        got, want = program(x), function(Tensor(x)).data
        assert got.shape == want.shape
        assert (got == want).all()


@pytest.mark.parametrize("build", [nn.LSTM, nn.GRU])
def test_recurrence_has_a_free_batch_and_a_fixed_length(build):
    cell = build(3, 4, rng=np.random.default_rng(0))

    def states(x):
        return cell(x)[0]

    program = Program(trace(states, values(2, 3, 3)))
    assert program.graph.declared["x"] == Input(shape=("batch", 3, 3))
    assert (program(values(5, 3, 3)) == states(Tensor(values(5, 3, 3))).data).all()
    with pytest.raises(ValueError, match=r"\(5, 5, 3\).*recorded with 3 along axis 1"):
        program(values(5, 5, 3))


def test_every_flow_checks_lengths(tmp_path):
    class Last(nn.Module):
        def __init__(self):
            self.cell = nn.GRU(3, 4, rng=np.random.default_rng(0))

        def forward(self, x):
            return self.cell(x)[0][:, -1]

    model, x = Last(), values(6, 3, 3)
    model(x)
    trained = flows.prepare_qat(model, x)
    trained(Tensor(x))
    networks = [flows.weight_only(model), flows.dynamic(model), flows.static(model, [x]),
                flows.convert(trained)]  # fmt: skip
    for network in [*networks, trained]:
        network(x[:2])
        with pytest.raises(ValueError, match="3 along axis 1"):
            network(values(6, 5, 3))
    path = tmp_path / "net.safetensors"
    networks[2].save(path)
    with pytest.raises(ValueError, match="3 along axis 1"):
        flows.Network.load(path)(values(6, 5, 3))


def test_static_codes_follow_lengths_too():
    class Steps(nn.Module):
        def __init__(self):
            self.out = nn.Linear(3, 4, rng=np.random.default_rng(0))

        def forward(self, x):
            y = self.out(x)  # (N, T, 4)
            return ag.reshape(y[:, x.shape[1] - 2 : x.shape[1]], (x.shape[0], 8))

    model = Steps()
    network = flows.static(model, [values(4, 6, 3)])
    x = values(5, 9, 3)
    assert any(isinstance(n, Size) for n in network.graph.nodes[2].attributes["starts"])
    assert network(x).shape == (5, 8)
    assert np.abs(network(x) - model(Tensor(x)).data).max() < 0.1


def test_axes_that_go_together():
    program = Program(trace(lambda a, b: a + b, np.ones((4, 4)), np.ones((4, 4))))
    assert [i.shape for i in program.graph.declared.values()] == [("batch", "x0[1]")] * 2
    assert program(np.ones((2, 7)), np.ones((2, 7))).shape == (2, 7)
    with pytest.raises(ValueError, match=r"x1 has shape \(3, 7\); allowed for axis 0 of x1"):
        program(np.ones((2, 7)), np.ones((3, 7)))


def test_pictures_have_a_free_size_where_the_network_has():
    model, x = Residual(np.random.default_rng(0)), pictures(np.random.default_rng(0))
    g = trace(settled(model, x), x)
    wider = pictures(np.random.default_rng(1), 2)[..., [0, 1, 2, 3, 4, 5, 6, 7, 0]]
    assert (Program(g)(wider) == floats(model, wider)).all()  # the last column meets no window
    with pytest.raises(ValueError, match=r"node \w+ \((Concat|Gemm)\)"):
        Program(g)(values(2, 1, 16, 8))
    convolution = nn.Conv2d(1, 2, 3, rng=np.random.default_rng(0))
    program = Program(trace(convolution, x))
    assert program.graph.declared["x"].shape == ("batch", 1, "x[2]", "x[3]")
    assert (program(values(2, 1, 5, 9)) == floats(convolution, values(2, 1, 5, 9))).all()


def attention():
    return nn.MultiheadAttention(8, 2, rng=np.random.default_rng(0))


def mask(n):
    return np.tri(n, dtype=bool)


@pytest.mark.parametrize(
    ("call", "names"),
    [
        (lambda a, x, m: a(x, mask=m), ["x", "mask"]),
        (lambda a, x, m: a(x, None, m), ["x0", "x1"]),
        (lambda a, x, m: a(x, memory=None, mask=m), ["x", "mask"]),
        (lambda a, x, m: a(x, mask=Tensor(m)), ["x", "mask"]),
    ],
)
def test_a_call_is_remembered_as_it_was(call, names):
    model = attention()
    call(model, values(2, 5, 8), mask(5))
    program = Program(trace(model))
    assert list(program.graph.inputs) == names
    assert [i.numbers for i in program.graph.declared.values()] == [Numbers.REAL, Numbers.BOOL]
    x = values(3, 7, 8)
    assert (program(x, mask(7)) == call(model, x, mask(7)).data).all()
    for wrong, words in (
        (np.ones((7, 7)), "mask|x1 has dtype float64"),
        (mask(6), r"has shape \(6, 6\); allowed for"),
    ):
        with pytest.raises((TypeError, ValueError), match=words):
            program(x, wrong)


def test_batches_take_the_places_of_the_last_call():
    model, x, m = attention(), values(6, 5, 8), mask(5)
    model(x, mask=m)
    network = flows.static(model, [(x, m)])
    assert network.graph.inputs == ("x", "mask")
    assert np.abs(network(x, m) - model(x, mask=m).data).max() < 0.1
    assert flows.dynamic(model, x, m).graph.inputs == ("x", "mask")
    cell = nn.LSTM(3, 4, rng=np.random.default_rng(0))
    state = values(6, 4), -values(6, 4)
    cell(values(6, 2, 3), state)
    networks = [flows.dynamic(cell), flows.dynamic(cell, values(6, 2, 3), *state)]
    outputs = [network(values(6, 2, 3), *state)[0] for network in networks]
    assert (outputs[0] == outputs[1]).all()
    assert np.abs(outputs[0] - cell(values(6, 2, 3), state)[0].data).max() < 0.1


def test_lengths_that_are_equal_by_chance_are_told_apart():
    model, x = attention(), values(5, 5, 8)
    program = Program(trace(model, x, mask=mask(5)))
    shapes = [i.shape for i in program.graph.declared.values()]
    assert shapes == [("batch", "x[1]", 8), ("x[1]", "x[1]")]
    longer = values(2, 7, 8)
    assert (program(longer, mask(7)) == model(longer, mask=mask(7)).data).all()
    memory = Program(trace(model, x, x))
    assert (memory(longer, values(2, 3, 8)) == model(longer, values(2, 3, 8)).data).all()


def test_examples_as_the_model_is_called():
    model, x = attention(), values(2, 5, 8)
    for g in (trace(model, x, None, mask(5)), trace(model, x, mask=mask(5))):
        assert (Program(g)(x, mask(5)) == model(x, mask=mask(5)).data).all()
    same = trace(model, Tensor(x), Tensor(x))
    assert same.inputs == ("x0", "x1")
    memory = values(2, 9, 8)
    assert (Program(same)(x, memory) == model(x, memory).data).all()


def test_a_state_is_remembered():
    cell = nn.LSTM(3, 4, rng=np.random.default_rng(0))
    x, state = values(2, 3, 3), (values(2, 4), -values(2, 4))
    want = cell(x, state)[0].data
    g = trace(cell)
    assert g.inputs == ("x0", "x1", "x2")
    assert (Program(g)(x, *state)[0] == want).all()
    assert (Program(g)(x, *state[::-1])[0] != want).any()


def test_options_that_are_no_tensors_are_remembered():
    class Scaled(nn.Module):
        def forward(self, x, *, factor=1.0, more=()):
            y = x * factor
            for m in more:
                y = y + m
            return y

    model, x = Scaled(), values(2, 3)
    want = model(x, factor=3.0, more=[x, Tensor(x)]).data
    g = trace(model)
    assert g.inputs == ("x", "more0", "more1")
    assert (Program(g)(x, x, x) == want).all()


def test_recording_leaves_what_was_remembered():
    model = nn.Sequential(nn.Linear(3, 4, rng=np.random.default_rng(0)), nn.ReLU())
    model(values(5, 3))
    seen = [m.seen for _, m in model.named_modules()]
    trace(model)
    assert [m.seen for _, m in model.named_modules()] == seen
    assert seen[1].args[0].shape == (5, 3)


def test_indices_on_their_way_to_a_gather_stay_integers():
    table = parameter(values(7, 3))
    ids = np.array([[1, 2, 6], [0, 5, 3]])
    for function in (
        lambda i: table[ag.reshape(i, (-1,))],
        lambda i: table[i[:, :2]],
        lambda i: table[ag.transpose(i) + 0],
        lambda i: ag.where(ag.greater(i, 2), 1.0, 0.0) * table[i][..., 0],
    ):
        program = Program(trace(function, ids))
        assert program.graph.declared["x"].numbers is Numbers.INTEGER
        assert (program(ids[:, ::-1]) == function(Tensor(ids[:, ::-1])).data).all()
        with pytest.raises(TypeError, match="x has dtype float64; allowed are integers"):
            program(ids * 1.0)


def test_bools_where_the_operator_takes_them():
    def picked(x, where):
        return ag.where(ag.reshape(where, (-1, 1)), x, 0.0)

    x, chosen = values(3, 2), np.array([True, False, True])
    model = nn.Linear(2, 2, rng=np.random.default_rng(0))

    class Picked(nn.Module):
        def __init__(self):
            self.out = model

        def forward(self, x, where):
            return picked(self.out(x), where)

    network = flows.static(Picked(), [(x, chosen)])
    assert (network(x, chosen)[1] == 0).all()
    assert network.graph.declared["x1"].numbers is Numbers.BOOL
    with pytest.raises(TypeError, match="has dtype float64; allowed are bools,"):
        network(x, np.ones(3))


def test_a_graph_and_a_program_are_pickled_and_stored(tmp_path):
    g = trace(by_tensor_length, values(4, 3))
    save_graph(g, tmp_path / "g.safetensors")
    for again in (
        pickle.loads(pickle.dumps(Program(g))),
        Program(load_graph(tmp_path / "g.safetensors")),
    ):
        assert again.graph.declared == g.declared
        assert [dict(n.attributes) for n in again.graph] == [dict(n.attributes) for n in g]
        assert (again(values(9, 3)) == Program(g)(values(9, 3))).all()
    network = flows.dynamic(nn.Linear(3, 2, rng=np.random.default_rng(0)), values(4, 3))
    assert (pickle.loads(pickle.dumps(network))(values(9, 3)) == network(values(9, 3))).all()


def test_a_network_is_called_like_its_model():
    cell = nn.LSTM(3, 4, rng=np.random.default_rng(0))
    x, h, c = values(6, 2, 3), values(6, 4), -values(6, 4)
    network = flows.dynamic(cell, x, (h, c))
    want = network(x, h, c)[0]
    for call in (
        network(x, (h, c)), network(Tensor(x), (Tensor(h), c)), network.program(x, (h, c)),
        network(x, h, x2=c),
    ):  # fmt: skip
        assert (call[0] == want).all()
    assert list(network.edges(x, (h, c))) == list(network.edges(x, h, c))
    with pytest.raises(ValueError, match="has 2 arrays; allowed are x0, x1, x2"):
        network(x, (h,))
    trained = flows.prepare_qat(cell, x, (h, c)).eval()
    assert (trained(x, (h, c))[0].data == trained(x, h, c)[0].data).all()
    model, x = attention(), values(2, 5, 8)
    masked = flows.dynamic(model, x, None, nn.causal_mask(5))
    want = masked(x, mask(5))
    assert (masked(x, None, nn.causal_mask(5)) == want).all()
    assert (masked(values(2, 7, 8), None, nn.causal_mask(7))).shape == (2, 7, 8)
    model(x, mask=nn.causal_mask(5))
    by_name = flows.dynamic(model)
    for named in ({"x": x, "mask": mask(5)}, {"x": x, "memory": None, "mask": nn.causal_mask(5)}):
        call = by_name(**named)
        assert (call == want).all()
    with pytest.raises(TypeError, match="mesk is no input of the graph; allowed are x, mask"):
        by_name(x, mesk=mask(5))
    assert Program(trace(lambda x: x * 2.0, [1.0, 2.0]))((3.0, 4.0)).tolist() == [6, 8]


def test_a_blockwise_network_refuses_other_batches():
    class Blocks(nn.Module):
        def __init__(self):
            self.out = nn.Linear(1200, 2, rng=np.random.default_rng(0))

        def forward(self, x):
            return ag.concat([self.out(x[i : i + 16]) for i in range(0, x.shape[0], 16)], axis=0)

    for network in (
        flows.dynamic(Blocks(), values(4, 1200)),
        flows.static(Blocks(), [values(4, 1200)]),
    ):
        assert network(values(4, 1200)).shape == (4, 2)
        with pytest.raises(ValueError, match=r"\(20, 1200\).*recorded with 4 along axis 0"):
            network(values(20, 1200))


def test_an_input_that_is_not_used_has_free_lengths_too():
    declared = trace(lambda a, b: a * 2.0, values(8, 3), values(8, 4)).declared
    assert [i.shape for i in declared.values()] == [("batch", "x0[1]"), ("x1[0]", "x1[1]")]
