"""Live images in a browser: a multipart JPEG stream on localhost."""

from __future__ import annotations

import io
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Condition, Thread
from types import TracebackType

import numpy as np
from PIL import Image

from util.errors import UserError

_MULTIPART_BOUNDARY = b"frame"


class MjpegServer:
    """Serves the latest image. A slow browser skips images and delays nothing.

    Attributes:
        is_closed: always False, since browsers may connect at any time.
        url: address of the stream.
        location_hint: tells the user how to see the images.
    """

    is_closed = False

    def __init__(self, port: int) -> None:
        """Bind the port on localhost; 0 selects a free one.

        Raises:
            UserError: the port is in use.
        """
        self._latest_jpeg = b""
        self._frame_number = 0
        self._new_frame = Condition()
        try:
            self._server = ThreadingHTTPServer(("127.0.0.1", port), self._make_handler())
        except OSError as error:
            raise UserError(
                f"--port {port}: {error.strerror}: use another port, or 0 for a free one"
            ) from error
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/"
        self.location_hint = f"open {self.url}"

    def __enter__(self) -> MjpegServer:
        Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def show(self, image: np.ndarray) -> None:
        """Send an image (H, W, 3), uint8 RGB, to all connected browsers."""
        jpeg = io.BytesIO()
        Image.fromarray(image).save(jpeg, "JPEG")
        with self._new_frame:
            self._latest_jpeg = jpeg.getvalue()
            self._frame_number += 1
            self._new_frame.notify_all()

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _iterate_jpegs(self) -> Iterator[bytes]:
        """Yield the latest JPEG, each time that it has changed."""
        sent_frame_number = 0
        while True:
            with self._new_frame:
                while self._frame_number == sent_frame_number:
                    self._new_frame.wait()
                jpeg = self._latest_jpeg
                sent_frame_number = self._frame_number
            yield jpeg

    def _make_handler(self) -> type[BaseHTTPRequestHandler]:
        iterate_jpegs = self._iterate_jpegs

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                boundary = _MULTIPART_BOUNDARY.decode()
                self.send_response(200)
                self.send_header("Content-Type", f"multipart/x-mixed-replace; boundary={boundary}")
                self.end_headers()
                try:
                    for jpeg in iterate_jpegs():
                        self.wfile.write(
                            b"--%s\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%s\r\n"
                            % (_MULTIPART_BOUNDARY, len(jpeg), jpeg)
                        )
                except ConnectionError:
                    self.close_connection = True  # the browser closed the page

            def log_message(self, format: str, *args: object) -> None:
                """Log nothing: the default writes a line per request."""

        return Handler
