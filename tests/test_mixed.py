"""Mixed precision: gradients in float32, underflow without scaling, overflow skipped."""

import numpy as np
import pytest

from numq.autograd import Tensor, cross_entropy, mul, parameter
from numq.autograd import sum as total
from numq.mixed import LossScaler, cast, half_parameters, vanished
from numq.nn import Linear, ReLU, Sequential
from numq.optim import SGD


def model():
    rng = np.random.default_rng(0)
    return Sequential(Linear(8, 16, rng=rng), ReLU(), Linear(16, 3, rng=rng))


def data():
    rng = np.random.default_rng(1)
    return rng.normal(size=(50, 8)).astype(np.float16), rng.integers(0, 3, 50)


def test_gradients_arrive_in_the_masters():
    net, (x, y) = model(), data()
    with half_parameters(net):
        logits = net(x)
        assert logits.dtype == np.float16
    cross_entropy(logits, y).backward()
    assert {p.grad.dtype for p in net.parameters()} == {np.dtype(np.float32)}
    assert {p.dtype for p in net.parameters()} == {np.dtype(np.float32)}
    # Rounded to float16 on the way: 11 bits.
    halves = [p.grad for p in net.parameters()]
    for p in net.parameters():
        p.grad = None
    cross_entropy(net(x.astype(np.float32)), y).backward()
    for p, half in zip(net.parameters(), halves, strict=True):
        assert 0 < np.abs(p.grad - half).max() < 0.02 * np.abs(p.grad).max()


@pytest.mark.parametrize("scaled", [False, True])
def test_small_gradients_survive_by_scaling_alone(scaled):
    x = parameter(np.ones(4, np.float32))
    loss = total(mul(cast(x, np.float16), Tensor(np.float16([1e-4, 2e-4, 1e-3, 1]))))
    seed = 2.0**10 if scaled else 1.0
    small = mul(cast(loss, np.float32), np.float32(1e-5))  # float16 begins at 6e-8
    small.backward(np.float32(seed))
    assert (x.grad == 0).tolist() == ([False] * 4 if scaled else [True, True, True, False])


def test_vanished_counts():
    assert vanished(np.float32([1e-8, 1.0])) == 0.5
    assert vanished(np.float32([0.0])) == 0


def test_training_in_float16():
    net, (x, y) = model(), data()
    optimizer, scaler = SGD(net.parameters(), lr=0.5), LossScaler(growth_interval=5)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        with half_parameters(net):
            loss = cross_entropy(net(x), y)
        scaler.step(loss, optimizer)
        losses.append(float(loss))
    assert losses[-1] < losses[0] / 2
    assert scaler.skipped > 0  # the scale grew until a gradient overflowed


def test_overflow_skips_the_step_and_halves_the_scale():
    p = parameter(np.float32(3))
    optimizer, scaler = SGD([p], lr=1), LossScaler(2.0**16, growth_interval=2)
    loss = mul(cast(p, np.float16), np.float16(2))
    assert not scaler.step(loss, optimizer)  # 2·2^16 is beyond float16
    assert (float(p), p.grad, scaler.scale, scaler.skipped) == (3, None, 2.0**15, 1)
    optimizer.zero_grad()
    assert not scaler.step(mul(cast(p, np.float16), np.float16(2)), optimizer)
    optimizer.zero_grad()
    assert scaler.step(mul(cast(p, np.float16), np.float16(2)), optimizer)
    assert (float(p), scaler.scale) == (1, 2.0**14)
    optimizer.zero_grad()
    assert scaler.step(mul(cast(p, np.float16), np.float16(1)), optimizer)
    assert scaler.scale == 2.0**15  # two good steps


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (lambda: LossScaler().step(Tensor(np.nan), None), "loss is nan"),
        (lambda: LossScaler(3.0), "scale is 3.0"),
        (lambda: LossScaler(growth_interval=0), "growth_interval is 0"),
    ],
)
def test_errors(action, message):
    with pytest.raises(ValueError, match=message):
        action()


def test_divergence_is_told():
    p = parameter(np.float32(1))
    loss = mul(mul(cast(p, np.float16), np.float16(60000)), np.float16(1))
    with pytest.raises(ValueError, match="smallest scale, 2"):
        LossScaler(2.0, minimum=2.0).step(loss, SGD([p], lr=1))
