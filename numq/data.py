"""Real data that comes with scikit-learn, mini-batches, and the loop that trains on them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from numq.arrays import FloatArray, IntArray
from numq.autograd import Tensor, cross_entropy
from numq.extras import Extra, extra
from numq.nn import Module
from numq.optim import Optimizer

Split = tuple[FloatArray, IntArray]


@dataclass(frozen=True)
class Digits:
    """Three disjoint parts of scikit-learn's 1797 handwritten digits.

    Attributes:
        train: 1000 of (N, 64) pixels in [0, 1], with (N,) labels.
        calibration: 200.
        test: 597.
    """

    train: Split
    calibration: Split
    test: Split

    def shaped(self, *shape: int) -> Digits:
        """The same pixels, each example of this shape: (1, 8, 8) pictures, (8, 8) sequences."""
        parts = (self.train, self.calibration, self.test)
        return Digits(*((x.reshape(len(x), *shape), y) for x, y in parts))


def load_digits(seed: int) -> Digits:
    """Shuffle and split: 1000 to train, 200 to calibrate, 597 to test. Needs the extra `data`."""
    with extra(Extra.DATA):
        from sklearn.datasets import load_digits as bundled

    pixels, labels = bundled(return_X_y=True)
    order = np.random.default_rng(seed).permutation(len(labels))
    x, y = (pixels[order] / 16).astype(np.float32), labels[order].astype(np.int64)
    parts = [(x[i:j], y[i:j]) for i, j in ((0, 1000), (1000, 1200), (1200, len(y)))]
    return Digits(*parts)


def batches(data: Split, size: int, rng: np.random.Generator) -> Iterator[Split]:
    """All examples in a new order, in parts of about `size` that differ by one at most."""
    x, y = data
    if size < 1:
        raise ValueError(f"size is {size}; allowed are integers from 1 on")
    for rows in np.array_split(rng.permutation(len(y)), max(len(y) // size, 1)):
        yield x[rows], y[rows]


@dataclass(frozen=True)
class Epoch:
    """What one pass over the data came to.

    Attributes:
        number: from 0 on.
        loss: mean of the batches.
        accuracy: share of the examples classified rightly while learning.
    """

    number: int
    loss: float
    accuracy: float


def train_epochs(
    model: Module,
    data: Split,
    optimizer: Optimizer,
    epochs: int,
    rng: np.random.Generator,
    *,
    size: int = 50,
    schedule: Callable[[int], float] | None = None,
) -> Iterator[Epoch]:
    """Train a classifier in place by cross-entropy; yields after every epoch, for progress.

    Args:
        model: logits (N, classes) from (N, ...).
        data: examples and labels.
        optimizer: of the model's parameters.
        epochs: passes over the data.
        rng: of the order of the examples.
        size: of a mini-batch.
        schedule: learning rate of each step, counted over all epochs; None leaves it as it is.
    """
    step = 0
    for number in range(epochs):
        model.train()
        losses, right = [], 0
        for x, y in batches(data, size, rng):
            if schedule is not None:
                optimizer.lr = schedule(step)
            optimizer.zero_grad()
            logits = model(x)
            loss = cross_entropy(logits, y)
            loss.backward()
            optimizer.step()
            losses.append(float(loss))
            right += int((logits.data.argmax(axis=1) == y).sum())
            step += 1
        yield Epoch(number, float(np.mean(losses)), right / len(data[1]))


def accuracy(forward: Callable[[FloatArray], FloatArray | Tensor], data: Split) -> float:
    """Share of the examples classified rightly."""
    x, y = data
    logits = forward(x)
    values = logits.data if isinstance(logits, Tensor) else logits
    return float((values.argmax(axis=1) == y).mean())
