"""Live images in a desktop window."""

from __future__ import annotations

from types import TracebackType

import numpy as np
from PIL import Image

from util.errors import UserError


class TkWindow:
    """A window with the latest image.

    Attributes:
        is_closed: the user has closed the window.
        location_hint: tells the user where the images are.
    """

    def __init__(self, title: str) -> None:
        """Open the window.

        Raises:
            UserError: there is no desktop, or Tk is not installed.
        """
        try:
            import tkinter

            from PIL import ImageTk
        except ImportError as error:
            raise UserError(
                f"--window needs Tk ({error}): install it (Debian: python3-tk), or leave --window out "
                "and open the page in a browser"
            ) from error
        try:
            self._root = tkinter.Tk()
        except tkinter.TclError as error:
            raise UserError(
                f"--window needs a desktop ({error}): leave it out and open the page in a browser"
            ) from error
        self._root.title(title)
        self._root.protocol("WM_DELETE_WINDOW", self._on_close)
        self._label = tkinter.Label(self._root)
        self._label.pack()
        self._photo_image_class = ImageTk.PhotoImage
        self.location_hint = f"in the window {title}"
        self.is_closed = False

    def __enter__(self) -> TkWindow:
        return self

    def show(self, image: np.ndarray) -> None:
        """Show an image (H, W, 3), uint8 RGB."""
        # A Tk label does not keep its image alive, so this object must.
        self._current_photo = self._photo_image_class(Image.fromarray(image), master=self._root)
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
