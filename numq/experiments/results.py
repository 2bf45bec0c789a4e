"""`numq demo --qat`: float, post-training and quantization-aware training, over several seeds.

Two networks on the bundled digits: a CNN that sees 8×8 pictures, and an LSTM that reads them as
eight rows. Every approach starts from the same float network of its seed and sees the same split.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

import numpy as np

from numq import flows
from numq.arguments import integer
from numq.arrays import check_type
from numq.autograd import Tensor
from numq.data import Digits, accuracy, load_digits, train_epochs
from numq.experiments.shared import STEPS, activations, float_forward, weights
from numq.flows import Estimator, QATNetwork, QATRecipe, Recipe
from numq.granularity import PerChannel
from numq.nn import (
    LSTM,
    BatchNorm,
    Conv2d,
    Flatten,
    Linear,
    MaxPool2d,
    Module,
    ReLU,
    Sequential,
)
from numq.optim import Adam, CosineDecay, Group

BITS = (8, 4, 3, 2)


class Architecture(Enum):
    """Which network; the value is the shape in which it sees a digit."""

    CNN = (1, 8, 8)
    LSTM = (8, 8)


class Reader(Module):
    """An LSTM over the rows of a picture; its last state says which digit it was."""

    def __init__(self, rng: np.random.Generator) -> None:
        """64 states, 10 classes."""
        self.lstm = LSTM(8, 64, rng=rng)
        self.out = Linear(64, 10, rng=rng)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 8, 8) → (N, 10)."""
        _, (h, _) = self.lstm(x)
        logits: Tensor = self.out(h)
        return logits


def build(architecture: Architecture, rng: np.random.Generator) -> Module:
    """The float network, untrained."""
    if architecture is Architecture.LSTM:
        return Reader(rng)
    return Sequential(
        Conv2d(1, 16, 3, padding=1, bias=False, rng=rng), BatchNorm(16), ReLU(), MaxPool2d(2),
        Conv2d(16, 32, 3, padding=1, bias=False, rng=rng), BatchNorm(32), ReLU(), MaxPool2d(2),
        Flatten(), Linear(128, 10, rng=rng),
    )  # fmt: skip


@dataclass(frozen=True)
class Approach:
    """One way to quantize, with the number of bits of weights and activations.

    Attributes:
        name: as the table calls it.
        weights: bits of the weights.
        activations: bits of the activations.
        estimator: of the weights and the activations, or None without training.
    """

    name: str
    weights: int
    activations: int
    estimator: tuple[Estimator, Estimator] | None = None


FLOAT = Approach("float", 32, 32)
DYNAMIC = Approach("dynamic", 8, 8)  # integer products, everything between them float


def approaches() -> list[Approach]:
    """All rows of the table after the float network."""
    ste, lsq, binary = Estimator.STE, Estimator.LSQ, Estimator.BINARY
    return [
        DYNAMIC,
        *(Approach("post-training", bits, bits) for bits in BITS),
        *(Approach("QAT, clipped STE", bits, bits, (ste, ste)) for bits in BITS),
        *(Approach("QAT, LSQ", bits, bits, (lsq, lsq)) for bits in BITS),
        Approach("binary weights", 1, 8, (binary, ste)),
        Approach("binary both", 1, 1, (binary, binary)),
    ]


def recipe(approach: Approach) -> QATRecipe:
    """Quantizers and estimators; below 8 bits the range is the one of least squared error."""
    doors = 8 if approach.activations == 1 else approach.activations  # inner edges alone are binary
    chosen = Recipe(weights(max(approach.weights, 2), PerChannel(0)), activations(doors))
    kinds = approach.estimator or (Estimator.STE, Estimator.STE)
    return QATRecipe(
        chosen, weight_estimator=kinds[0], activation_estimator=kinds[1], refresh=STEPS
    )


def fit(model: Module, data: Digits, epochs: int, lr: float, rng: np.random.Generator) -> None:
    """Adam, mini-batches of 50, one epoch of warm-up and a cosine; learned steps do not decay."""
    steps = list(model.scales.values()) if isinstance(model, QATNetwork) else []
    learned = {id(s) for s in steps}
    others = [p for p in model.parameters() if id(p) not in learned]
    groups = [Group(others), Group(steps, weight_decay=0.0)]
    schedule = CosineDecay(lr, epochs * STEPS, STEPS)
    optimizer = Adam(groups, lr, weight_decay=1e-4)
    for _ in train_epochs(model, data.train, optimizer, epochs, rng, schedule=schedule):
        pass


