"""Training that would train nothing, or something else, is refused; what is measured is right."""

import collections
import copy
import pickle

import numpy as np
import pytest

from numq import data, nn
from numq.autograd import Tensor, cross_entropy, mul, parameter
from numq.autograd import sum as total
from numq.mixed import LossScaler, cast, half_parameters, mixed_precision, multi_precision, vanished
from numq.optim import SGD, Adam, CosineDecay, Group, LinearDecay, StepDecay, clip_grad_norm


def rng():
    return np.random.default_rng(0)


def model():
    return nn.Linear(2, 2, rng=rng())


P, Q = parameter(np.float32([1, 2])), parameter(np.float32([3]))
EMPTY = "parameters is empty; allowed is one"
NO_PARAMETERS = [
    (lambda: [model()], TypeError, r"parameters\[0\] is a Linear; allowed are parameters"),
    (model, TypeError, "parameters is a Linear; allowed are lists of parameters, such as model"),
    (lambda: P, TypeError, "parameters is a Tensor"),
    (lambda: "weight", TypeError, "parameters is 'weight'"),
    (lambda: None, TypeError, "parameters is None"),
    (lambda: model().state_dict(), TypeError, "parameters is a dict"),
    (lambda: model().named_parameters(), TypeError, r"parameters\[0\] is a tuple"),
    (lambda: list(model().state_dict()), TypeError, r"parameters\[0\] is 'weight'"),
    (lambda: list(model().state_dict().values()), TypeError, r"parameters\[0\] is an array of"),
    (lambda: [[P]], TypeError, r"parameters\[0\] is a list"),
    (lambda: [P, None], TypeError, r"parameters\[1\] is None"),
    (list, ValueError, EMPTY),
    (lambda: iter([]), ValueError, EMPTY),
    (lambda: [P, Q, P], ValueError, r"parameters\[2\] is parameters\[0\] again"),
    (lambda: [P, Tensor([1.0])], ValueError, "never change; allowed are tensors"),
    (lambda: [P * 2.0], ValueError, "is the result of Mul; allowed are leaves, as only"),
]


@pytest.mark.parametrize(
    "use",
    [lambda p: SGD(p, 0.1), lambda p: Adam(p, 0.1), lambda p: clip_grad_norm(p, 1.0)],
    ids=["SGD", "Adam", "clip_grad_norm"],
)
@pytest.mark.parametrize(("make", "error", "message"), NO_PARAMETERS)
def test_what_are_no_parameters(use, make, error, message):
    with pytest.raises(error, match=message):
        use(make())


@pytest.mark.parametrize(("make", "error", "message"), NO_PARAMETERS)
def test_groups_of_what_are_no_parameters(make, error, message):
    if EMPTY in message:
        assert SGD([P, Group(make())], 0.1).parameters == [P]
        with pytest.raises(ValueError, match=EMPTY):
            SGD([Group(make())], 0.1)
        return
    with pytest.raises(error, match=message):
        SGD([Group(make())], 0.1)


def test_a_group_is_not_used_up():
    m = model()
    group = Group(p for p in m.parameters())
    assert SGD([group], 0.1).parameters == SGD([group], 0.1).parameters == m.parameters()
    with pytest.raises(ValueError, match=r"parameters\[2\] is parameters\[0\] again"):
        SGD([group, m.weight], 0.1)
    with pytest.raises(TypeError, match=r"parameters\[0\] is a Group"):
        Group([group])


def test_clipping_takes_a_generator():
    a, b = parameter([3.0]), parameter([4.0])
    a.grad, b.grad = np.array([3.0]), np.array([4.0])
    assert clip_grad_norm((p for p in (a, b)), 1.0) == 5
    assert (a.grad.tolist(), b.grad.tolist()) == ([pytest.approx(0.6)], [pytest.approx(0.8)])


@pytest.mark.parametrize("size", [1e-200, 1e200])
def test_norms_neither_overflow_nor_vanish(size):
    p = parameter(np.ones(2))
    p.grad = np.array([3.0, 4.0]) * size
    assert clip_grad_norm([p], np.inf) == pytest.approx(5 * size, rel=1e-15)
    assert p.grad.tolist() == [3 * size, 4 * size]
    if size > 1:
        clip_grad_norm([p], 5.0)
        assert p.grad.tolist() == pytest.approx([3, 4])


