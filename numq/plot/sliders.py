"""A picture with sliders, which is also a picture without them."""

from __future__ import annotations

import inspect
from base64 import b64encode
from collections.abc import Callable, Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Any

from numq.arrays import check_type
from numq.extras import Extra, extra
from numq.plot.style import figure_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_VIEW = "application/vnd.jupyter.widget-view+json"


def slide(draw: Callable[..., Axes], **choices: Sequence[Any]) -> None:
    """Draw with sliders: one for each argument of `draw` named in `choices`.

    The picture for the default arguments is part of the output, for pages that show a notebook
    without running it. Where ipywidgets is missing, that picture is all there is.

    Args:
        draw: makes a new figure and returns its axes; every argument has a default.
        choices: argument → the values that its slider goes through.

    Raises:
        ValueError: a choice that `draw` has no argument for, or whose default is not among them.
        TypeError: `draw` returns something else than axes.
    """
    with extra(Extra.NOTEBOOKS):
        from IPython.display import display

    starts = {name: _start(draw, name, values) for name, values in choices.items()}
    shown = ", ".join(f"{name} = {starts[name]} of {_ends(v)}" for name, v in choices.items())
    picture = _png(draw())
    bundle: dict[str, Any] = {
        "text/plain": f"slider: {shown}",
        "image/png": b64encode(picture).decode(),
    }
    display(bundle | _widget(draw, picture, starts, choices), raw=True)


def _start(draw: Callable[..., Axes], name: str, values: Sequence[Any]) -> Any:
    """The argument's default, which has to be one of the values."""
    parameters = inspect.signature(draw).parameters
    named = [p.name for p in parameters.values() if p.kind is not p.VAR_KEYWORD]
    if name not in named:
        allowed = ", ".join(named) or "none"
        raise ValueError(f"choices has {name!r}; allowed are the arguments of draw: {allowed}")
    if parameters[name].default is inspect.Parameter.empty:
        raise ValueError(f"{name} has no default in draw; allowed are arguments with one")
    if parameters[name].default not in values:
        raise ValueError(
            f"{name} is {parameters[name].default!r} by default; allowed is one of {values}"
        )
    return parameters[name].default


def _ends(values: Sequence[Any]) -> str:
    return f"{values[0]} … {values[-1]}"


def _png(ax: Axes) -> bytes:
    """The figure, closed, so that the notebook does not show it a second time."""
    import matplotlib.pyplot as plt
    from matplotlib.axes import Axes

    check_type(ax, Axes, "what draw returns")
    figure, buffer = figure_of(ax), BytesIO()
    figure.savefig(buffer, format="png")
    plt.close(figure)
    return buffer.getvalue()


def _widget(
    draw: Callable[..., Axes],
    picture: bytes,
    starts: dict[str, Any],
    choices: dict[str, Sequence[Any]],
) -> dict[str, Any]:
    """Sliders above the picture as a display bundle; empty without ipywidgets."""
    try:
        from ipywidgets import Image, SelectionSlider, VBox
    except ImportError:
        return {}
    image = Image(value=picture, format="png", layout={"align_self": "flex-start"})  # own size
    sliders = {
        name: SelectionSlider(
            options=list(values), value=starts[name], description=name, continuous_update=False
        )
        for name, values in choices.items()
    }

    def again(_change: object) -> None:
        image.value = _png(draw(**{name: slider.value for name, slider in sliders.items()}))

    for slider in sliders.values():
        slider.observe(again, names="value")
    return {_VIEW: VBox([*sliders.values(), image])._repr_mimebundle_()[_VIEW]}
