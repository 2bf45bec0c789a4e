"""Every picture against its baseline: the drawing to the pixel, the texts word by word.

    python tests/plot/test_images.py    # writes all baselines anew; look at them before a commit

Glyphs are not in the images. Between FreeType 2.6 and 2.14 (matplotlib 3.10 and 3.11) the same
figure with its text differs by an RMS of 16 (median; up to 28), more than most mistakes do. So the
glyphs are left out, the layout is fixed, and what is written where is compared as text. A legend's
place follows from its glyphs: its handles are compared as text, too.
"""

from functools import partial
from pathlib import Path
from unittest.mock import patch

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.testing.compare import compare_images
from matplotlib.testing.exceptions import ImageComparisonFailure
from matplotlib.text import Annotation, Text
from pictures import NOT_PICTURES, PICTURES, function_name

from numq import plot
from numq.plot.style import figure_of

BASELINE = Path(__file__).parent / "baseline"
DPI = 60
# RMS of 8-bit channels. Matplotlib 3.9, 3.10 and 3.11 differ by 0 on all pictures; the smallest
# mistake tried, one box of the 36 of `packed_layout-gptq` in another pale grey, makes 0.34.
TOLERANCE = 0.2
PLACE = 0.002  # share of the axes that a text may move; one code of 256 is 0.004


@plt.style.context("default")  # whatever the reader's matplotlibrc
def draw(picture, folder, name):
    """NAME.png and NAME.txt in `folder`; the figure is closed."""
    ax = picture()
    figure = figure_of(ax)
    _fix_layout(figure)
    if legend := ax.get_legend():
        legend.set_visible(False)
    with patch.object(Text, "draw", lambda *_: None):
        figure.savefig(folder / f"{name}.png", dpi=DPI, metadata={"Software": None})
    rows = [*_legend_rows(legend), *_label_rows(ax), *_text_rows(ax)]
    (folder / f"{name}.txt").write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")
    plt.close(figure)


def _fix_layout(figure):
    """Margins of whole pixels, as cells whose edges fall between two depend on the version."""
    width, height = figure.get_size_inches() * DPI
    figure.set_layout_engine(None)
    figure.subplots_adjust(48 / width, 36 / height, 384 / width, 1 - 18 / height)


def _legend_rows(legend):
    """Name and look of each curve."""
    if legend is None:
        return []
    rows = [f"legend title {legend.get_title().get_text()}"]
    for text, handle in zip(legend.get_texts(), legend.legend_handles, strict=True):
        mark = f"{handle.get_marker()} {handle.get_fillstyle()} {handle.get_linestyle()}"
        rows.append(f"legend {to_hex(handle.get_color())} {mark} {text.get_text()}")
    return rows


def _labels(ax):
    """What is placed by the glyphs of others."""
    return [axis.label for a in (ax, *ax.child_axes) for axis in (a.xaxis, a.yaxis)]


def _label_rows(ax):
    return [f"label {_look(t)}" for t in _labels(ax) if t.get_text()]


def _text_rows(ax):
    """Every other text: where it points to in shares of the axes, colour, words."""
    legend = ax.get_legend()
    elsewhere = {*_labels(ax), *_unseen(ax), *(legend.findobj(Text) if legend else ())}
    texts = [t for t in ax.findobj(Text) if t.get_text() and t.get_visible()]
    return [f"{_place(ax, t)} {_look(t)}" for t in texts if t not in elsewhere]


def _unseen(ax):
    """The labels of ticks outside the view; how many there are depends on the version."""
    for axis in (axis for a in (ax, *ax.child_axes) for axis in (a.xaxis, a.yaxis)):
        low, high = sorted(axis.get_view_interval())
        ticks = [*axis.get_major_ticks(), *axis.get_minor_ticks()]
        for tick in (tick for tick in ticks if not low <= tick.get_loc() <= high):
            yield from (tick.label1, tick.label2)


def _place(ax, text):
    if isinstance(text, Annotation):
        at = ax.transData.transform(text.xy)
        if text.anncoords == "offset points":
            at = at + np.array(text.get_position()) * figure_of(ax).dpi / 72
    else:
        at = text.get_transform().transform(text.get_position())
    x, y = ax.transAxes.inverted().transform(at) + 0.0
    return f"{x:.4f} {y:.4f}"


def _look(text):
    how = f"{text.get_ha()} {text.get_va()} {text.get_rotation():.0f}°"
    return f"{to_hex(text.get_color())} {how} {text.get_text()!r}"


def words(rows):
    """The rows without their places."""
    return [row if row[0] == "l" else row.split(maxsplit=2)[2] for row in rows]


def places(rows):
    return np.array([row.split()[:2] for row in rows if row[0] != "l"], float)


def difference(name, folder):
    """What is wrong with the picture that lies in `folder`; empty if nothing is."""
    baseline, drawn = BASELINE / f"{name}.png", folder / f"{name}.png"
    if not baseline.exists():
        return f"{baseline} is missing; `python tests/plot/test_images.py` writes all of them"
    try:
        found = compare_images(str(_copied(baseline, folder)), str(drawn), TOLERANCE)
    except ImageComparisonFailure as error:  # of another size
        return str(error)
    return found or _difference_of_texts(name, folder)


def _copied(baseline, folder):
    """compare_images writes beside what it is given, and the baselines' folder stays clean."""
    copy = folder / f"{baseline.stem}-expected.png"
    copy.write_bytes(baseline.read_bytes())
    return copy


