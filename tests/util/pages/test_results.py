"""Tests of util/pages/results.py."""

import json
import os
import re
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest

from tests.util.pages.html import HTMLElements
from util.images.visualization import save_image
from util.pages.results import ResultSequence, ResultStream, write_results_page

GRAY = np.full((4, 6, 3), 128, np.uint8)


@pytest.fixture
def results_page(tmp_path):
    """Two sequences whose names need quoting in URLs; the real images are in another folder."""
    sequences = []
    for name in ("a b#1", "50%<b>"):
        streams = []
        for title, root in (
            ("condition", "results"),
            ("generated", "results"),
            ("real", "datasets"),
        ):
            folder = tmp_path / root / name
            images = [folder / f"{title}_{t}.png" for t in range(2)]
            for path in images:
                save_image(path, GRAY)
            video = folder / f"{title}.mp4"
            video.touch()
            streams.append(ResultStream(title, images, video))
        sequences.append(ResultSequence(name, streams, note="31 dB"))
    write_results_page(tmp_path / "results", sequences, "run", 256)
    return tmp_path / "results" / "index.html"


def read_streams(page):
    """Return the streams of every sequence, as the viewer reads them."""
    pattern = r'<script type="application/json">(.*?)</script>'
    return [json.loads(block) for block in re.findall(pattern, page.read_text(encoding="utf-8"))]


def test_results_page_links_existing_files_by_relative_path(results_page):
    urls = [video["src"] for video in HTMLElements(results_page).attributes_of("video")]
    assert len(urls) == 6
    for streams in read_streams(results_page):
        assert [stream["title"] for stream in streams] == ["condition", "generated", "real"]
        assert all(len(stream["frames"]) == 2 for stream in streams)
        urls += [url for stream in streams for url in stream["frames"]]
    for url in urls:
        assert not url.startswith(("/", "file:", "http"))
        assert not re.search(r"[ #<]", url)
        assert Path(os.path.normpath(results_page.parent / unquote(url))).is_file()


def test_results_page_embeds_one_frame_per_stream_for_any_length(tmp_path):
    images = [tmp_path / f"s/fake_B_{i:05}.jpg" for i in range(10_000)]
    streams = [ResultStream("condition", images), ResultStream("generated", images)]
    write_results_page(tmp_path, [ResultSequence("s", streams)], "run", 256)
    page = tmp_path / "index.html"
    image_elements = HTMLElements(page).attributes_of("img")
    assert len(image_elements) == 2
    assert not any("src" in image for image in image_elements)
    assert len(read_streams(page)[0][1]["frames"]) == 10_000


def test_results_page_works_offline_and_labels_its_content(results_page):
    elements, text = HTMLElements(results_page), results_page.read_text()
    assert not elements.attributes_of("link") and "http" not in text and 'src="//' not in text
    assert "50%&lt;b&gt;" in text and "<b>" not in text
    assert "31 dB" in text and "2 sequences, 4 frames" in text
    videos = elements.attributes_of("video")
    assert all({"controls", "loop", "muted"} <= set(video) for video in videos)
    assert len(elements.attributes_of("meta")) == 2
    assert "prefers-color-scheme: dark" in text and "--width: 256px" in text


def test_results_page_without_real_images_and_videos(tmp_path):
    save_image(tmp_path / "s/fake.jpg", GRAY)
    streams = [ResultStream("condition", []), ResultStream("generated", [tmp_path / "s/fake.jpg"])]
    write_results_page(tmp_path, [ResultSequence("s", streams)], "run", 256)
    page = tmp_path / "index.html"
    assert read_streams(page) == [[{"title": "generated", "frames": ["s/fake.jpg"]}]]
    elements = HTMLElements(page)
    assert len(elements.attributes_of("img")) == 1 and not elements.attributes_of("video")