def test_clipping_of_float16_keeps_small_factors():
    p = parameter(np.float16([1, 1]))
    p.grad = np.float16([60000, 0])
    assert clip_grad_norm([p], 2.0**-10) == 60000
    assert (p.grad.dtype, p.grad.tolist()) == (np.float16, [2.0**-10, 0])


RANGES = [
    *((lambda v=v: SGD([P], v), "lr", v) for v in (0, -1.0, np.inf, np.nan, "0.1", True, [0.1])),
    *((lambda v=v: SGD([P], 0.1, v), "momentum", v) for v in (-0.1, 1, 1.5, np.nan, "0.9", None)),
    *((lambda v=v: SGD([P], 0.1, 0, v), "weight_decay", v) for v in (-1, np.inf, np.nan, "1")),
    *((lambda v=v: Adam([P], betas=v), "betas", v)
      for v in ((0.9, 1.0), (1, 0.9), (-0.1, 0.9), (0.9,), (np.nan, 0.9), 0.9, ("a", "b"))),
    *((lambda v=v: Adam([P], epsilon=v), "epsilon", v) for v in (0, -1e-8, np.inf, np.nan, "1e-8")),
    *((lambda v=v: Group([P], v), "lr_scale", v) for v in (0, -1, np.inf, np.nan, "1")),
    *((lambda v=v: Group([P], 1, v), "weight_decay", v) for v in (-1, np.inf, np.nan, "1")),
    *((lambda v=v: CosineDecay(v, 5), "lr", v) for v in (0, -1, np.inf, np.nan, "1")),
    *((lambda v=v: CosineDecay(1, v), "steps", v) for v in (0, -1, 1.5, "1", True)),
    *((lambda v=v: CosineDecay(1, 5, v), "warmup", v) for v in (-1, 6, 1.5)),
    *((lambda v=v: LinearDecay(v, 5), "lr", v) for v in (0, np.inf, "1")),
    *((lambda v=v: LinearDecay(1, v), "steps", v) for v in (0, -1, 1.5)),
    *((lambda v=v: StepDecay(v, 5), "lr", v) for v in (0, np.inf, "1")),
    *((lambda v=v: StepDecay(1, v), "every", v) for v in (0, -1, 1.5)),
    *((lambda v=v: StepDecay(1, 5, v), "factor", v) for v in (0, -1, np.inf, np.nan)),
    *((lambda v=v, s=s: s(v), "step", v) for v in (-1, 0.5, "1")
      for s in (CosineDecay(1, 5), LinearDecay(1, 5), StepDecay(1, 5))),
    *((lambda v=v: clip_grad_norm([P], v), "max_norm", v) for v in (0, -1, np.nan, "1", None)),
    *((lambda v=v: LossScaler(v), "scale", v) for v in (0, 3, -2, np.inf, np.nan, "2")),
    *((lambda v=v: LossScaler(4, minimum=v), "minimum", v) for v in (0, 3, 8, "2")),
    *((lambda v=v: LossScaler(growth_interval=v), "growth_interval", v) for v in (0, 1.5, "2")),
    *((lambda v=v: vanished([1.0], v), "scale", v) for v in (0, -1, np.inf, "2")),
]  # fmt: skip


@pytest.mark.parametrize(("make", "name", "value"), RANGES)
def test_every_hyperparameter_has_its_range(make, name, value):
    with pytest.raises((TypeError, ValueError), match=rf"^{name} is .*; allowed"):
        make()


def test_the_ends_of_the_ranges():
    SGD([P], 1e-30, 0, 0)
    Adam([P], betas=(0, 0), epsilon=1e-30)
    assert CosineDecay(1, 1, 1)(0) == 1
    optimizer = SGD([P], np.float32(0.5))
    optimizer.lr = 0  # where a schedule ends
    for lr in (np.inf, np.nan, -1, "1"):
        with pytest.raises((TypeError, ValueError), match="lr is"):
            optimizer.lr = lr


