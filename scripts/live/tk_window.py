"""Images in a window of the desktop, as they are made."""

from __future__ import annotations

from types import TracebackType

import numpy as np
from PIL import Image

from util.errors import UserError


class TkWindow:
    """Shows what `show` was given last, until somebody closes it. UserError: there is no desktop, or no Tk."""

    def __init__(self, title: str) -> None:
        try:
            import tkinter

            from PIL import ImageTk
        except ImportError as problem:
            raise UserError(
                f"--window needs Tk ({problem}): install it (Debian: python3-tk), or leave the flag out "
                "and open the page in a browser"
            ) from problem
        try:
            self._root = tkinter.Tk()
        except tkinter.TclError as problem:
            raise UserError(
                f"--window needs a desktop ({problem}): leave it out and open the page in a browser"
            ) from problem
        self._root.title(title)
        self._root.protocol("WM_DELETE_WINDOW", self._on_close)
        self._label = tkinter.Label(self._root)
        self._label.pack()
        self._photo_image_class = ImageTk.PhotoImage
        self.location_hint, self.is_closed = f"in the window {title}", False

    def __enter__(self) -> TkWindow:
        return self

    def show(self, image: np.ndarray) -> None:
        """(H, W, 3) uint8 RGB."""
        self._current_photo = self._photo_image_class(
            Image.fromarray(image), master=self._root
        )  # Tk keeps no reference of its own
        self._label.configure(image=self._current_photo)
        self._root.update()

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._root.destroy()

    def _on_close(self) -> None:
        self.is_closed = True
