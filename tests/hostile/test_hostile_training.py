"""The hostile table of autograd, layers, optimizers, data, mixed precision and QAT."""

import numpy as np
import pytest
from hostile_engine import case
from hostile_known import assert_table
from hostile_values import INTEGERS, Verdict

import numq as nq
from numq import autograd as ag
from numq import data, mixed, nn, optim, qat
from numq.autograd import Tensor, parameter
from numq.data import train_epochs

X = np.array([[0.5, -1.0, 0.25], [2.0, 0.125, -0.75]], np.float32)
POSITIVE = np.abs(X)
W = np.array([[1.0, 0.5, -0.25], [0.75, -1.5, 2.0]], np.float32)
B = np.array([0.5, -0.25], np.float32)
ONES = np.ones(3, np.float32)
PICTURE = np.arange(18, dtype=np.float32).reshape(1, 2, 3, 3) / 8
KERNEL = np.arange(8, dtype=np.float32).reshape(1, 2, 2, 2) / 8
CHANNELS = np.array([1.0, 0.5], np.float32)
LABELS = np.array([0, 2])
SEQUENCE = np.arange(12, dtype=np.float32).reshape(2, 2, 3) / 8
P = nq.QParams(0.25, 3, nq.INT8)


def rng():
    return np.random.default_rng(0)


def ranked(*names):
    return {"ranked": names}


def legal(argument, *values, answer=lambda _: True):
    """Values that are none too hostile for this argument, and what the answer must then be."""
    return {"right": {(argument, value): answer for value in values}}


def equals(expected):
    return lambda answer: np.array_equal(answer.data, expected, equal_nan=True)


def called(module):
    """A layer as a function of one named input."""

    def forward(x):
        return module.eval()(x)

    return forward


def consumed(batch):
    def call(data, size, rng):
        return list(batch(data, size, rng))

    return call


def trained(model, data, epochs, rng, size, schedule):
    own = model.parameters() if isinstance(model, nn.Module) else PARAMETERS
    optimizer = optim.SGD(own, lr=0.5)
    epoch = train_epochs(model, data, optimizer, epochs, rng, size=size, schedule=schedule)
    return len(list(epoch))


def entered(manager):
    def call(dropout):
        with manager(dropout=dropout):
            return True

    return call


def half(model):
    with mixed.half_parameters(model):
        return [p.dtype.name for p in model.parameters()]


ONE = [
    ag.absolute, ag.erf, ag.exp, ag.gelu, ag.leaky_relu, ag.neg, ag.relu, ag.sigmoid, ag.tanh,
]  # fmt: skip
TWO = [ag.add, ag.div, ag.maximum, ag.minimum, ag.mul, ag.sub]

