"""One walk finds modules, parameters and buffers, however they are kept; states from elsewhere."""

import collections
import copy
import pickle

import ml_dtypes
import numpy as np
import pytest

from numq import nn
from numq.autograd import Tensor, parameter
from numq.autograd import sum as total
from numq.graph import trace


def rng():
    return np.random.default_rng(0)


class Holder(nn.Module):
    """A network that keeps everything in one attribute."""

    def __init__(self, held):
        self.held = held

    def forward(self, x):
        return x


def leaf(value=1.0):
    return parameter(np.float32([value]))


Pair = collections.namedtuple("Pair", ["left", "right"])
KEPT = {
    "list": lambda m: [m],
    "nested lists": lambda m: [[], [[m]]],
    "dict of lists": lambda m: {"a": [m]},
    "list of dicts": lambda m: [{"a": 1}, {"b": m}],
    "tuple of tuples": lambda m: ((m,), 5),
    "named tuple": lambda m: Pair(None, m),
    "ordered dict": lambda m: collections.OrderedDict(a=(m,)),
    "default dict": lambda m: collections.defaultdict(list, a=[m]),
    "module in a list in a module": lambda m: [Holder([m])],
}
NAMES = {
    "list": "held.0", "nested lists": "held.1.0.0", "dict of lists": "held.a.0",
    "list of dicts": "held.1.b", "tuple of tuples": "held.0.0", "named tuple": "held.1",
    "ordered dict": "held.a.0", "default dict": "held.a.0",
    "module in a list in a module": "held.0.held.0",
}  # fmt: skip


@pytest.mark.parametrize("kind", KEPT)
def test_modules_are_found(kind):
    norm = nn.BatchNorm(1)
    model = Holder(KEPT[kind](norm))
    name = NAMES[kind]
    assert dict(model.named_modules())[name] is norm
    assert [n for n, _ in model.named_parameters()] == [f"{name}.weight", f"{name}.bias"]
    assert [n for n, _ in model.named_buffers()] == [f"{name}.running_mean", f"{name}.running_var"]
    assert list(model.state_dict()) == [
        f"{name}.{k}" for k in ("weight", "bias", "running_mean", "running_var")
    ]
    assert {m.training for _, m in model.eval().named_modules()} == {False}
    assert norm.train().training
    model.load_state_dict({k: v + 3 for k, v in model.state_dict().items()})
    assert (norm.weight.data.tolist(), norm.running_var.data.tolist()) == ([4], [4])


@pytest.mark.parametrize("kind", KEPT)
def test_parameters_are_found(kind):
    p = leaf()
    model = Holder(KEPT[kind](p))
    assert [(n, t is p) for n, t in model.named_parameters()] == [(NAMES[kind], True)]


def test_dropout_in_a_nested_list_is_not_recorded():
    class Deep(nn.Module):
        def __init__(self):
            self.blocks = [[nn.Linear(4, 4, rng=rng()), nn.Dropout(0.5, rng=rng())]]

        def forward(self, x):
            for block in self.blocks[0]:
                x = block(x)
            return x

    model, x = Deep(), np.ones((8, 4), np.float32)
    graph = trace(model, x)
    assert [node.op for node in graph.nodes] == ["Gemm"]
    assert model.blocks[0][1].training  # as it was before
    assert (model.eval()(x).data == model(x).data).all()


HIDDEN = {
    "set": lambda m: {m},
    "frozenset": lambda m: [frozenset([m])],
    "deque": lambda m: collections.deque([m]),
    "values of a dict": lambda m: {"a": m}.values(),
    "object array": lambda m: np.fromiter([m, None], object),
}


@pytest.mark.parametrize("kind", HIDDEN)
@pytest.mark.parametrize("make", [leaf, nn.ReLU])
def test_what_has_no_place_to_name_is_refused(kind, make):
    model = Holder(HIDDEN[kind](make()))
    for action in (
        model.parameters, model.state_dict, model.eval, model.train, lambda: repr(model),
        lambda: list(model.named_modules()), lambda: model.load_state_dict({}),
    ):  # fmt: skip
        with pytest.raises(TypeError, match=r"held\S* is an? \w+.* with modules or tensors in it"):
            action()


def test_other_contents_are_left_alone():
    model = Holder([{1, 2}, "text", range(3), np.ones(2), np.array([None]), None, b"x"])
    assert (model.parameters(), model.state_dict()) == ([], {})


