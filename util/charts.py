"""Curves for the pages, as SVG that takes the page's colours."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

Curve = tuple[ArrayLike, ArrayLike]  # x, y
INK = "#123456"  # stands for the page's text colour until the SVG is done
SIZE = 6.4, 2.6  # inches
SETTINGS: Any = {"svg.fonttype": "none", "svg.hashsalt": "page", "text.color": INK, "axes.edgecolor": INK,
            "axes.labelcolor": INK, "xtick.color": INK, "ytick.color": INK, "axes.spines.top": False,
            "axes.spines.right": False, "font.size": 9}


def line_chart(title: str, across: str, curves: Mapping[str, Curve], scale: str = "linear") -> str:
    """An <svg>. across: what x is. curves: (x, y) of each by its name; gaps where y is nan or infinite. scale: of y."""
    with rc_context(SETTINGS):
        figure = Figure(SIZE, layout="constrained")
        axes = figure.add_subplot()
        axes.set_title(title, loc="left", fontsize=10)
        axes.set_xlabel(across)
        axes.set_yscale(scale)
        for name, (x, y) in curves.items():
            axes.plot(x, y, label=name, linewidth=1.2)
        if list(curves) != [title]:
            axes.legend(frameon=False, fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))
        written = io.StringIO()
        figure.savefig(written, format="svg", transparent=True, metadata={"Date": None})
    svg = written.getvalue()
    return svg[svg.index("<svg"):].replace(INK, "currentColor")