AUTOGRAD = [
    case(Tensor, data=X, requires_grad=True),
    case(ag.as_tensor, value=X, settings={"only": ("value",)}), case(ag.parameter, data=X),
    *(case(function, a=X) for function in ONE),
    *(case(function, a=X, b=W) for function in TWO),
    case(ag.log, a=POSITIVE), case(ag.sqrt, a=POSITIVE), case(
        ag.power, a=POSITIVE, exponent=2.0, settings={"right": {
            ("exponent", "nan"): lambda y: np.isnan(y.data[0, 0]),
            ("exponent", "inf"): lambda y: y.data.tolist() == [[0, 1, 0], [np.inf, 0, 0]],
            ("exponent", "-inf"): lambda y: (y.data[0, 0], y.data[1, 0]) == (np.inf, 0),
        }}),
    case(ag.greater, a=X, b=W, settings={"right": {(n, "nan"): lambda _: True for n in "ab"}}),
    case(ag.less, a=X, b=W, settings={"right": {(n, "nan"): lambda _: True for n in "ab"}}),
    case(ag.where, condition=X > 0, a=X, b=W, settings={"right": {
        ("a", "nan"): lambda _: True, ("b", "nan"): lambda _: True}}),
    case(ag.clip, a=X, lo=-0.5, hi=1.0, settings={"right": {
        ("lo", "-inf"): equals(np.minimum(X, 1)), ("hi", "inf"): equals(np.maximum(X, -0.5))}}),
    *(case(f, a=X, axis=1, settings=legal("axis", "in a list", answer=lambda y: y.shape == (2,)))
      for f in (ag.sum, ag.mean, ag.max, ag.min)),
    *(case(f, a=X, axis=1) for f in (ag.softmax, ag.log_softmax)),
    case(ag.argmax, a=X, axis=1, settings=legal("a", "nan", answer=equals([0, 0]))),
    case(ag.reshape, a=X, shape=(3, 2),
         settings=legal("shape", "one more", answer=equals(X.reshape(3, 2, 1)))),
    case(ag.broadcast_to, a=X, shape=(2, 2, 3)),
    case(ag.transpose, a=X, axes=(1, 0)), case(ag.flatten, a=PICTURE, axis=1),
    case(ag.squeeze, a=PICTURE, axes=(0,)), case(ag.unsqueeze, a=X, axes=(1,)),
    case(ag.pad, a=X, pads=((1, 0), (0, 2)), value=0.5, settings={"right": {
        ("value", "nan"): lambda y: np.isnan(y.data[0]).all(),
        ("value", "inf"): lambda y: (y.data[0] == np.inf).all(),
        ("value", "-inf"): lambda y: (y.data[0] == -np.inf).all()}}),
    case(ag.concat, tensors=[X, W], axis=1,
         settings=legal("tensors", "in a list", answer=equals([X, W]))),
    case(ag.stack, tensors=[X, W], axis=1,
         settings=legal("tensors", "in a list", answer=equals(np.stack([[X, W]], 1)))),
    case(ag.gather, a=X, indices=LABELS, axis=1),
    case(ag.index, a=X, key=(0, 1), settings={
        "also": (IndexError,), "alias": {"key": r"key|index|indices"}, "right": {
            ("a", "nan"): equals(-1), ("key", "None"): equals(X[None]),
            ("key", "in a list"): equals(X[[(0, 1)]]),
            ("key", "list"): equals(X[[0, 1]])}}),
    case(ag.matmul, a=X, b=W.T), case(ag.linear, x=X, w=W, b=B, settings=ranked("w", "b")),
    case(ag.conv2d, x=PICTURE, w=KERNEL, b=CHANNELS[:1], settings=ranked("x", "w", "b")),
    case(ag.max_pool2d, x=PICTURE, size=(2, 2), stride=(1, 1), settings=ranked("x")),
    case(ag.avg_pool2d, x=PICTURE, size=(2, 2), stride=(1, 1), settings=ranked("x")),
    case(ag.global_avg_pool2d, x=PICTURE, settings=ranked("x")),
    case(ag.batch_norm, x=PICTURE, gamma=CHANNELS, beta=CHANNELS, mean=CHANNELS, var=CHANNELS,
         settings=ranked("gamma", "beta", "mean", "var")),
    case(ag.batch_norm_train, x=PICTURE, gamma=CHANNELS, beta=CHANNELS,
         settings=ranked("gamma", "beta")),
    case(ag.layer_norm, x=X, gamma=ONES, beta=ONES, settings=ranked("gamma", "beta")),
    case(ag.cross_entropy, logits=X, labels=LABELS, settings=ranked("logits", "labels")),
    case(ag.mse_loss, a=X, b=W, settings={"ranked": ("b",), "sized": ("b",)}),
    case(lambda function, x, tolerance=2.0**-24: ag.gradcheck(function, x, tolerance=tolerance),
         "gradcheck", function=lambda x: x * x, x=parameter(X.astype(np.float64)),
         settings={"only": ("function", "tolerance")}),
]  # fmt: skip

IDS = {"alias": {"x": r"x|ids|indices"}}
LAYERS = [
    case(nn.Linear, in_features=3, out_features=2, rng=rng()),
    case(nn.Conv2d, in_channels=2, out_channels=4, kernel=3, rng=rng()),
    case(nn.BatchNorm, features=3), case(nn.LayerNorm, features=3),
    case(nn.Dropout, p=0.5, rng=rng()), case(nn.Embedding, count=3, dim=2, rng=rng()),
    case(nn.LSTM, inputs=3, hidden=2, rng=rng()), case(nn.GRU, inputs=3, hidden=2, rng=rng()),
    case(nn.MultiheadAttention, embed=4, heads=2, rng=rng()),
    case(nn.MaxPool2d, size=2), case(nn.AvgPool2d, size=2), case(nn.LeakyReLU, alpha=0.5),
    case(nn.GELU), case(nn.causal_mask, length=3),
    case(lambda layers: nn.Sequential(*layers), "Sequential", layers=[nn.ReLU()],
         settings={"only": ()}),
    *(case(called(kind()), f"{kind.__name__}()", x=X)
      for kind in (nn.ReLU, nn.LeakyReLU, nn.GELU, nn.SiLU, nn.Sigmoid, nn.Tanh, nn.Softmax)),
    case(called(nn.GlobalAvgPool2d()), "GlobalAvgPool2d()", x=PICTURE, settings=ranked("x")),
    case(called(nn.Dropout(0.5, rng=rng())), "Dropout()", x=X),
    case(called(nn.LayerNorm(3)), "LayerNorm()", x=X),
    case(called(nn.Linear(3, 2, rng=rng())), "Linear()", x=X),
    case(called(nn.Conv2d(2, 1, 2, rng=rng())), "Conv2d()", x=PICTURE, settings=ranked("x")),
    case(called(nn.BatchNorm(2)), "BatchNorm()", x=PICTURE),
    case(called(nn.LSTM(3, 2, rng=rng())), "LSTM()", x=SEQUENCE, settings=ranked("x")),
    case(called(nn.GRU(3, 2, rng=rng())), "GRU()", x=SEQUENCE, settings=ranked("x")),
    case(called(nn.MultiheadAttention(3, 1, rng=rng())), "MultiheadAttention()", x=SEQUENCE,
         settings=ranked("x")),
    case(called(nn.Embedding(3, 2, rng=rng())), "Embedding()", x=LABELS, settings=IDS),
    case(called(nn.MaxPool2d(2)), "MaxPool2d()", x=PICTURE, settings=ranked("x")),
    case(called(nn.Flatten()), "Flatten()", x=PICTURE),
    case(nn.Linear(3, 2, rng=rng()).load_state_dict, state={
        "weight": W, "bias": B}),
    case(nn.Linear(3, 2, rng=rng()).train, mode=True),
]  # fmt: skip

