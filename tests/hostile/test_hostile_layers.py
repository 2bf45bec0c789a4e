"""Arguments of autograd, layers, training and QAT, each sound alone, that do not fit each other.

Every call is refused by numq itself, in words that name what does not fit.
"""

import re

import numpy as np
import pytest
from hostile_engine import _raised_by_numq

import numq as nq
from numq import autograd as ag
from numq import data, mixed, nn, optim, qat
from numq.autograd import Tensor, parameter


def rng():
    return np.random.default_rng(0)


def of(*shape, dtype=np.float32):
    return np.ones(shape, dtype)


def layer(kind, *sizes, **options):
    return kind(*sizes, rng=rng(), **options)


P, Q = parameter(of(2, 3)), parameter(of(3))
Y = P * 2.0
INT4, ROWS = nq.INT4, nq.PerChannel(0)
PARAMS = nq.QParams(np.float32([0.5, 0.25]), 0, nq.INT8, ROWS)

CALLS = [
    # Operands that do not broadcast, or do not multiply.
    *((lambda f=f: f(of(2, 3), of(2)), "a has shape .*b has shape") for f in (
        ag.add, ag.sub, ag.mul, ag.div, ag.maximum, ag.minimum, ag.greater, ag.less)),
    (lambda: ag.where(np.ones(4, bool), of(2, 3), of(3)), "condition has shape"),
    (lambda: ag.where(of(3), of(3), of(3)), "condition has dtype"),
    (lambda: ag.matmul(of(2, 3), of(2, 3)), "a has shape"),
    (lambda: ag.matmul(of(3), of(3, 2)), "a has shape"),
    (lambda: ag.matmul(of(2, 3), of(3)), "b "),
    (lambda: ag.matmul(of(2, 2, 3), of(3, 3, 2)), "a has shape"),
    (lambda: ag.linear(of(2, 3), of(2, 4)), "w "),
    (lambda: ag.linear(of(2, 3), of(3)), "w "),
    (lambda: ag.linear(of(2, 3), of(4, 3), of(3)), "b has shape"),
    (lambda: ag.linear(of(2, 3), of(4, 3), of(1, 4)), "b has shape"),
    (lambda: ag.linear(np.float32(1), of(4, 3)), "x has shape"),
    (lambda: ag.mse_loss(of(4, 1), of(4)), "a has shape"),
    (lambda: ag.mse_loss(of(4), of(1)), "b "),
    (lambda: ag.mse_loss(of(4), 0.0), "b "),
    (lambda: ag.mse_loss(of(0), of(0)), "no elements"),
    # Axes.
    *((lambda f=f, x=x: f(of(2, 3), x), "axis is") for f in (ag.sum, ag.mean, ag.max, ag.min)
      for x in (2, -3, (0, 0), (0, -2), (0, 2), [1, 1])),
    *((lambda x=x: ag.argmax(of(2, 3), x), "axis") for x in (2, -3, None, (0, 1), (0,), [0], 0.0)),
    *((lambda f=f, x=x: f(of(2, 3), x), "axis is") for f in (ag.softmax, ag.log_softmax)
      for x in (2, -3, None, (0, 1))),
    (lambda: ag.softmax(np.float32(1)), "axis is"),
    (lambda: ag.sum(np.float32(1), 0), "axis is"),
    (lambda: ag.max(of(0, 2), 0), "a has shape"),
    (lambda: ag.mean(of(0)), "a has shape"),
    (lambda: ag.argmax(of(2, 0)), "a has shape"),
    (lambda: ag.argmax(np.float32(1)), "axis"),
    (lambda: ag.concat([of(2, 3), of(2, 4)], 0), "tensors have shapes"),
    (lambda: ag.concat([of(2, 3), of(3)], 0), "tensors have shapes"),
    (lambda: ag.concat([of(2)], 1), "axis"),
    (lambda: ag.concat([np.float32(1), np.float32(2)], 0), "axis"),
    (lambda: ag.concat([], 0), "tensors is empty"),
    (lambda: ag.concat(of(2, 3), 0), "tensors is an array"),
    (lambda: ag.stack([of(2), of(3)]), "tensors have shapes"),
    (lambda: ag.stack([of(2)], 2), "axis is"),
    (lambda: ag.stack([]), "tensors is empty"),
    (lambda: ag.flatten(of(2, 3), 3), "axis is"),
    (lambda: ag.flatten(of(2, 3), -1), "axis is"),
    (lambda: ag.transpose(of(2, 3), (0, 0)), "axes is"),
    (lambda: ag.transpose(of(2, 3), (0,)), "axes is"),
    (lambda: ag.transpose(of(2, 3), (-1, -2)), "axes is"),
    (lambda: ag.transpose(of(2)), "axes"),
    (lambda: ag.squeeze(of(2, 1), (0,)), "axes is"),
    (lambda: ag.squeeze(of(2, 1), (2,)), "axes is"),
    (lambda: ag.squeeze(of(2, 1), (1, -1)), "axes is"),
    (lambda: ag.unsqueeze(of(2), (0, 0)), "axes is"),
    (lambda: ag.unsqueeze(of(2), (3,)), "axes is"),
    (lambda: ag.layer_norm(of(2, 3), of(3), of(3), axis=2), "axis is"),
    # Shapes.
    (lambda: ag.reshape(of(2, 3), (4,)), "shape is"),
    (lambda: ag.reshape(of(2, 3), (-1, -1)), "shape is"),
    (lambda: ag.reshape(of(2, 3), (4, -1)), "shape is"),
    (lambda: ag.reshape(of(2, 3), (-2, 3)), "shape"),
    (lambda: ag.reshape(of(0, 3), (-1, 0)), "shape is"),
    (lambda: ag.broadcast_to(of(2, 3), (3,)), "shape is"),
    (lambda: ag.broadcast_to(of(2, 3), (2, -1)), "shape"),
    (lambda: ag.pad(of(2, 3), [(1, 1)]), "pads is"),
    (lambda: ag.pad(of(2), [(1, 1), (0, 0)]), "pads is"),
    (lambda: ag.pad(of(2), [(1, -1)]), "pads is"),
    (lambda: ag.pad(of(2), [(1,)]), "pads is"),
    (lambda: ag.pad(of(2), [(1, 1)], 1e39), "value is"),
    (lambda: ag.pad(of(2, dtype=np.int8), [(1, 1)], 200), "value is"),
    (lambda: ag.pad(of(2, dtype=np.int8), [(1, 1)], 0.5), "value is"),
    (lambda: ag.clip(of(2), 1, 0), "lo is"),
    (lambda: ag.clip(of(2)), "lo is"),
    (lambda: ag.clip(of(2, dtype=np.uint8), -1), "lo is"),
    # Indices.
    (lambda: Tensor(of(2, 3))[2], "index 2|key"),
    (lambda: Tensor(of(2, 3))[0, 0, 0], "key has 3"),
    (lambda: Tensor(of(2, 3))[..., ...], "key has"),
    (lambda: Tensor(of(2, 3))[np.ones((2, 3), bool)], "key is a mask"),
    (lambda: Tensor(of(2, 3))[[0, 1], [0, 1, 2]], "key has arrays"),
    (lambda: Tensor(of(2, 3))[[2]], "indices has values"),
    (lambda: Tensor(of(2, 3))[1.0], "key has"),
    (lambda: Tensor(of(2, 3))[:1.5], "key"),
    (lambda: Tensor(of(2, 3))[::0], "key"),
    (lambda: ag.gather(of(2, 3), [3], 1), "indices has values"),
    (lambda: ag.gather(of(2, 3), [-4], 1), "indices has values"),
    (lambda: ag.gather(of(2, 3), [0], 2), "axis is"),
    (lambda: ag.gather(np.float32(1), [0]), "axis is"),
    (lambda: ag.cross_entropy(of(2, 3), [0, 3]), "labels have values"),
    (lambda: ag.cross_entropy(of(2, 3), [0]), "labels"),
    (lambda: ag.cross_entropy(of(2, 3), [[0], [1]]), "labels"),
    (lambda: ag.cross_entropy(of(2, 3), [0.0, 1.0]), "labels has dtype"),
    # Windows.
    (lambda: ag.conv2d(of(1, 3, 4, 4), of(2, 2, 3, 3)), "channels"),
    (lambda: ag.conv2d(of(1, 3, 4, 4), of(2, 1, 3, 3), groups=3), "groups"),
    (lambda: ag.conv2d(of(1, 4, 4, 4), of(4, 2, 3, 3), groups=0), "groups is"),
    (lambda: ag.conv2d(of(1, 4, 4, 4), of(4, 2, 3, 3), groups=2.0), "groups is"),
    (lambda: ag.conv2d(of(1, 2, 4, 4), of(2, 2, 5, 5)), "window"),
    (lambda: ag.conv2d(of(1, 2, 4, 4), of(2, 2, 3, 3), dilation=(2, 2)), "window"),
    (lambda: ag.conv2d(of(1, 2, 4, 4), of(2, 2, 3, 3), stride=(0, 1)), "stride is"),
    (lambda: ag.conv2d(of(1, 2, 4, 4), of(2, 2, 3, 3), stride=2), "stride is"),
    (lambda: ag.conv2d(of(1, 2, 4, 4), of(2, 2, 3, 3), padding=((0, -1), (0, 0))), "padding is"),
    (lambda: ag.conv2d(of(1, 2, 4, 4), of(2, 2, 3, 3), padding=1), "padding is"),
    (lambda: ag.conv2d(of(1, 2, 4, 4), of(2, 2, 3, 3), of(3)), "b has shape"),
    (lambda: ag.conv2d(of(2, 4, 4), of(2, 2, 3, 3)), "x has shape"),
    (lambda: ag.conv2d(of(1, 0, 4, 4), of(2, 0, 3, 3)), "channels"),
    *((lambda f=f: f(of(1, 1, 3, 3), (4, 4)), "window") for f in (ag.max_pool2d, ag.avg_pool2d)),
    *((lambda f=f: f(of(1, 1, 3, 3), (2, 2), padding=((2, 0), (0, 0))), "padding is")
      for f in (ag.max_pool2d, ag.avg_pool2d)),
    *((lambda f=f: f(of(1, 1, 3, 3), (2, 2), stride=(1, 0)), "stride is")
      for f in (ag.max_pool2d, ag.avg_pool2d)),
    (lambda: ag.avg_pool2d(of(1, 1, 3, 3), (2, 2), count_include_pad=1), "count_include_pad is"),
    (lambda: ag.global_avg_pool2d(of(1, 1, 0, 3)), "x has shape"),
    # Normalization.
    (lambda: ag.batch_norm(of(2, 3), of(2), of(3), of(3), of(3)), "gamma has shape"),
    (lambda: ag.batch_norm(of(3), of(3), of(3), of(3), of(3)), r"gamma has shape|x "),
    (lambda: ag.batch_norm(of(2, 3), of(3), of(3), of(3), -of(3)), "var is"),
    (lambda: ag.batch_norm(of(2, 3), of(3), of(3), of(3), 0 * of(3), epsilon=0), "var is"),
    (lambda: ag.batch_norm(of(2, 3), of(3), of(3), Q, of(3)), "mean is a tensor that requires"),
    (lambda: ag.batch_norm(of(2, 3), of(3), of(3), of(3), of(3), epsilon=-1), "epsilon is"),
    (lambda: ag.batch_norm_train(of(1, 3), of(3), of(3)), "x has shape"),
    (lambda: ag.layer_norm(of(2, 3), of(2), of(3)), "gamma has shape"),
    # The tape.
    (lambda: Tensor(of(2)).backward(), "gradient"),
    (lambda: P.backward(), "grad is None"),
    (lambda: P.backward(of(3, 2)), "grad has shape"),
    (lambda: P.backward(Tensor(of(2, 3))), "grad"),
    (lambda: parameter([1, 2]), "dtype int64"),
    (lambda: setattr(P, "data", of(3, 2)), "data has shape"),
    (lambda: setattr(P, "data", of(2, 3, dtype=np.float64)), "data has shape"),
    (lambda: setattr(Y, "data", of(2, 3)), "result of Mul"),
    (lambda: P.__setitem__(0, 1.0), "not changed in place"),
    # Layers.
    (lambda: layer(nn.Conv2d, 3, 4, 3, groups=2), "groups is"),
    (lambda: layer(nn.Conv2d, 4, 3, 3, groups=2), "groups is"),
    (lambda: layer(nn.Conv2d, 3, 4, (3, 3, 3)), "kernel is"),
    (lambda: layer(nn.Conv2d, 3, 4, 3, padding=-1), "padding is"),
    (lambda: layer(nn.Conv2d, 3, 4, 3, padding=((1, 1), (1,))), "padding"),
    (lambda: layer(nn.Conv2d, 3, 4, 3, padding=(1, 1, 1, 1)), "padding is"),
    (lambda: layer(nn.Conv2d, 3, 4, 3, stride=0), "stride is"),
    (lambda: layer(nn.MultiheadAttention, 5, 2), "heads is"),
    (lambda: layer(nn.Linear, 3, 2)(of(2, 4)), "x has shape"),
    (lambda: layer(nn.Conv2d, 3, 4, 3)(of(1, 2, 5, 5)), "2 channels"),
    (lambda: layer(nn.LSTM, 3, 2)(of(2, 3)), "x has shape"),
    (lambda: layer(nn.LSTM, 3, 2)(of(2, 0, 3)), "x has shape"),
    (lambda: layer(nn.LSTM, 3, 2)(of(2, 4, 3), (of(2, 2), of(3, 2))), r"state\[1\]"),
    (lambda: layer(nn.GRU, 3, 2)(of(2, 4, 3), (of(2, 2), of(2, 2))),
     r"^state is a tuple; allowed are None and a Tensor \(N, hidden\)"),
    (lambda: layer(nn.MultiheadAttention, 4, 2)(of(3, 4)), "x has shape"),
    (lambda: layer(nn.MultiheadAttention, 4, 2)(of(2, 3, 4), of(1, 3, 4)), "memory"),
    (lambda: layer(nn.MultiheadAttention, 4, 2)(of(2, 3, 4), of(2, 3, 6)), "memory"),
    (lambda: layer(nn.MultiheadAttention, 4, 2)(of(2, 3, 4), of(2, 0, 4)), "memory"),
    (lambda: layer(nn.Embedding, 3, 2)(np.array([3])), "indices has values"),
    (lambda: nn.BatchNorm(3)(of(1, 3)), "x has shape"),
    (lambda: nn.BatchNorm(3)(of(2, 4)), r"gamma has shape|x "),
    (lambda: nn.LayerNorm(3)(of(2, 4)), "gamma has shape"),
    (lambda: nn.Sequential(nn.ReLU)(of(2)), r"layers\[0\]"),
    (lambda: nn.Sequential(nn.ReLU())[1], "i is 1"),
    (lambda: nn.MaxPool2d((2, 2, 2)), "size is"),
    # Training.
    (lambda: optim.SGD([Q, Q], 0.1), "again"),
    (lambda: optim.SGD([optim.Group([Q]), Q], 0.1), "again"),
    (lambda: optim.CosineDecay(1.0, 5, 6), "warmup is"),
    (lambda: data.batches((of(3), of(2)), 1, rng()), "data has"),
    (lambda: data.accuracy(lambda x: x, (of(2, 3), [0, 3])), "labels have values"),
    (lambda: data.accuracy(lambda x: x[:1], (of(2, 3), [0, 1])), "forward's result has shape"),
    (lambda: mixed.LossScaler(2.0, minimum=4.0), "minimum is"),
    (lambda: mixed.mixed_precision(of(2, 3), of(2, 3)), "a has shape"),
    (lambda: mixed.multi_precision(of(3), of(3, 2)), "a has shape"),
    # Estimators.
    (lambda: qat.lsq(of(2, 3), of(3), INT4, ROWS), "scale has shape"),
    (lambda: qat.lsq(of(2, 3), of(2), INT4, ROWS, zero_point=of(3)), "zero_point has shape"),
    (lambda: qat.lsq(of(2, 3), of(2), INT4, nq.PerChannel(2)), "axis|PerChannel"),
    (lambda: qat.lsq_plus(of(2, 3), of(2), of(), INT4), "scale has shape"),
    (lambda: qat.pact(of(2, 3), of(2), 4), "alpha is"),
    (lambda: qat.fake_quantize_ste(of(3, 2), PARAMS), "scale|shape"),
    (lambda: qat.quantize_k(2 * of(2), 4), r"x\[0\] is 2"),
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(CALLS)))
def test_what_does_not_fit_is_named(number):
    call, message = CALLS[number]
    with pytest.raises((ValueError, TypeError, IndexError)) as caught:
        call()
    text = str(caught.value)
    assert re.search(message, text), text
    assert _raised_by_numq(caught.value), text
    assert len(text) <= 400
