"""What readers need of a figure: colours apart, ink on paper, labels with units, room for words."""

import inspect
from dataclasses import dataclass
from functools import cache
from itertools import combinations
from unittest.mock import patch

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_hex, to_rgb
from matplotlib.text import Text
from matplotlib.transforms import Bbox
from pictures import AFFINE, PICTURES, function_name

import numq as nq
from numq import plot
from numq.granularity import PerGroup
from numq.plot.style import (
    BLUE,
    COLOURS,
    FAINT,
    GREEN,
    INK,
    PAPER,
    VERMILLION,
    figure_of,
    shade,
)

# Machado, Oliveira, Fernandes (2009), "A physiologically-based model for simulation of color vision
# deficiency", table 1 at severity 1.0; for linear sRGB.
EYES = {
    "all cones": np.eye(3),
    "protanopia": np.array(
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ]
    ),
    "deuteranopia": np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ]
    ),
    "tritanopia": np.array(
        [
            [1.255528, -0.076749, -0.178779],
            [-0.078411, 0.930809, 0.147602],
            [0.004733, 0.691367, 0.303900],
        ]
    ),
}
# IEC 61966-2-1: linear sRGB to XYZ under D65.
XYZ = np.array(
    [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ]
)
# CIE 1976 distances; 2.3 is just noticeable (Sharma 2003), side by side and at leisure.
APART = 15.0
TONES = tuple(dict.fromkeys(map(shade, range(24))))
FUNCTIONS = sorted({function_name(name) for name in PICTURES})
DRAWN = [name for name in PICTURES if function_name(name) != "axes"]


def linear(colour):
    c = np.array(to_rgb(colour))
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