@pytest.mark.parametrize(
    ("grad", "error", "message"),
    [
        (None, ValueError, "have no gradient; allowed is a step"),
        (np.ones(1), ValueError, r"has shape \(1,\); allowed is its own, \(2,\)"),  # broadcasts
        (np.ones((3, 2)), ValueError, r"parameters\[0\] has shape \(3, 2\)"),
        (np.ones(2, int), TypeError, r"parameters\[0\] is an array of shape \(2,\), int64"),
        ([1.0, 1.0], TypeError, r"parameters\[0\] is \[1.0, 1.0\]"),
        (Tensor([1.0, 1.0]), TypeError, r"parameters\[0\] is a Tensor"),
    ],
)
@pytest.mark.parametrize("kind", [SGD, Adam])
def test_gradients_that_do_not_fit(kind, grad, error, message):
    p = parameter(np.float32([1, 2]))
    p.grad = grad
    with pytest.raises(error, match=message):
        kind([p], 0.1).step()
    assert p.data.tolist() == [1, 2]


@pytest.mark.parametrize(
    "make", [lambda p: SGD(p, 0.1, 0.9), lambda p: Adam(p, 0.1)], ids=["SGD", "Adam"]
)
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda t: pickle.loads(pickle.dumps(t))])
def test_a_copy_of_an_optimizer_goes_on_where_it_was(copied, make):
    """Momentum belongs to the parameter's place, not to an object that the copy does not have."""
    p, q = parameter([1.0, 2.0]), parameter([3.0])
    optimizer = make([p, Group([q], 0.5)])
    for g in (1.0, -3.0):
        p.grad, q.grad = np.array([g, 2 * g]), np.array([g])
        optimizer.step()
    (a, b), other = copied(([p, q], optimizer))
    for leaf in (p, q, a, b):
        leaf.grad = np.ones(leaf.shape)
    optimizer.step()
    other.step()
    assert (a.data.tolist(), b.data.tolist()) == (p.data.tolist(), q.data.tolist())


def test_adam_counts_the_steps_of_each_parameter():
    """One that had no gradient at first starts like the others did; as in torch."""
    early, late = parameter(1.0), parameter(1.0)
    optimizer = Adam([early, late], 0.1)
    for _ in range(5):
        early.grad = np.array(1.0)
        optimizer.step()
    early.grad, late.grad = None, np.array(1.0)
    optimizer.step()
    assert float(late) == pytest.approx(0.9, abs=1e-8)  # the first step is lr, whatever g
    assert float(early) == pytest.approx(0.5, abs=1e-6)


def test_adam_of_float16_parameters():
    """ε and squares of small gradients are 0 in float16."""
    p = parameter(np.float16([1, 1]))
    optimizer = Adam([p], 2.0**-3)
    p.grad = np.float16([1e-4, 0])
    optimizer.step()
    assert (p.dtype, p.data.tolist()) == (np.float16, [0.875, 1])


def labelled(n=12):
    return np.ones((n, 2), np.float32), np.zeros(n, int)


BAD_DATA = [
    ((np.ones((3, 2)), np.ones(2, int)), ValueError, r"examples of shape \(3, 2\) and labels"),
    ((np.ones((2, 2)), np.ones(3, int)), ValueError, "data has examples of"),
    ((np.ones((0, 2)), np.ones(0, int)), ValueError, "N at least 1"),
    ((np.ones((2, 2)), 1), ValueError, r"labels of \(\)"),
    (np.ones((2, 2)), TypeError, r"data is an array of shape \(2, 2\)"),  # of two rows, no pair
    ((np.ones(2),), TypeError, "data is"),
    (None, TypeError, "data is None"),
    ((np.ones((2, 2)), ["a", "b"]), TypeError, r"data\[1\] has dtype <U1"),
    ((np.ma.masked_array([1, 2], [1, 0]), [0, 1]), TypeError, r"data\[0\] is a masked array"),
]


@pytest.mark.parametrize(
    "use",
    [
        lambda d: data.batches(d, 2, rng()),  # at once, not at the first part
        lambda d: data.train_epochs(m := model(), d, SGD(m.parameters(), 0.1), 1, rng()),
        lambda d: data.accuracy(model(), d),
    ],
    ids=["batches", "train_epochs", "accuracy"],
)
@pytest.mark.parametrize(("given", "error", "message"), BAD_DATA)
def test_data_that_is_no_pair_of_one_length(use, given, error, message):
    with pytest.raises(error, match=message):
        use(given)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"model": lambda x: x}, TypeError, "model is"),
        ({"optimizer": "SGD"}, TypeError, "optimizer is 'SGD'"),
        ({"optimizer": SGD([P], 0.1)}, ValueError, "optimizer has no parameter of the model"),
        ({"epochs": 0}, ValueError, "epochs is 0"),
        ({"epochs": 1.5}, TypeError, "epochs is 1.5"),
        ({"rng": 0}, TypeError, "rng is 0"),
        ({"size": 0}, ValueError, "size is 0"),
        ({"size": "all"}, TypeError, "size is 'all'"),
        ({"schedule": 0.1}, TypeError, "schedule is 0.1"),
    ],
)
def test_arguments_of_training(change, error, message):
    m = model()
    given = {"model": m, "data": labelled(), "optimizer": SGD(m.parameters(), 0.1), "epochs": 1,
             "rng": rng(), **change}  # fmt: skip
    with pytest.raises(error, match=message):
        data.train_epochs(**given)  # at once, not in the first epoch


