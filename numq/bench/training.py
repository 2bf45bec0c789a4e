"""An epoch of training: the CNN of the results on made-up digits, forward, backward and steps."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from numq.bench.shapes import BATCH, Training
from numq.extras import Extra, extra

LR, MOMENTUM = 0.05, 0.9


@dataclass(frozen=True, eq=False)
class TrainingArrays:
    """1000 pictures with labels, and the values that the parameters start from."""

    case: Training
    x: NDArray[np.float32]
    y: NDArray[np.int64]
    start: dict[str, NDArray[np.float32]]

    def batches(self) -> list[tuple[NDArray[np.float32], NDArray[np.int64]]]:
        """The mini-batches in their order."""
        cuts = range(0, len(self.y), BATCH)
        return [(self.x[i : i + BATCH], self.y[i : i + BATCH]) for i in cuts]

    def head(self) -> TrainingArrays:
        """The first mini-batch alone."""
        return replace(self, x=self.x[:BATCH], y=self.y[:BATCH])


def training_arrays(case: Training, rng: np.random.Generator) -> TrainingArrays:
    """Pictures of noise; speed does not see the difference."""
    from numq.experiments.results import Architecture, build

    x = rng.random((case.pictures, 1, 8, 8), np.float32)
    y = rng.integers(0, 10, case.pictures)
    return TrainingArrays(case, x, y, build(Architecture.CNN, rng).state_dict())


def epoch(given: TrainingArrays) -> NDArray[np.float64]:
    """The losses of one epoch from the start, by numq's engine."""
    from numq.autograd import cross_entropy
    from numq.experiments.results import Architecture, build
    from numq.optim import SGD

    model = build(Architecture.CNN, np.random.default_rng(0))
    model.load_state_dict(given.start)
    optimizer, losses = SGD(model.parameters(), LR, MOMENTUM), []
    for x, y in given.batches():
        optimizer.zero_grad()
        loss = cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        losses.append(float(loss))
    return np.array(losses)


def torch_epoch(given: TrainingArrays) -> NDArray[np.float64]:
    """The same by PyTorch."""
    with extra(Extra.TORCH):
        import torch

    model = _torch_model(torch)
    model.load_state_dict({k: torch.tensor(v) for k, v in given.start.items()}, strict=False)
    optimizer, losses = torch.optim.SGD(model.parameters(), LR, MOMENTUM), []
    for x, y in given.batches():
        optimizer.zero_grad()
        loss: Any = torch.nn.functional.cross_entropy(
            model(torch.from_numpy(x)), torch.from_numpy(y)
        )
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return np.array(losses)


def _torch_model(torch: Any) -> Any:
    nn = torch.nn
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(128, 10),
    )  # fmt: skip