def test_cycles_end():
    model, inner = Holder(None), Holder(None)
    inner.held = [model, leaf()]
    inner.held.append(inner.held)
    model.held = {"child": inner}
    assert [n for n, _ in model.named_modules()] == ["", "held.child"]
    assert [n for n, _ in model.named_parameters()] == ["held.child.held.1"]
    assert "..." in repr(model)


def test_what_is_used_twice_comes_once():
    shared, p = nn.BatchNorm(1), leaf()
    model = Holder([shared, {"again": shared}, p, [p]])
    assert [n for n, _ in model.named_modules()] == ["", "held.0"]
    assert [n for n, _ in model.named_parameters()] == ["held.2", "held.0.weight", "held.0.bias"]


def test_two_tensors_of_one_name_are_refused():
    for held in ({1: leaf(), "1": leaf()}, {"a.b": leaf(), "a": {"b": leaf()}}):
        with pytest.raises(ValueError, match=r"two tensors have the name held\.(1|a\.b)"):
            Holder(held).parameters()


def test_results_of_operations_are_no_parameters():
    p = leaf()
    model = Holder([p, p * p, (p * p).detach()])
    assert [n for n, _ in model.named_parameters()] == ["held.0"]
    assert [n for n, _ in model.named_buffers()] == ["held.2"]


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_models_are_copied_whole(copied):
    model = nn.Sequential(nn.Linear(2, 2, rng=rng()), nn.BatchNorm(2), nn.Dropout(0.5, rng=rng()))
    total(model(np.ones((3, 2), np.float32))).backward()
    other = copied(model)
    x = np.float32([[1, 2], [3, 5]])
    assert (other.eval()(x).data == model.eval()(x).data).all()
    model[0].weight.data = np.zeros((2, 2), np.float32)
    assert other[0].weight.data.any()
    with pytest.raises(ValueError, match="read-only"):
        other[0].weight.data[0] = 1


def state(**changed):
    return {**nn.BatchNorm(2).state_dict(), **changed}


def test_a_state_of_torch_is_loaded():
    """`num_batches_tracked` is passed over, float64 and others are rounded to the parameter."""
    norm = nn.BatchNorm(2)
    value = np.float64([1 + 2**-30, 0.1])
    norm.load_state_dict(state(weight=value, num_batches_tracked=np.array(7)))
    assert (norm.weight.dtype, norm.weight.data.tolist()) == (
        np.float32, value.astype(np.float32).tolist()
    )  # fmt: skip
    for other in (np.float16([3, 4]), np.array([3, 4], ml_dtypes.bfloat16), np.array([3, 4], ">f8"),
                  [3.0, 4.0], Tensor([3.0, 4.0]), np.float32([[9, 3], [9, 4]])[:, 1]):  # fmt: skip
        norm.load_state_dict(state(weight=other))
        assert (norm.weight.dtype, norm.weight.data.tolist()) == (np.float32, [3, 4])
    torch_like = {f"0.{k}": v for k, v in state().items()} | {"0.num_batches_tracked": np.array(1)}
    nn.Sequential(nn.BatchNorm(2)).load_state_dict(torch_like)


def test_a_state_of_torch_itself_is_loaded():
    torch = pytest.importorskip("torch")
    theirs = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3)).double()
    ours = nn.Sequential(nn.Linear(2, 3, rng=rng()), nn.BatchNorm(3))
    ours.load_state_dict(theirs.state_dict())
    assert (ours[0].weight.data == theirs[0].weight.detach().numpy().astype(np.float32)).all()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"weight": np.array([1, 2])}, r"weight is int64 \(2,\), allowed is float32 \(2,\)"),
        ({"weight": np.float64([1e300, 1])}, "weight overflows float32"),
        ({"weight": np.ones((2, 1), np.float32)}, r"weight is float32 \(2, 1\)"),
        ({"weight": "abc"}, r"weight is no array of real numbers \(it has dtype <U3"),
        ({"weight": None}, r"weight is no array of real numbers"),
        ({"weight": np.ma.masked_array(np.float32([1, 2]), [1, 0])}, r"weight is no array.*masked"),
        ({"weights": 1, "num_batches_tracked.x": 1}, r"num_batches_tracked.x is .*weights is"),
        ({"weight": np.ones(3), "bias": np.ones(3), "z": 1},
         r"bias is float64.*; weight is float64.*; z is unknown"),
    ],
)  # fmt: skip
def test_all_that_does_not_fit_is_listed_and_nothing_loaded(changed, message):
    norm = nn.BatchNorm(2)
    with pytest.raises(ValueError, match=f"nothing was loaded: .*{message}"):
        norm.load_state_dict(state(running_mean=np.float32([5, 5]), **changed))
    assert norm.running_mean.data.tolist() == [0, 0]
    with pytest.raises(TypeError, match="state is"):
        norm.load_state_dict([("weight", 1)])
    with pytest.raises(ValueError, match="bias is missing; running_mean is missing; running_var"):
        norm.load_state_dict({})