def test_a_single_logit_has_no_cross_entropy():
    m = nn.Linear(2, 1, rng=rng())
    with pytest.raises(
        ValueError, match=r"model has outputs of shape \(12, 1\); .* as cross-entropy needs"
    ):
        list(data.train_epochs(m, labelled(), SGD(m.parameters(), 0.1), 1, rng()))


def gives(values):
    return lambda x: np.asarray(values)


FOUR = np.ones((4, 3), np.float32)
RIGHT = [  # logits, labels, share
    ([[2.0, 1], [0, 1], [3, 4], [1, 0]], [0, 1, 0, 0], 0.75),
    ([[2.0, 1], [0, 1], [3, 4], [1, 0]], [[0], [1], [0], [0]], 0.75),  # (N, 1) labels
    ([[2.0, 1], [0, 1], [3, 4], [1, 0]], [0.0, 1.0, 0.0, 0.0], 0.75),
    ([[-2.0], [3], [0.5], [-1]], [0, 1, 1, 1], 0.75),  # one logit
    ([[-2.0], [3], [0.5], [-1]], [[0], [1], [1], [1]], 0.75),
    ([-2.0, 3, 0, -1], [False, True, False, True], 0.75),  # 0 is the first class
    (Tensor([[2.0, 1], [0, 1], [3, 4], [1, 0]]), [0, 1, 1, 0], 1.0),
]


@pytest.mark.parametrize(("logits", "labels", "share"), RIGHT)
def test_accuracy(logits, labels, share):
    forward = (lambda x: logits) if isinstance(logits, Tensor) else gives(logits)
    assert data.accuracy(forward, (FOUR, np.array(labels))) == share


@pytest.mark.parametrize(
    ("logits", "labels", "message"),
    [
        (np.ones((4, 2)), np.eye(4, dtype=int), r"labels have shape \(4, 4\)"),
        (np.ones((4, 2)), [0, 1, 2, 0], r"labels have values from 0 to 2; .*\[0, 2\)"),
        (np.ones((4, 2)), [1, 2, 1, 2], "labels have values from 1 to 2"),
        (np.ones((4, 2)), [0, 1, 0.5, 0], "whole numbers"),
        (-np.ones((4, 1)), [0, 1, 2, 0], r"\[0, 2\)"),
        (np.ones((3, 2)), [0, 1, 0, 1], r"forward's result has shape \(3, 2\); allowed is \(4, cl"),
        (np.ones((4, 2, 2)), [0, 1, 0, 1], r"shape \(4, 2, 2\)"),
        (np.ones((4, 0)), [0, 1, 0, 1], r"shape \(4, 0\)"),
        ([[np.nan, 1]] * 4, [0, 1, 0, 1], "forward's result has NaN in 4 places"),
        ([[0.1], [0.9], [0.4], [0.6]], [0, 1, 0, 1], r"all in \[0, 1\]; .*not a probability"),
    ],
)
def test_accuracy_of_what_it_cannot_mean(logits, labels, message):
    with pytest.raises(ValueError, match=message):
        data.accuracy(gives(logits), (FOUR, np.array(labels)))


def test_shapes_of_digits():
    split = (np.zeros((2, 64), np.float32), np.zeros(2, int))
    digits = data.Digits(split, split, split)
    assert digits.shaped(1, np.int64(8), 8).train[0].shape == (2, 1, 8, 8)
    for shape, message in (((8, 7), r"shape is \(8, 7\); .* 64"), ((), "64 pixels")):
        with pytest.raises(ValueError, match=message):
            digits.shaped(*shape)
    with pytest.raises(ValueError, match=r"shape\[0\] is -1"):
        digits.shaped(-1)
    with pytest.raises(ValueError, match="seed is -1"):
        data.load_digits(-1)