def _difference_of_texts(name, folder):
    expected, drawn = (
        (at / f"{name}.txt").read_text("utf-8").splitlines() for at in (BASELINE, folder)
    )
    if words(expected) != words(drawn):
        changed = set(words(expected)) ^ set(words(drawn))
        return f"{name}: texts, or their order, differ; on one side only are {sorted(changed)}"
    moved = np.abs(places(expected) - places(drawn)).max(initial=0)
    return f"{name}: a text moved by {moved:.4f} of the axes" if moved > PLACE else ""


@pytest.mark.parametrize("name", PICTURES)
def test_picture_is_as_its_baseline(name, tmp_path):
    draw(PICTURES[name], tmp_path, name)
    found = difference(name, tmp_path)
    assert not found, found


def test_every_function_has_a_picture():
    assert {function_name(name) for name in PICTURES} == set(plot.__all__) - NOT_PICTURES


@pytest.mark.parametrize("name", PICTURES)
def test_picture_is_by_the_function_that_its_name_says(name):
    assert PICTURES[name].func is getattr(plot, function_name(name))


def test_every_baseline_has_its_picture():
    files = {path.name for path in BASELINE.iterdir()}
    assert files == {f"{name}.{end}" for name in PICTURES for end in ("png", "txt")}


def test_baselines_are_small():
    assert max(path.stat().st_size for path in BASELINE.iterdir()) < 20_000


def test_missing_baseline_is_a_difference(tmp_path):
    draw(PICTURES["axes-low"], tmp_path, "no-such")
    assert "no-such.png is missing" in difference("no-such", tmp_path)


def test_other_size_is_a_difference(tmp_path):
    draw(partial(plot.axes, height=1.6), tmp_path, "axes-low")
    assert "sizes do not match" in difference("axes-low", tmp_path)


def spoilt(name, folder, spoil):
    """What `difference` says of the picture after `spoil(ax)`."""

    def picture():
        ax = PICTURES[name]()
        spoil(ax)
        return ax

    draw(picture, folder, name)
    return difference(name, folder)


def recolour_last_box(ax):
    ax.patches[-1].set_facecolor("#dddddd")


def move_first_box(ax):
    ax.patches[0].set_x(ax.patches[0].get_x() + 0.01 * np.ptp(ax.get_xlim()))


def move_steps(ax):
    counts, edges, _ = ax.patches[0].get_data()
    ax.patches[0].set_data(counts, edges + 0.01 * np.ptp(ax.get_xlim()))


def move_first_line(ax):
    line = ax.lines[0]
    line.set_xdata(np.asarray(line.get_xdata(), float) + 0.01 * np.ptp(ax.get_xlim()))


def lighten_last_line(ax):
    ax.lines[-1].set_alpha(0.7)


def change_one_cell(ax):
    table = ax.images[0].get_array().copy()
    table[-1, -1] = table[-2, -1]
    ax.images[0].set_data(table)


@pytest.mark.parametrize(
    ("name", "spoil"),
    [
        ("packed_layout-gptq", recolour_last_box),
        ("blocks-block", recolour_last_box),
        ("packed_layout-gguf", move_first_box),
        ("histogram-values", move_steps),
        ("error-coarse", move_first_line),
        ("staircase-affine", move_first_line),
        ("number_line-one_sided", lighten_last_line),
        ("float_values-one", lighten_last_line),
        ("matrix-integers", change_one_cell),
        ("matrix-many", change_one_cell),
    ],
)
def test_small_mistake_is_seen_and_its_image_named(name, spoil, tmp_path):
    found = spoilt(name, tmp_path, spoil)
    assert "RMS Value" in found
    assert (tmp_path / f"{name}-failed-diff.png").exists()
    assert f"{name}-failed-diff.png" in found


def test_text_moved_by_one_code_of_256_is_seen(tmp_path):
    def move(ax):
        text = next(t for t in ax.texts if t.get_text() == "255")
        text.xy = (text.xy[0] - 0.01, 0)

    assert "a text moved by" in spoilt("number_line-affine", tmp_path, move)


def test_text_moved_by_points_is_seen(tmp_path):
    def move(ax):
        ax.texts[0].set_position((0, 12))

    assert "a text moved by" in spoilt("number_line-affine", tmp_path, move)


def test_other_word_and_other_colour_of_a_text_are_seen(tmp_path):
    assert "'101'" in spoilt("number_line-affine", tmp_path, lambda a: a.texts[0].set_text("101"))
    assert "#ffffff" in spoilt("bit_field-int8", tmp_path, lambda a: a.texts[0].set_color("white"))
    assert "0° 'SQNR'" in spoilt("bars-layers", tmp_path, lambda a: a.set_xlabel("SQNR"))


def test_other_name_in_a_legend_is_seen(tmp_path):
    def rename(ax):
        ax.get_legend().get_texts()[0].set_text("another")

    assert "another" in spoilt("lines-six", tmp_path, rename)


def test_drawing_leaves_the_baselines_alone(tmp_path):
    before = {path.name: path.read_bytes() for path in BASELINE.iterdir()}
    spoilt("lines-six", tmp_path, move_first_line)
    assert {path.name: path.read_bytes() for path in BASELINE.iterdir()} == before


if __name__ == "__main__":
    matplotlib.use("Agg")
    for old in BASELINE.iterdir():
        old.unlink()
    for each, picture in PICTURES.items():
        draw(picture, BASELINE, each)
