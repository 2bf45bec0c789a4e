"""The results command: what it runs, what it averages; slow: the goals over five seeds."""

import numpy as np
import pytest

from numq import cli
from numq.experiments import results
from numq.experiments.results import (
    DYNAMIC,
    FLOAT,
    Approach,
    Architecture,
    Result,
    approaches,
    run,
    summarize,
)
from numq.flows import Estimator

LSQ = (Estimator.LSQ, Estimator.LSQ)


def test_the_table_has_every_row():
    rows = [(a.name, a.weights, a.activations) for a in approaches()]
    widths = (8, 4, 3, 2)
    assert rows == [
        ("dynamic", 8, 8),
        *(("post-training", b, b) for b in widths),
        *(("QAT, clipped STE", b, b) for b in widths),
        *(("QAT, LSQ", b, b) for b in widths),
        ("binary weights", 1, 8),
        ("binary both", 1, 1),
    ]


@pytest.mark.parametrize(
    ("architecture", "epochs", "floor"), [(Architecture.CNN, 6, 0.95), (Architecture.LSTM, 4, 0.7)]
)
def test_a_seed(monkeypatch, architecture, epochs, floor):
    few = [DYNAMIC, Approach("post-training", 4, 4), Approach("QAT, LSQ", 4, 4, LSQ)]
    monkeypatch.setattr(results, "approaches", lambda: few)
    found = list(run(architecture, 0, epochs=epochs))
    assert [r.approach for r in found] == [FLOAT, *few]
    assert all(r.accuracy > floor for r in found)
    trained = found[-1]
    assert abs(trained.accuracy - trained.simulated) <= 3 / 597  # integers say what training saw
    again = list(run(architecture, 0, epochs=epochs))
    assert again == found


def test_summaries():
    post = Approach("post-training", 2, 2)
    cells = [(FLOAT, 0, 0.9), (post, 0, 0.8), (FLOAT, 1, 1.0), (post, 1, 0.6)]
    lines = summarize([Result(Architecture.CNN, a, s, v) for a, s, v in cells])
    assert [line.approach for line in lines] == [FLOAT, post]
    assert [line.mean for line in lines] == pytest.approx([0.95, 0.7])
    assert [line.spread for line in lines] == pytest.approx(np.sqrt([0.005, 0.02]))
    assert [line.lost for line in lines] == pytest.approx([0, 25])


def test_the_command(monkeypatch, capsys):
    monkeypatch.setattr(results, "approaches", list)
    monkeypatch.setattr(results, "run", lambda a, s: [Result(a, FLOAT, s, 0.5 + s / 10)])
    assert cli.main(["demo", "--qat", "--seeds", "2", "--networks", "cnn"]) == 0
    text = capsys.readouterr().out
    assert "CNN, 2 seeds" in text
    assert "55.00%" in text
    assert cli.main(["demo", "--qat", "--seeds", "0"]) == 2
    assert "--seeds is 0" in capsys.readouterr().err


@pytest.mark.slow
def test_the_goals():
    found = [r for seed in range(5) for r in run(Architecture.CNN, seed)]
    lost = {(s.approach.name, s.approach.weights): s.lost for s in summarize(found)}
    mean = {(s.approach.name, s.approach.weights): s.mean for s in summarize(found)}
    assert lost["post-training", 8] <= 0.3
    assert min(lost["QAT, LSQ", 4], lost["QAT, clipped STE", 4]) <= 0.5
    assert lost["post-training", 2] > 10
    assert lost["QAT, LSQ", 2] <= 1.5
    assert mean["binary weights", 1] > 0.95
