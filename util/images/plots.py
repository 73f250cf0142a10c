"""Line charts for HTML pages, as SVG in the text color of the page."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

PlotCurve = tuple[ArrayLike, ArrayLike]  # x, y
_TEXT_COLOR = "#123456"  # placeholder: replaced by `currentColor`, which matplotlib does not know
_FIGURE_SIZE = 6.4, 2.6  # inches
_RC_PARAMS: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "page",  # same ids in each rendering
    "text.color": _TEXT_COLOR,
    "axes.edgecolor": _TEXT_COLOR,
    "axes.labelcolor": _TEXT_COLOR,
    "xtick.color": _TEXT_COLOR,
    "ytick.color": _TEXT_COLOR,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "font.size": 9,
}


def render_line_chart(
    title: str, x_label: str, curves: Mapping[str, PlotCurve], y_scale: str = "linear"
) -> str:
    """Return an <svg> element with a chart of the curves.

    Args:
        title: Title above the chart. A single curve of the same name needs no legend.
        x_label: Label of the x axis.
        curves: Name -> (x, y); a curve has gaps where y is NaN or infinite.
        y_scale: matplotlib's name of the y scale, such as linear or log.
    """
    with rc_context(_RC_PARAMS):
        figure = Figure(_FIGURE_SIZE, layout="constrained")
        axes = figure.add_subplot()
        axes.set_title(title, loc="left", fontsize=10)
        axes.set_xlabel(x_label)
        axes.set_yscale(y_scale)
        for name, (x, y) in curves.items():
            axes.plot(x, y, label=name, linewidth=1.2)
        if list(curves) != [title]:
            axes.legend(frameon=False, fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    svg = buffer.getvalue()
    return svg[svg.index("<svg") :].replace(_TEXT_COLOR, "currentColor")
