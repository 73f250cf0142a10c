import io
import threading
from urllib.request import urlopen

import numpy as np
import pytest
from PIL import Image

from scripts.live.mjpeg import MjpegServer
from util.errors import UserError


def next_image(answer):
    length = next(
        int(line.split(b":")[1])
        for line in iter(answer.readline, b"")
        if line.startswith(b"Content-Length")
    )
    answer.readline()
    with Image.open(io.BytesIO(answer.read(length))) as image:
        return int(np.asarray(image)[0, 0, 0])


def test_browser_receives_images_as_they_are_generated():
    with MjpegServer(0) as page:
        page.show(np.full((16, 16, 3), 40, np.uint8))
        with urlopen(page.url, timeout=10) as answer:
            assert "multipart/x-mixed-replace" in answer.headers["Content-Type"]
            assert abs(next_image(answer) - 40) < 4
            threading.Timer(0.05, page.show, [np.full((16, 16, 3), 200, np.uint8)]).start()
            assert abs(next_image(answer) - 200) < 4


def test_a_port_that_is_taken_is_refused():
    with MjpegServer(0) as page:
        port = int(page.url.rstrip("/").split(":")[-1])
        with pytest.raises(UserError, match=rf"--port {port}: .*give another"):
            MjpegServer(port)
