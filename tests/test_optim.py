"""Adam against torch, groups, schedules, clipping; and the loop over epochs."""

import math

import numpy as np
import pytest

from numq import data, nn
from numq.autograd import parameter
from numq.optim import SGD, Adam, CosineDecay, Group, LinearDecay, StepDecay, clip_grad_norm


def rng():
    return np.random.default_rng(0)


@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize("name", ["AdamW", "SGD"])
def test_optimizers_are_torchs(name, decay):
    torch = pytest.importorskip("torch")
    start = rng().normal(size=(3, 4))
    ours, theirs = parameter(start), torch.tensor(start, requires_grad=True)
    if name == "SGD":
        mine = SGD([ours], 0.1, 0.9, decay)
        other = torch.optim.SGD([theirs], 0.1, 0.9, weight_decay=decay)
    else:
        mine = Adam([ours], 0.1, (0.8, 0.9), weight_decay=decay)
        other = torch.optim.AdamW([theirs], 0.1, (0.8, 0.9), weight_decay=decay)
    for step in range(20):
        g = rng().normal(size=(3, 4)) * step
        ours.grad, theirs.grad = g, torch.tensor(g)
        mine.step()
        other.step()
        # Some ten roundings a step, of numbers up to 10.
        assert np.abs(ours.data - theirs.detach().numpy()).max() < 20 * 10 * 10 * 2.0**-53


def test_groups():
    a, b, c = (parameter(1.0) for _ in range(3))
    optimizer = SGD(
        [a, Group([b], lr_scale=0.5), Group([c], weight_decay=0.0)], 0.1, weight_decay=1
    )
    for p in (a, b, c):
        p.grad = np.array(1.0)
    optimizer.step()
    assert [float(p) for p in (a, b, c)] == [0.8, 0.9, 0.9]


def test_schedules():
    assert [CosineDecay(1.0, 6, 2)(s) for s in (0, 1, 2, 4, 6, 9)] == pytest.approx(
        [0.5, 1, 1, 0.5, 0, 0]
    )
    assert [LinearDecay(2.0, 4)(s) for s in (0, 1, 4, 5)] == [2, 1.5, 0, 0]
    assert [StepDecay(1.0, 2, 0.5)(s) for s in range(5)] == [1, 1, 0.5, 0.5, 0.25]


def test_clipping():
    a, b, none = parameter([3.0, 0.0]), parameter([1.0]), parameter([1.0])
    a.grad, b.grad = np.array([3.0, 0.0]), np.array([4.0])
    assert clip_grad_norm([a, b, none], 10) == 5
    assert (a.grad.tolist(), b.grad.tolist()) == ([3, 0], [4])
    assert clip_grad_norm([a, b, none], 1) == 5
    assert math.hypot(*a.grad, *b.grad) == pytest.approx(1)
    b.grad = np.array([np.inf])
    with pytest.raises(ValueError, match=r"parameters\[1\] has NaN or infinite"):
        clip_grad_norm([a, b], 1)


def test_batches_hold_every_example_once():
    x, y = np.arange(23), np.arange(23) * 2
    parts = list(data.batches((x, y), 5, rng()))
    assert sorted(len(a) for a, _ in parts) == [5, 6, 6, 6]
    assert sorted(np.concatenate([a for a, _ in parts])) == list(range(23))
    assert all((b == 2 * a).all() for a, b in parts)
    assert [len(a) for a, _ in data.batches((x[:3], y[:3]), 5, rng())] == [3]


def test_an_epoch():
    x = rng().normal(size=(60, 4)).astype(np.float32)
    y = (x[:, 0] > 0).astype(int)
    model = nn.Linear(4, 2, rng=rng())
    optimizer = Adam(model.parameters(), 0.05)
    epochs = list(data.train_epochs(model, (x, y), optimizer, 20, rng(), size=10,
                                    schedule=LinearDecay(0.05, 120)))  # fmt: skip
    assert [e.number for e in epochs] == list(range(20))
    assert epochs[-1].loss < epochs[0].loss / 2
    assert epochs[-1].accuracy > 0.95
    assert optimizer.lr == LinearDecay(0.05, 120)(119)
    assert data.accuracy(model, (x, y)) > 0.95


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (lambda: SGD([], -1.0), "lr is -1.0"),
        (lambda: SGD([], 1.0, weight_decay=-1), "weight_decay is -1"),
        (lambda: Adam([], betas=(1.0, 0.9)), "betas is"),
        (lambda: clip_grad_norm([], 0), "max_norm is 0"),
        (lambda: next(data.batches((np.ones(2), np.ones(2)), 0, rng())), "size is 0"),
    ],
)
def test_errors(action, message):
    with pytest.raises(ValueError, match=message):
        action()