def lab(colour, eye="all cones"):
    t = XYZ @ np.clip(EYES[eye] @ linear(colour), 0, 1) / XYZ.sum(1)
    f = np.where(t > (6 / 29) ** 3, np.cbrt(t), t / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def distance(a, b, eye):
    return float(np.linalg.norm(lab(a, eye) - lab(b, eye)))


def contrast(a, b):
    """WCAG 2.2: (L₁ + 0.05) / (L₂ + 0.05) of the relative luminances."""
    dark, light = sorted(float(XYZ[1] @ linear(c)) for c in (a, b))
    return (light + 0.05) / (dark + 0.05)


def test_contrast_and_distance_at_known_points():
    assert contrast("black", "white") == pytest.approx(21)
    assert contrast("#767676", "white") == pytest.approx(4.54, abs=0.01)  # WebAIM's limiting grey
    np.testing.assert_allclose(lab("red"), (53.24, 80.09, 67.20), atol=0.02)  # Lindbloom
    assert distance("#ff0000", "#00a000", "all cones") > 100
    assert distance("#b05000", "#6b6b00", "deuteranopia") < APART  # a confusion line


@pytest.mark.parametrize("eye", EYES)
@pytest.mark.parametrize(("a", "b"), [*combinations(COLOURS, 2)])
def test_curves_differ_in_colour_for_every_eye(a, b, eye):
    # Blue and green under tritanopia, one reader in some ten thousand: 10.8, beside other marks.
    rare = eye == "tritanopia" and (a, b) == (BLUE, GREEN)
    assert distance(a, b, eye) >= (10 if rare else APART)


@pytest.mark.parametrize("eye", EYES)
@pytest.mark.parametrize(("a", "b"), [(FAINT, COLOURS[0]), (FAINT, VERMILLION), (INK, VERMILLION)])
def test_helping_lines_differ_from_data_for_every_eye(a, b, eye):
    assert distance(a, b, eye) >= APART


@pytest.mark.parametrize("colour", COLOURS)
def test_lines_stand_out_from_the_paper(colour):
    assert contrast(colour, PAPER) >= 3


@pytest.mark.parametrize("colour", [INK, FAINT])
def test_text_is_readable_on_the_paper(colour):
    assert contrast(colour, PAPER) >= 4.5


@pytest.mark.parametrize("tone", TONES)
def test_ink_is_readable_on_every_tone(tone):
    assert contrast(INK, tone) >= 4.5


@pytest.mark.parametrize("eye", EYES)
def test_neighbouring_tones_differ(eye):
    # The least is 5.1, green and pink under deuteranopia; the boxes are numbered, too.
    assert min(distance(shade(i), shade(i + 1), eye) for i in range(6)) > 5


@dataclass(frozen=True)
class Word:
    """A text as it is drawn."""

    text: str
    colour: str
    box: Bbox
    upright: bool


@cache
def written(name, theme="default"):
    """The picture's pixels without its texts, (height, width, 4), the texts and the axes."""
    words = []

    def note(text, renderer):
        if text.get_visible() and text.get_text():
            box = text.get_window_extent(renderer)
            upright = text.get_rotation() in (0, 90)
            words.append(Word(text.get_text(), to_hex(text.get_color()), box, upright))

    with plt.style.context(theme), patch.object(Text, "draw", note):
        ax = PICTURES[name]()
        figure_of(ax).canvas.draw()
    pixels = np.array(figure_of(ax).canvas.buffer_rgba())
    plt.close(figure_of(ax))
    return pixels, words, ax


def under(word, pixels):
    """The pixels that a text lies on."""
    top, low = (round(len(pixels) - y) for y in (word.box.y1, word.box.y0))
    return pixels[top:low, round(word.box.x0) : round(word.box.x1)].reshape(-1, 4)[:, :3]


def word_contrast(word, pixels):
    return contrast(word.colour, tuple(np.median(under(word, pixels), axis=0) / 255))


def pictures_of(function):
    return [name for name in PICTURES if function_name(name) == function]


@pytest.mark.parametrize("function", FUNCTIONS)
def test_every_word_is_readable_on_what_lies_under_it(function):
    pictures = [written(name) for name in pictures_of(function)]
    assert any(words for _, words, _ in pictures)
    for pixels, words, _ in pictures:
        assert not {w.text for w in words if word_contrast(w, pixels) < 4.5}


@pytest.mark.parametrize("function", FUNCTIONS)
def test_figures_are_the_same_in_a_dark_theme(function):
    name = pictures_of(function)[0]
    pixels, words, _ = written(name)
    dark_pixels, dark_words, _ = written(name, "dark_background")
    np.testing.assert_array_equal(dark_pixels, pixels)
    assert [(w.text, w.colour) for w in dark_words] == [(w.text, w.colour) for w in words]


@pytest.mark.parametrize("name", PICTURES)
def test_no_word_leaves_the_figure_or_lies_on_another(name):
    pixels, words, _ = written(name)
    ends = (pixels.shape[1] + 0.5, pixels.shape[0] + 0.5)
    assert not [w.text for w in words if (w.box.min < -0.5).any() or (w.box.max > ends).any()]
    upright = [w for w in words if w.upright]
    assert not [(a.text, b.text) for a, b in combinations(upright, 2) if a.box.overlaps(b.box)]


@pytest.mark.parametrize("function", FUNCTIONS)
def test_no_line_passes_through_a_word(function):
    for name in pictures_of(function):
        pixels, words, _ = written(name)
        for word in (w for w in words if w.upright):
            below = under(word, pixels).astype(int)
            assert np.abs(below - np.median(below, axis=0)).max() < 60, word.text


@pytest.mark.parametrize("name", PICTURES)
def test_paper_is_opaque(name):
    pixels, _, _ = written(name)
    assert (pixels[..., 3] == 255).all()
    assert to_hex(pixels[0, 0] / 255) == to_hex(pixels[-1, -1] / 255) == PAPER


def numbered(axis):
    """Whether the axis has ticks with numbers beside it."""
    texts = [t.get_text().replace("−", "-") for t in axis.get_ticklabels()]
    return any(t.startswith("$") or t.lstrip("-").replace(".", "").isdigit() for t in texts)


@pytest.mark.parametrize("name", DRAWN)
def test_an_axis_with_numbers_says_what_they_are(name):
    _, _, ax = written(name)
    for each in (ax, *ax.child_axes):
        for axis in (each.xaxis, each.yaxis):
            assert not (numbered(axis) and axis.get_visible()) or axis.label.get_text()


def labels(name):
    ax = PICTURES[name]()
    return ax.get_xlabel(), ax.get_ylabel()


def test_labels_carry_the_units_promised():
    assert labels("accuracy_against_bits-three") == ("bits", "accuracy / %")
    assert labels("roofline-peak") == ("intensity / MAC per byte", "rate / GMAC/s")
    assert labels("staircase-affine") == ("real value x", "dequantized value")
    assert labels("error-affine") == ("real value x", "error")
    assert labels("histogram-values") == ("value", "count")
    assert labels("lines-gap") == ("bits", "error / LSB")
    assert PICTURES["staircase-affine"]().child_axes[0].get_ylabel() == "uint8 code"


@pytest.mark.parametrize("name", DRAWN)
def test_draws_on_the_axes_given_and_opens_no_figure(name):
    figure, (given, other) = plt.subplots(1, 2)
    before = len(other.get_children()), other.get_xlim(), other.get_ylim()
    assert PICTURES[name](ax=given) is given
    assert plt.get_fignums() == [figure.number]
    assert (len(other.get_children()), other.get_xlim(), other.get_ylim()) == before


@pytest.mark.parametrize("name", PICTURES)
def test_without_axes_makes_one_figure_for_the_notebook_and_leaves_its_settings(name):
    before = dict(matplotlib.rcParams)
    ax = PICTURES[name]()
    assert dict(matplotlib.rcParams) == before
    assert [plt.figure(n) for n in plt.get_fignums()] == [figure_of(ax)]
    assert ax in figure_of(ax).axes


@pytest.mark.parametrize("name", DRAWN)
def test_every_function_takes_its_axes_by_keyword(name):
    ax = inspect.signature(PICTURES[name].func).parameters["ax"]
    assert ax.kind is ax.KEYWORD_ONLY
    assert ax.default is None


def test_two_pictures_on_the_same_axes_are_both_there():
    ax = plot.histogram([0.0, 1.0])
    boxes = len(ax.patches)
    assert plot.histogram([0.0, 1.0], ax=ax) is ax
    assert len(ax.patches) == 2 * boxes


def test_panels_are_side_by_side_in_one_figure():
    three = plot.panels(3, height=1.7)
    figure = figure_of(three[0])
    assert figure.axes == three
    assert figure.get_size_inches()[1] == pytest.approx(1.7)
    figure.canvas.draw()
    lefts = [ax.get_position().x0 for ax in three]
    assert lefts == sorted(set(lefts))
    assert len({round(ax.get_position().y0, 6) for ax in three}) == 1


@pytest.mark.parametrize("points", [5, 50])
def test_twelve_curves_are_twelve_looks(points):
    curves = {str(k): np.full(points, k) for k in range(12)}
    ax = plot.lines(np.arange(points), curves, xlabel="x", ylabel="y")
    looks = {(line.get_color(), line.get_marker(), line.get_linestyle()) for line in ax.lines}
    assert len(looks) == 12


def test_codes_lie_where_the_parameters_say():
    ax = plot.number_line(AFFINE, [0.4])
    places = [(t.get_text(), t.xy[1], round(float(t.xy[0]), 6)) for t in ax.texts]
    assert ("100\nzero point", 0, 0.0) in places
    assert ("0", 1, 0.0) in places
    assert ("0", 0, -1.0) in places
    assert ("255", 0, 1.55) in places


def test_labels_that_would_lie_on_each_other_give_way_to_the_zero_point():
    named = {t.get_text() for t in plot.number_line(nq.QParams(0.1, 120, nq.INT8)).texts}
    assert {"120\nzero point", "−128"} <= named
    assert "127" not in named


@pytest.mark.parametrize(
    ("rows", "columns"),
    [(2, 4), (3, 7), (2, 6)],
)
def test_neighbouring_blocks_have_different_colours(rows, columns):
    ax = plot.blocks((rows, columns), PerGroup(1, 1))
    tones = np.array([to_hex(p.get_facecolor()) for p in ax.patches]).reshape(rows, columns)
    assert (tones[1:] != tones[:-1]).all()
    assert (tones[:, 1:] != tones[:, :-1]).all()