class Nested(nn.Module):
    """Parameters in everything that may hold them."""

    def __init__(self):
        pair = collections.namedtuple("Pair", ["w", "b"])
        self.lists = [[parameter(np.float32([[1, 2], [3, 4]]))], 5]
        self.tables = {"a": (parameter(np.float32([1, 1])),), "b": collections.OrderedDict(c=1)}
        self.named = pair(parameter(np.float32([2, 2])), None)
        self.blocks = [{"x": nn.Linear(2, 2, rng=rng())}]
        self.same = self.lists[0]
        self.mean = Tensor(np.float32([0, 0]))

    def forward(self, x):
        y = x @ self.lists[0][0] + self.tables["a"][0] * self.named.w
        return self.blocks[0]["x"](y + self.same[0][0]) + self.mean


def test_half_parameters_reach_into_containers():
    net, x = Nested(), np.float16([[1, 2]])
    before = {k: dict(vars(m)) for k, m in net.named_modules()}
    with half_parameters(net):
        held = [net.lists[0][0], net.tables["a"][0], net.named.w, net.blocks[0]["x"].weight]
        assert {t.dtype for t in held} == {np.dtype(np.float16)}
        assert net.same[0] is net.lists[0][0]
        assert (net.lists[1], list(net.tables), net.named._fields) == (5, ["a", "b"], ("w", "b"))
        assert net.mean.dtype == np.float32
        y = net(x)
    total(y).backward()
    assert {p.grad.dtype for p in net.parameters()} == {np.dtype(np.float32)}
    assert len(net.parameters()) == 5
    for name, module in net.named_modules():
        assert all(vars(module)[k] is v for k, v in before[name].items() if k != "seen")
    with pytest.raises(KeyError), half_parameters(net):
        raise KeyError
    assert net.lists[0][0].dtype == np.float32
    with pytest.raises(TypeError, match="model is"), half_parameters([net]):
        pass


def test_casts():
    x = parameter(np.float32([1e5, 1 + 2**-20]))
    assert cast(x, np.float16).data.tolist() == [np.inf, 1]
    assert cast([1.5], np.float64).dtype == np.float64
    for dtype in (np.int8, "half", None, np.complex64):
        with pytest.raises(TypeError, match=r"dtype is .*; allowed are float16"):
            cast(x, dtype)
    with pytest.raises(TypeError, match="x has dtype int64"):
        cast([1], np.float16)


def test_scaled_steps_start_without_gradients():
    p = parameter(np.float32([1]))
    optimizer, scaler = SGD([p], 0.5), LossScaler(4.0)
    p.grad = np.float32([1])
    with pytest.raises(ValueError, match=r"has a gradient already; .*call zero_grad"):
        scaler.step(total(p), optimizer)
    optimizer.zero_grad()
    assert scaler.step(total(p), optimizer)
    assert p.data.tolist() == [0.5]
    with pytest.raises(ValueError, match=r"loss has shape \(2,\); allowed is one number"):
        scaler.step(mul(p, np.float32([1, 2])), optimizer)
    with pytest.raises(TypeError, match="optimizer is None"):
        scaler.step(total(p), None)
    with pytest.raises(TypeError, match=r"loss is 1\.0"):
        scaler.step(1.0, optimizer)


def test_products_in_two_precisions():
    for product in (mixed_precision, multi_precision):
        assert product([[1, 2]], [[3], [4]]).tolist() == [[11]]
        assert product([[1e6]], [[1.0]]).tolist() == [[np.inf]]
        with pytest.raises(ValueError, match=r"a has shape \(1, 2\), b \(1, 2\)"):
            product(np.ones((1, 2)), np.ones((1, 2)))
        with pytest.raises(TypeError, match="b has dtype"):
            product([[1.0]], [["a"]])
    assert vanished(np.zeros(0)) == 0
    with pytest.raises(TypeError, match="gradients has dtype bool"):
        vanished([True])


def test_labels_of_cross_entropy_are_not_stretched():
    with pytest.raises(ValueError, match=r"labels \(3, 1\)"):
        cross_entropy(np.ones((3, 2)), np.zeros((3, 1), int))
