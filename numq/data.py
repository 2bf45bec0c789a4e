"""Real data that comes with scikit-learn, mini-batches, and the loop that trains on them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from numq.arguments import check_callable, integer, integers, shown
from numq.arrays import Array, FloatArray, IntArray, as_data, check_type
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
        lengths = integers(shape, "shape", 1)
        if math.prod(lengths) != 64:
            raise ValueError(f"shape is {lengths}; allowed are shapes of 64 pixels")
        parts = (self.train, self.calibration, self.test)
        return Digits(*((x.reshape(len(x), *lengths), y) for x, y in parts))


def load_digits(seed: int) -> Digits:
    """Shuffle and split: 1000 to train, 200 to calibrate, 597 to test. Needs the extra `data`.

    Args:
        seed: of the order, an integer from 0 on.
    """
    seed = integer(seed, "seed", 0)
    with extra(Extra.DATA):
        from sklearn.datasets import load_digits as bundled

    pixels, labels = bundled(return_X_y=True)
    order = np.random.default_rng(seed).permutation(len(labels))
    x, y = (pixels[order] / 16).astype(np.float32), labels[order].astype(np.int64)
    parts = [(x[i:j], y[i:j]) for i, j in ((0, 1000), (1000, 1200), (1200, len(y)))]
    return Digits(*parts)


def batches(data: Split, size: int, rng: np.random.Generator) -> Iterator[Split]:
    """All examples in a new order, in parts of about `size` that differ by one at most.

    Args:
        data: (N, ...) examples and (N, ...) labels, N at least 1.
        size: of a part, from 1 on.
        rng: of the order.

    Raises:
        TypeError: data that is no pair of arrays, a size that is no integer, no generator.
        ValueError: examples and labels of unequal lengths, or none.
    """
    x, y = _examples(data)
    size = integer(size, "size", 1)
    check_type(rng, np.random.Generator, "rng")
    parts = np.array_split(rng.permutation(len(y)), max(len(y) // size, 1))
    return ((x[rows], y[rows]) for rows in parts)


def _examples(data: Split) -> tuple[Array, Array]:
    """Both arrays, of one length."""
    if not isinstance(data, tuple | list) or len(data) != 2:
        raise TypeError(f"data is {shown(data)}; allowed is a pair of examples and labels")
    x, y = as_data(data[0], "data[0]"), as_data(data[1], "data[1]")
    if not x.ndim or not y.ndim or len(x) != len(y) or not len(x):
        raise ValueError(
            f"data has examples of shape {x.shape} and labels of {y.shape}; allowed are (N, ...) "
            "and (N, ...), N at least 1"
        )
    return x, y


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
        model: logits (N, classes) from (N, ...), two classes or more.
        data: examples and (N,) labels.
        optimizer: of the model's parameters.
        epochs: passes over the data, from 1 on.
        rng: of the order of the examples.
        size: of a mini-batch.
        schedule: learning rate of each step, counted over all epochs; None leaves it as it is.

    Raises:
        TypeError: an argument of another kind.
        ValueError: as `batches` and `cross_entropy`; an optimizer of none of the model's
            parameters; a model with one logit, whose cross-entropy is 0.
    """
    check_type(model, Module, "model")
    check_type(optimizer, Optimizer, "optimizer")
    check_type(rng, np.random.Generator, "rng")
    epochs, size = integer(epochs, "epochs", 1), integer(size, "size", 1)
    if schedule is not None:
        check_callable(schedule, "schedule")
    own = {id(p) for p in model.parameters()}
    if not any(id(p) in own for p in optimizer.parameters):
        raise ValueError(
            "optimizer has no parameter of the model; allowed are those that train one at least"
        )
    return _epochs(model, _examples(data), optimizer, epochs, rng, size, schedule)


def _epochs(
    model: Module,
    data: Split,
    optimizer: Optimizer,
    epochs: int,
    rng: np.random.Generator,
    size: int,
    schedule: Callable[[int], float] | None,
) -> Iterator[Epoch]:
    step = 0
    for number in range(epochs):
        model.train()
        losses, right = [], 0
        for x, y in batches(data, size, rng):
            if schedule is not None:
                optimizer.lr = schedule(step)
            optimizer.zero_grad()
            logits = model(x)
            if logits.ndim == 2 and logits.shape[1] == 1:
                raise ValueError(
                    f"model has outputs of shape {logits.shape}; allowed are (N, classes) of two "
                    "classes or more, as cross-entropy needs"
                )
            loss = cross_entropy(logits, y)
            loss.backward()
            optimizer.step()
            losses.append(float(loss))
            right += int((logits.data.argmax(axis=1) == y).sum())
            step += 1
        yield Epoch(number, float(np.mean(losses)), right / len(data[1]))


def accuracy(forward: Callable[[FloatArray], FloatArray | Tensor], data: Split) -> float:
    """Share of the examples classified rightly: the largest logit, or the sign of a single one.

    Args:
        forward: logits (N, classes), from (N, ...); or (N, 1) or (N,), of two classes, the second
            where the logit is above 0.
        data: examples, and labels in [0, classes), of shape (N,) or (N, 1).

    Raises:
        TypeError: data that is no pair of arrays, or a forward that is no function.
        ValueError: shapes that do not fit, labels that are no whole numbers or out of range, a NaN
            among the logits, or probabilities in place of single logits.
    """
    check_callable(forward, "forward")
    x, y = _examples(data)
    made = forward(x)
    logits = as_data(made.data if isinstance(made, Tensor) else made, "forward's result")
    if np.isnan(logits).any():
        raise ValueError(
            f"forward's result has NaN in {int(np.isnan(logits).sum())} places; allowed are numbers"
        )
    if logits.ndim not in (1, 2) or len(logits) != len(x) or not logits.size:
        raise ValueError(
            f"forward's result has shape {logits.shape}; allowed is ({len(x)}, classes)"
        )
    single = logits.ndim == 1 or logits.shape[1] == 1
    guessed = _signs(logits) if single else logits.argmax(axis=1)
    return float((guessed == _labels(y, 2 if single else logits.shape[1])).mean())


def _signs(logits: Array) -> Array:
    """1 where the single logit is above 0, else 0."""
    if logits.min() >= 0 and logits.max() <= 1:
        raise ValueError(
            f"forward's result has shape {logits.shape} and values all in [0, 1]; allowed is a "
            "logit, which is above 0 for the second class, not a probability"
        )
    return (logits.reshape(-1) > 0).astype(np.int64)


def _labels(y: Array, classes: int) -> Array:
    """(N,) numbers of classes."""
    if y.ndim > 2 or (y.ndim == 2 and y.shape[1] != 1):
        raise ValueError(f"labels have shape {y.shape}; allowed is (N,)")
    labels = y.reshape(-1)
    if not np.isin(labels, np.arange(classes)).all():
        raise ValueError(
            f"labels have values from {labels.min()} to {labels.max()}; allowed are whole numbers "
            f"in [0, {classes})"
        )
    return labels
