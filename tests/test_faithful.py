"""What a model computes from values is no part of its recording: the flows refuse such a model."""

import numpy as np
import pytest

from numq import autograd as ag
from numq import flows, nn
from numq.autograd import Tensor

RNG = np.random.default_rng(0)
X = RNG.normal(size=(8, 4)).astype(np.float32)
BATCHES = [abs(X), abs(X[::-1]) * np.float32(0.5), X - np.float32(3)]


def branch(s, x):
    return s.fc(x) if x.data.mean() > 0 else s.fc(-x)


def scaled(s, x):
    return s.fc(x * (1 / float(abs(x.data).max())))


def chosen(s, x):
    return s.fc(x) * (2.0 if bool(ag.max(x).data > 0.5) else 1.0)


def random(s, x):
    return s.fc(x + Tensor(np.random.default_rng().normal(size=4).astype(np.float32)))


def state(s, x):
    s.count = getattr(s, "count", 0) + 1
    return s.fc(x * float(s.count))


def masked(s, x):
    return s.fc(x * Tensor((x.data > 0).astype(np.float32)))


def good(s, x):
    return s.fc(ag.where(x > 0, x, x * 0.1)) / (1 + ag.mean(ag.absolute(x), axis=1, keepdims=True))


def model(forward):
    made = type("Made", (nn.Module,), {"forward": forward})()
    made.fc = nn.Linear(4, 3, rng=np.random.default_rng(1))
    return made


FLOWS = {
    "static": lambda m: flows.static(m, BATCHES),
    "static, one batch": lambda m: flows.static(m, BATCHES[:1]),
    "dynamic": lambda m: flows.dynamic(m, BATCHES[0]),
    "weight_only": lambda m: flows.weight_only(m, BATCHES[0]),
    "prepare_qat": lambda m: flows.prepare_qat(m, BATCHES[0]),
}


@pytest.mark.parametrize("flow", FLOWS)
@pytest.mark.parametrize("forward", [branch, scaled, chosen, random, state, masked])
def test_values_that_become_constants_are_refused(flow, forward):
    with pytest.raises(ValueError, match=r"^(calibration\[0\]|examples).*than in its recording"):
        FLOWS[flow](model(forward))


def test_the_last_batch_is_held_against_the_model():
    late = model(lambda s, x: s.fc(x) if x.data.min() > -1.9 else s.fc(-x))
    with pytest.raises(ValueError, match=r"^calibration\[2\]: \w+ has other values"):
        flows.static(late, BATCHES)


@pytest.mark.parametrize("flow", FLOWS)
def test_a_model_of_operators_alone_passes_and_stays_as_it_was(flow):
    m = model(good)
    m.train()
    m(X[:2])
    seen = m.seen
    FLOWS[flow](m)
    assert m.training
    assert m.fc.training
    if flow == "static":
        assert m.seen.args[0].shape == (8, 4)
    assert seen is not None


def test_a_remembered_call_of_zeros_is_checked_with_other_values():
    m = model(branch)
    m(X)
    with pytest.raises(ValueError, match=r"^examples, changed: \w+ has other values"):
        flows.weight_only(m)
