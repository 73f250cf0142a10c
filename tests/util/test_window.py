"""A window on a desktop, where there is one (`xvfb-run`, or a screen); else that its lack is said."""

import sys
import tkinter

import numpy as np
import pytest

from util.errors import UserError
from util.window import Window


def has_desktop() -> bool:
    try:
        tkinter.Tk().destroy()
    except tkinter.TclError:
        return False
    return True


@pytest.mark.skipif(not has_desktop(), reason="no desktop: run under xvfb-run to try the window")
def test_pictures_are_shown_until_somebody_closes_the_window() -> None:
    with Window("live") as window:
        for level in (40, 200):
            window.show(np.full((20, 30, 3), level, np.uint8))
            assert (window._shown.width(), window._shown.height(), window.closed) == (30, 20, False)
        root = window._root
        root.tk.call(*root.tk.splitlist(root.protocol("WM_DELETE_WINDOW")))
        assert window.closed


def test_without_a_desktop_or_tk_it_is_refused_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    with pytest.raises(UserError, match=r"--window needs a desktop .*open the page in a browser"):
        Window("live")
    monkeypatch.setitem(sys.modules, "tkinter", None)
    with pytest.raises(UserError, match=r"--window needs Tk .*python3-tk"):
        Window("live")
