"""slide: a picture that needs no kernel, sliders where ipywidgets is, and errors before drawing."""

import base64
import sys
from io import BytesIO

import matplotlib.image
import matplotlib.pyplot as plt
import numpy as np
import pytest

import numq as nq
from numq import plot

VIEW = "application/vnd.jupyter.widget-view+json"


@pytest.fixture
def shown(monkeypatch):
    """What goes to the notebook: a list of (bundle, options)."""
    displayed = []
    monkeypatch.setattr("IPython.display.display", lambda b, **how: displayed.append((b, how)))
    return displayed


@pytest.fixture
def _no_ipywidgets(monkeypatch):
    monkeypatch.setitem(sys.modules, "ipywidgets", None)


def staircase(bits=4, zero_point=0):
    return plot.staircase(nq.QParams(0.25, zero_point, nq.IntFormat(bits)))


def pixels(bundle):
    return matplotlib.image.imread(BytesIO(base64.b64decode(bundle["image/png"], validate=True)))


def test_bundle_has_picture_words_and_sliders(shown):
    pytest.importorskip("ipywidgets")
    assert plot.slide(staircase, bits=[2, 4, 8]) is None
    [(bundle, how)] = shown
    assert how == {"raw": True}
    assert set(bundle) == {"image/png", "text/plain", VIEW}
    assert set(bundle[VIEW]) == {"version_major", "version_minor", "model_id"}


@pytest.mark.usefixtures("_no_ipywidgets")
def test_without_ipywidgets_the_picture_is_all(shown):
    plot.slide(staircase, bits=[2, 4, 8])
    [(bundle, how)] = shown
    assert how == {"raw": True}
    assert set(bundle) == {"image/png", "text/plain"}


@pytest.mark.usefixtures("_no_ipywidgets")
def test_picture_is_the_one_of_the_defaults(shown):
    plot.slide(staircase, bits=[8, 4], zero_point=range(-2, 3))
    expected = BytesIO()
    staircase().figure.savefig(expected, format="png")
    expected.seek(0)
    np.testing.assert_array_equal(pixels(shown[0][0]), matplotlib.image.imread(expected))


@pytest.mark.usefixtures("_no_ipywidgets")
def test_picture_is_opaque(shown):
    plot.slide(staircase, bits=[4])
    assert (pixels(shown[0][0])[..., 3] == 1).all()


@pytest.mark.usefixtures("_no_ipywidgets")
def test_words_name_each_slider_its_start_and_its_ends(shown):
    plot.slide(staircase, bits=[2, 4, 8], zero_point=range(-2, 3))
    words = shown[0][0]["text/plain"]
    assert words == "slider: bits = 4 of 2 … 8, zero_point = 0 of -2 … 2"


@pytest.mark.usefixtures("_no_ipywidgets")
def test_picture_is_not_left_open_to_be_shown_twice(shown):
    mine = plot.axes().figure
    plot.slide(staircase, bits=[4])
    assert shown
    assert [plt.figure(n) for n in plt.get_fignums()] == [mine]


@pytest.fixture
def widgets(monkeypatch):
    """The boxes of sliders that slide makes."""
    ipywidgets = pytest.importorskip("ipywidgets")
    made, box = [], ipywidgets.VBox

    def keep(children):
        made.append(box(children))
        return made[-1]

    monkeypatch.setattr(ipywidgets, "VBox", keep)
    return made


@pytest.mark.usefixtures("shown")
def test_sliders_go_through_the_values_from_the_default_on(widgets):
    plot.slide(staircase, bits=[2, 4, 8], zero_point=range(-1, 2))
    bits, zero_point = widgets[0].children[:2]
    assert (bits.description, bits.options, bits.value) == ("bits", (2, 4, 8), 4)
    assert (zero_point.description, zero_point.options) == ("zero_point", (-1, 0, 1))
    assert zero_point.value == 0
    assert not bits.continuous_update


@pytest.mark.usefixtures("shown")
def test_moving_a_slider_draws_with_its_value(widgets):
    calls = []

    def draw(bits=4):
        calls.append(bits)
        return staircase(bits)

    plot.slide(draw, bits=[2, 4, 8])
    slider, image = widgets[0].children
    before = bytes(image.value)
    slider.value = 8
    assert calls == [4, 8]  # once for the page, once for the new value
    assert bytes(image.value).startswith(b"\x89PNG")
    assert bytes(image.value) != before
    assert not plt.get_fignums()


def test_sliders_of_one_call_are_not_those_of_another(shown):
    pytest.importorskip("ipywidgets")
    plot.slide(staircase, bits=[4])
    plot.slide(staircase, bits=[4])
    first, second = (bundle[VIEW]["model_id"] for bundle, _ in shown)
    assert first != second


def never(bits=4):
    raise AssertionError("drawn in spite of a wrong choice")


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"bit": [4]}, r"choices has 'bit'; allowed are the arguments of draw: bits"),
        ({"bits": [2, 8]}, r"bits is 4 by default; allowed is one of \[2, 8\]"),
        ({"bits": []}, r"bits is 4 by default; allowed is one of \[\]"),
        ({"bits": range(5, 9)}, r"bits is 4 by default; allowed is one of range\(5, 9\)"),
        (
            {"bits": [4], "width": [1]},
            r"choices has 'width'; allowed are the arguments of draw: bits",
        ),
    ],
)
def test_wrong_choices_are_named_before_anything_is_drawn(shown, choices, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        plot.slide(never, **choices)
    assert not shown
    assert not plt.get_fignums()


def test_an_argument_without_default_is_named(shown):
    with pytest.raises(ValueError, match=r"^bits has no default in draw; allowed are arguments"):
        plot.slide(lambda bits: staircase(bits), bits=[4])
    assert not shown


def test_other_names_are_no_arguments(shown):
    with pytest.raises(ValueError, match=r"has 'k'; allowed are the arguments of draw: bits$"):
        plot.slide(lambda bits=4, **k: staircase(bits), k=[4])
    assert not shown


def test_draw_has_to_return_axes(shown):
    with pytest.raises(TypeError, match=r"^what draw returns is 4; allowed is Axes$"):
        plot.slide(lambda bits=4: bits, bits=[4])
    assert not shown


def test_draw_without_arguments_says_so(shown):
    with pytest.raises(ValueError, match=r"allowed are the arguments of draw: none$"):
        plot.slide(lambda: plot.axes(), bits=[4])
    assert not shown