def test_infinities_of_a_state_stay():
    norm = nn.BatchNorm(2)
    norm.load_state_dict(state(weight=np.float64([np.inf, np.nan])))
    assert norm.weight.data[0] == np.inf
    assert np.isnan(norm.weight.data[1])


def test_attention_takes_its_mask_by_name():
    attention = nn.MultiheadAttention(4, 2, rng=rng())
    x = rng().normal(size=(2, 3, 4)).astype(np.float32)
    mask = nn.causal_mask(3)
    expected = attention(x, None, mask).data
    assert (attention(x, mask=mask).data == expected).all()
    assert (attention(x, mask=mask.data).data == expected).all()  # an array
    assert (attention(x, x, mask=mask).data == expected).all()
    assert (attention(x, memory=x, mask=mask).data == expected).all()
    assert not (attention(x).data == expected).all()
    # Without looking at the last position, it may hold anything.
    other = x.copy()
    other[:, 2] = 100
    hidden = np.array([True, True, False])
    first = [attention(a, mask=hidden).data[:, :2] for a in (x, other)]
    assert (first[0] == first[1]).all()


@pytest.mark.parametrize(
    ("mask", "error", "message"),
    [
        (np.zeros((3, 3), np.float32), TypeError, "mask has dtype float32; allowed is bool"),
        (np.ones((2, 2), bool), ValueError, r"mask has shape \(2, 2\); allowed is what"),
        (np.ones((5, 1, 1, 3, 3), bool), ValueError, r"mask has shape \(5, 1, 1, 3, 3\)"),
        (np.eye(3, k=1, dtype=bool), ValueError, "mask has a row of False alone"),
    ],
)
def test_masks_that_do_not_fit(mask, error, message):
    attention = nn.MultiheadAttention(4, 2, rng=rng())
    with pytest.raises(error, match=message):
        attention(np.ones((2, 3, 4), np.float32), mask=mask)


STATES = [
    (None, None),
    (np.zeros((2, 3)), TypeError),  # an array is no pair, though it has two rows
    ((np.zeros((2, 3)),), TypeError),
    ((np.zeros((2, 3)), np.zeros(3)), ValueError),
    ((np.zeros((1, 3)), np.zeros((1, 3))), ValueError),  # would broadcast
    ((np.zeros((2, 3)), np.zeros((2, 3), int)), ValueError),
    ((np.zeros((2, 3)), np.zeros((2, 3))), None),
]


@pytest.mark.parametrize(("given", "error"), STATES)
def test_states_of_an_lstm(given, error):
    lstm, x = nn.LSTM(2, 3, rng=rng()), np.ones((2, 4, 2), np.float32)
    if error is None:
        assert np.allclose(lstm(x, given)[0].data, lstm(x)[0].data, atol=1e-6)
        return
    with pytest.raises(error, match=r"state(\[\d\])? (is|has shape)"):
        lstm(x, given)


@pytest.mark.parametrize("shape", [(3,), (1, 3), (2, 4), (2, 2, 3)])
def test_states_of_a_gru(shape):
    gru, x = nn.GRU(2, 3, rng=rng()), np.ones((2, 4, 2), np.float32)
    with pytest.raises(ValueError, match=r"state has shape .*allowed are floats of \(2, 3\)"):
        gru(x, np.zeros(shape))


def test_dropout_of_integers_is_refused():
    """1/(1 − p) is no integer: 3·4/3 would stay 3."""
    for drop in (nn.Dropout(0.25, rng=rng()), nn.Dropout(0.25, rng=rng()).eval()):
        with pytest.raises(TypeError, match="x has dtype int64; allowed are float16"):
            drop(np.full(8, 3))
