"""Curves for the pages, as SVG that takes the page's colours."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

PlotCurve = tuple[ArrayLike, ArrayLike]  # x, y
_TEXT_COLOR = "#123456"  # stands for the page's text colour until the SVG is done
_FIGURE_SIZE = 6.4, 2.6  # inches
_RC_PARAMS: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "page",
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
    """An <svg>. across: what x is. curves: (x, y) of each by its name; gaps where y is nan or infinite. scale: of y."""
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
        written = io.StringIO()
        figure.savefig(written, format="svg", transparent=True, metadata={"Date": None})
    svg = written.getvalue()
    return svg[svg.index("<svg") :].replace(_TEXT_COLOR, "currentColor")
