"""Figures without a screen; from one test to the next none stays open and no setting changed."""

import matplotlib
import matplotlib.pyplot as plt
import pytest

matplotlib.use("Agg")


@pytest.fixture(autouse=True)
def _tidy_matplotlib():
    with matplotlib.rc_context():
        yield
    plt.close("all")