PARAMETERS = [parameter(X), parameter(B)]
TRAINING = [
    case(optim.SGD, parameters=PARAMETERS, lr=0.5, momentum=0.5, weight_decay=0.5),
    case(optim.Adam, parameters=PARAMETERS, lr=0.5, weight_decay=0.5),
    case(optim.Group, parameters=PARAMETERS, lr_scale=0.5, weight_decay=0.5),
    case(optim.CosineDecay, lr=0.5, steps=10, warmup=2), case(optim.LinearDecay, lr=0.5, steps=10),
    case(optim.StepDecay, lr=0.5, every=3, factor=0.5),
    case(optim.clip_grad_norm, parameters=PARAMETERS, max_norm=1.0,
         settings=legal("max_norm", "inf", answer=lambda norm: norm == 0)),
    case(optim.CosineDecay(0.5, 10).__call__, "CosineDecay()", step=3),
    case(entered(ag.tracing), "tracing", dropout=True),
    case(consumed(data.batches), "batches", data=(X, LABELS), size=1, rng=rng()),
    case(trained, "train_epochs", model=nn.Linear(3, 3, rng=rng()), data=(X, LABELS), epochs=1,
         rng=rng(), size=1, schedule=lambda step: 0.5, settings={
             "right": {("schedule", "None"): lambda epochs: epochs == 1},
             "alias": {"model": r"\bmodel\b|x has shape"}}),
    case(data.accuracy, forward=lambda x: x, data=(X, LABELS)),
    case(mixed.cast, x=Tensor(X), dtype=np.float16),
    case(half, "half_parameters", model=nn.Linear(2, 2, rng=rng()),
         settings=legal("model", "model", answer=lambda names: set(names) == {"float16"})),
    case(mixed.LossScaler, scale=1024.0), case(
        mixed.vanished, gradients=X, scale=2.0,
        settings=legal("gradients", "nan", answer=lambda share: share == 0)),
    case(mixed.mixed_precision, a=X, b=W.T), case(mixed.multi_precision, a=X, b=W.T),
]  # fmt: skip

QAT = [
    case(qat.fake_quantize_ste, x=X, qparams=P),
    case(qat.fake_quantize_stochastic, x=X, qparams=P, rng=rng()),
    case(qat.lsq, x=X, scale=np.float32(0.25), format=nq.INT4, grad_factor=0.5),
    case(qat.lsq_initial_scale, x=X, format=nq.INT4),
    case(qat.lsq_plus, x=X, scale=np.float32(0.25), offset=np.float32(0.5), format=nq.INT4),
    case(qat.pact, x=0.75 * X, alpha=np.float32(1.0), bits=4),
    case(qat.quantize_k, x=POSITIVE / 4, bits=4), case(qat.dorefa_activations, x=X, bits=4),
    case(qat.dorefa_weights, w=X, bits=4), case(qat.binary_weights, w=X),
    case(qat.binary_activations, x=X), case(qat.ternary_weights, w=X),
]  # fmt: skip

CASES = [*AUTOGRAD, *LAYERS, *TRAINING, *QAT]


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_training(case):
    assert_table(case)


@pytest.mark.parametrize(
    "bad", [b for b in INTEGERS if b.verdict is Verdict.REFUSED], ids=lambda b: b.name
)
def test_digits_are_not_loaded_for_a_wrong_seed(bad):
    with pytest.raises((TypeError, ValueError), match=r"seed is .*; allowed are integers from 0"):
        data.load_digits(bad.make(0))
