"""`numq demo`: train on handwritten digits, quantize three ways, say what it cost."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from numq import flows
from numq.arrays import FloatArray
from numq.data import Digits, train_epochs
from numq.experiments.shared import STEPS, Forward, activations, float_forward, weights, widths
from numq.flows import Network
from numq.formats import IntFormat
from numq.granularity import PerChannel, PerGroup, PerToken
from numq.metrics import sqnr_db
from numq.nn import Linear, ReLU, Sequential
from numq.optim import SGD, LinearDecay
from numq.quantizers import AffineQuantizer
from numq.storage import save_arrays


def digits_model(rng: np.random.Generator) -> Sequential:
    """64 pixels → 128 → 64 → 10 classes."""
    return Sequential(
        Linear(64, 128, rng=rng), ReLU(), Linear(128, 64, rng=rng), ReLU(), Linear(64, 10, rng=rng)
    )


def train(
    model: Sequential, data: Digits, epochs: int, rng: np.random.Generator
) -> Iterator[float]:
    """Train in place, mini-batches of 50, learning rate falling to zero; yields the mean loss."""
    optimizer = SGD(model.parameters(), lr=0.1, momentum=0.9)
    schedule = LinearDecay(0.1, epochs * STEPS)
    for epoch in train_epochs(model, data.train, optimizer, epochs, rng, schedule=schedule):
        yield epoch.loss


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        name: the approach.
        weight_bits: bits of a weight.
        activation_bits: bits of an activation that is multiplied.
        accuracy: share of the test pictures classified rightly.
        agreement: share of them on which the float model says the same.
        nbytes: size of the file on disk.
        sqnr: signal-to-quantization-noise ratio of the logits, dB.
        milliseconds: for the whole test set, best of several interleaved runs.
    """

    name: str
    weight_bits: int
    activation_bits: int
    accuracy: float
    agreement: float
    nbytes: int
    sqnr: float
    milliseconds: float


@dataclass(frozen=True)
class Variant:
    """A quantized network and what it is called."""

    name: str
    weight_bits: int
    activation_bits: int
    network: Network

    @property
    def label(self) -> str:
        """`static_w4a8`, `weight-only_w4`."""
        return f"{self.name}_{widths(self.weight_bits, self.activation_bits)}"


def variants(model: Sequential, data: Digits, bits: int) -> Iterator[Variant]:
    """Weight-only, dynamic and static at one width of weights; activations at 8 and that width."""
    channels = weights(bits, PerChannel(0))
    grouped = weights(bits, PerGroup(1, 32)) if bits < 8 else channels
    yield Variant("weight-only", bits, 32, flows.weight_only(model, weights=grouped))
    for width in sorted({8, bits}, reverse=True):
        per_token = AffineQuantizer(IntFormat(width), PerToken())  # at run time only min/max pays
        network = flows.dynamic(model, weights=channels, activations=per_token)
        yield Variant("dynamic", bits, width, network)
    for width in sorted({8, bits}, reverse=True):
        batches = np.split(data.calibration[0], 4)
        network = flows.static(model, batches, weights=channels, activations=activations(width))
        yield Variant("static", bits, width, network)


def measure(model: Sequential, found: list[Variant], data: Digits, folder: Path) -> list[Row]:
    """The table: the float model first, then every variant, latencies interleaved."""
    x, labels = data.test
    reference = float_forward(model)
    logits = reference(x)
    forwards: list[Forward] = [reference, *(v.network for v in found)]
    times = _interleaved(forwards, x)
    arrays = {name: p.data for name, p in model.named_parameters()}
    size = save_arrays(folder / "float32.safetensors", arrays, {"format": "numq float model"})
    predicted = logits.argmax(axis=1)
    accuracy = float((predicted == labels).mean())
    rows = [Row("float", 32, 32, accuracy, 1.0, size, np.inf, times[0])]
    for variant, milliseconds in zip(found, times[1:], strict=True):
        ours = variant.network(x)
        rows.append(
            Row(
                variant.name,
                variant.weight_bits,
                variant.activation_bits,
                float((ours.argmax(axis=1) == labels).mean()),
                float((ours.argmax(axis=1) == predicted).mean()),
                variant.network.save(folder / f"{variant.label}.safetensors"),
                sqnr_db(logits, ours),
                milliseconds,
            )
        )
    return rows


def _interleaved(forwards: list[Forward], x: FloatArray, rounds: int = 15) -> list[float]:
    """Best time of each in milliseconds, taking turns so that all meet the same noise."""
    best = [np.inf] * len(forwards)
    for _ in range(rounds):
        for i, run in enumerate(forwards):
            start = time.perf_counter()
            run(x)
            best[i] = min(best[i], 1e3 * (time.perf_counter() - start))
    return best
