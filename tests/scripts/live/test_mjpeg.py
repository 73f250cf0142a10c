"""Tests of the image stream for browsers."""

import io
import threading
from urllib.request import urlopen

import numpy as np
import pytest
from PIL import Image

from scripts.live.mjpeg import MjpegServer
from util.errors import UserError


def read_gray_value(response):
    """Read the next JPEG of the stream and return the value of its first pixel."""
    header = response.readline()
    while not header.startswith(b"Content-Length"):
        assert header, "the stream ended"
        header = response.readline()
    response.readline()
    length = int(header.split(b":")[1])
    with Image.open(io.BytesIO(response.read(length))) as image:
        return int(np.asarray(image)[0, 0, 0])


def test_browser_receives_images_as_they_are_generated():
    with MjpegServer(0) as server:
        server.show(np.full((16, 16, 3), 40, np.uint8))
        with urlopen(server.url, timeout=10) as response:
            assert "multipart/x-mixed-replace" in response.headers["Content-Type"]
            assert abs(read_gray_value(response) - 40) < 4
            threading.Timer(0.05, server.show, [np.full((16, 16, 3), 200, np.uint8)]).start()
            assert abs(read_gray_value(response) - 200) < 4


def test_a_port_that_is_taken_is_refused():
    with MjpegServer(0) as server:
        port = int(server.url.rstrip("/").split(":")[-1])
        with pytest.raises(UserError, match=rf"--port {port}: .*use another port"):
            MjpegServer(port)