def trained(
    model: Module, approach: Approach, data: Digits, epochs: int, rng: np.random.Generator
) -> QATNetwork:
    """A quarter of the epochs with the statistics of the batch, the rest with frozen ones.

    Two bits and fewer take twice as many: they have further to go from the float network.
    """
    if min(approach.weights, approach.activations) <= 2:
        epochs *= 2
    network = flows.prepare_qat(model, data.train[0][:50], recipe=recipe(approach))
    network.eval()
    network(data.calibration[0])  # ranges start from what post-training calibration sees
    # An observer that searches for the best range would do so at every step.
    if approach.activations < 8:
        network.freeze_observers()
    first = max(epochs // 4, 1)
    fit(network, data, first, 1e-2, rng)
    network.freeze_batch_norm().freeze_observers()
    fit(network, data, epochs - first, 5e-3, rng)
    network.eval()
    return network


@dataclass(frozen=True)
class Result:
    """One cell: an approach on one seed.

    Attributes:
        architecture: the network.
        approach: how it was quantized.
        seed: of the split, the start and the order of the examples.
        accuracy: share of the 597 test digits classified rightly, by the integer network if there
            is one, else by the fake-quantized one.
        simulated: the same by the fake-quantized network; None without training.
    """

    architecture: Architecture
    approach: Approach
    seed: int
    accuracy: float
    simulated: float | None = None


def run(architecture: Architecture, seed: int, epochs: int = 40) -> Iterator[Result]:
    """Train a float network, then every approach from it.

    Args:
        architecture: which network.
        seed: of everything random.
        epochs: of the float network, and of each approach that trains; from 2 on.
    """
    check_type(architecture, Architecture, "architecture")
    epochs = integer(epochs, "epochs", 2)
    data = load_digits(seed).shaped(*architecture.value)
    rng = np.random.default_rng(seed)
    model = build(architecture, rng)
    fit(model, data, epochs, 5e-3, rng)
    model.eval()
    yield Result(architecture, FLOAT, seed, accuracy(float_forward(model), data.test))
    for approach in approaches():
        yield quantized(architecture, approach, model, data, seed, epochs)


def quantized(
    architecture: Architecture,
    approach: Approach,
    model: Module,
    data: Digits,
    seed: int,
    epochs: int,
) -> Result:
    """One approach, from the trained float network."""
    if approach == DYNAMIC:
        network = flows.dynamic(model, data.train[0][:50])
        return Result(architecture, approach, seed, accuracy(network, data.test))
    if approach.estimator is None:
        chosen = recipe(approach).static
        network = flows.static(
            model, [data.calibration[0]], weights=chosen.weights, activations=chosen.activations
        )
        return Result(architecture, approach, seed, accuracy(network, data.test))
    trained_network = trained(model, approach, data, epochs, np.random.default_rng(seed + 1000))
    simulated = accuracy(float_forward(trained_network), data.test)
    if approach.activations == 1:
        return Result(architecture, approach, seed, simulated, simulated)
    integer = accuracy(flows.convert(trained_network), data.test)
    return Result(architecture, approach, seed, integer, simulated)


@dataclass(frozen=True)
class Summary:
    """An approach over all seeds.

    Attributes:
        approach: what was done.
        mean: of the accuracies.
        spread: their standard deviation, n − 1 in the denominator; 0 for a single seed.
        lost: points lost against the float networks of the same seeds, on average.
    """

    approach: Approach
    mean: float
    spread: float
    lost: float


def summarize(results: list[Result]) -> list[Summary]:
    """One line for each approach, in the order in which they came."""
    reference = {r.seed: r.accuracy for r in results if r.approach == FLOAT}
    lines = []
    for approach in dict.fromkeys(r.approach for r in results):
        mine = [r for r in results if r.approach == approach]
        values = np.array([r.accuracy for r in mine])
        lost = float(np.mean([reference[r.seed] - r.accuracy for r in mine]))
        spread = float(values.std(ddof=1)) if len(values) > 1 else 0.0
        lines.append(Summary(approach, float(values.mean()), spread, 100 * lost))
    return lines
