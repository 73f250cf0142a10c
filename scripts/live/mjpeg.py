"""Images to a browser as they are made: multipart JPEG on localhost."""

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
    """Serves what `show` was given last, at `address`; a slow browser skips images, and slows nobody.

    port: 0 for any that is free. UserError: it is taken. closed: never, browsers come and go."""

    is_closed = False

    def __init__(self, port: int) -> None:
        self._latest_jpeg = b""
        self._frame_number = 0
        self._new_frame = Condition()
        try:
            self._server = ThreadingHTTPServer(("127.0.0.1", port), self._make_handler())
        except OSError as problem:
            raise UserError(
                f"--port {port}: {problem.strerror}: give another, or 0 for any that is free"
            ) from problem
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/"
        self.location_hint = f"open {self.url}"

    def __enter__(self) -> MjpegServer:
        Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def show(self, image: np.ndarray) -> None:
        """(H, W, 3) uint8 RGB."""
        written = io.BytesIO()
        Image.fromarray(image).save(written, "JPEG")
        with self._new_frame:
            self._latest_jpeg, self._frame_number = written.getvalue(), self._frame_number + 1
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
        seen = 0
        while True:
            with self._new_frame:
                while self._frame_number == seen:
                    self._new_frame.wait()
                newest, seen = self._latest_jpeg, self._frame_number
            yield newest

    def _make_handler(self) -> type[BaseHTTPRequestHandler]:
        images = self._iterate_jpegs

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header(
                    "Content-Type",
                    f"multipart/x-mixed-replace; boundary={_MULTIPART_BOUNDARY.decode()}",
                )
                self.end_headers()
                try:
                    for jpeg in images():
                        self.wfile.write(
                            b"--%s\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%s\r\n"
                            % (_MULTIPART_BOUNDARY, len(jpeg), jpeg)
                        )
                except ConnectionError:
                    self.close_connection = True  # the browser went away

            def log_message(self, format: str, *args: object) -> None:
                """A line for every request is not wanted."""

        return Handler
