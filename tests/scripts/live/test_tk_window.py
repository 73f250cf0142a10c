"""Tests of the desktop window. Without a desktop (a screen or `xvfb-run`), only its messages are tested."""

import sys
import tkinter

import numpy as np
import pytest

from scripts.live.tk_window import TkWindow
from util.errors import UserError


def has_desktop() -> bool:
    try:
        tkinter.Tk().destroy()
    except tkinter.TclError:
        return False
    return True


@pytest.mark.skipif(not has_desktop(), reason="needs a desktop: run under xvfb-run")
def test_images_are_displayed_until_the_window_is_closed() -> None:
    with TkWindow("live") as window:
        for gray in (40, 200):
            window.show(np.full((20, 30, 3), gray, np.uint8))
            photo = window._current_photo
            assert (photo.width(), photo.height()) == (30, 20)
            assert not window.is_closed
        root = window._root
        root.tk.call(*root.tk.splitlist(root.protocol("WM_DELETE_WINDOW")))
        assert window.is_closed


def test_missing_display_or_tk_is_refused_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    with pytest.raises(UserError, match=r"--window needs a desktop .*open the page in a browser"):
        TkWindow("live")
    monkeypatch.setitem(sys.modules, "tkinter", None)
    with pytest.raises(UserError, match=r"--window needs Tk .*python3-tk"):
        TkWindow("live")
