import json
import os
import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest

from util.images.visualization import save_image
from util.pages.results import (
    MAX_CURVE_POINTS,
    MAX_TRAINING_ENTRIES,
    ResultSequence,
    ResultStream,
    TrainingPage,
    downsample_curve,
    render_loss_curves,
    write_results_page,
)

GREY = np.full((4, 6, 3), 128, np.uint8)


class Elements(HTMLParser):
    """Every element of a page as (tag, attributes)."""

    def __init__(self, page: Path):
        super().__init__()
        self.found = []
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def of(self, tag):
        return [attributes for name, attributes in self.found if name == tag]


def test_training_page_lists_newest_first_in_visuals_order(tmp_path):
    page = TrainingPage(tmp_path, "run", 512)
    page.add_entry(1, 100, {"real": GREY, "generated": GREY, "condition": GREY})
    page.add_entry(2, 90, {"zebra": GREY, "generated": GREY})
    shown = [image["src"] for image in Elements(tmp_path / "index.html").of("img")]
    assert shown == [
        "images/epoch002_step000090_generated.jpg",
        "images/epoch002_step000090_zebra.jpg",
        "images/epoch001_step000100_condition.jpg",
        "images/epoch001_step000100_generated.jpg",
        "images/epoch001_step000100_real.jpg",
    ]
    assert all((tmp_path / name).is_file() for name in shown)


def test_training_page_of_a_resumed_run_keeps_the_old_entries(tmp_path):
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    for folder in (whole, resumed):
        TrainingPage(folder, "run", 512).add_entry(999, 1, {"real": GREY})
    page = TrainingPage(whole, "run", 512)
    page.add_entry(1000, 2, {"real": GREY})
    TrainingPage(resumed, "run", 512).add_entry(1000, 2, {"real": GREY})
    assert (whole / "index.html").read_text() == (resumed / "index.html").read_text()
    assert [image["src"][:16] for image in Elements(whole / "index.html").of("img")] == [
        "images/epoch1000",
        "images/epoch999_",
    ]


def test_training_page_is_bounded_and_reports_omitted_entries(tmp_path):
    (tmp_path / "images").mkdir()
    for step in range(MAX_TRAINING_ENTRIES + 3):
        (tmp_path / f"images/epoch001_step{step:06d}_real.jpg").touch()
    (tmp_path / "images/holiday.jpg").touch()  # not an entry
    TrainingPage(tmp_path, "run", 512).write()
    images = Elements(tmp_path / "index.html").of("img")
    assert len(images) == MAX_TRAINING_ENTRIES
    assert images[0]["src"] == f"images/epoch001_step{MAX_TRAINING_ENTRIES + 2:06d}_real.jpg"
    assert all(image["loading"] == "lazy" for image in images)
    assert "3 older entries" in (tmp_path / "index.html").read_text()


@pytest.fixture
def results(tmp_path):
    """A written results page: two sequences with names that an address has to quote, the real images elsewhere."""
    sequences = []
    for name in ("a b#1", "50%<b>"):
        streams = []
        for title, home in (
            ("condition", "results"),
            ("generated", "results"),
            ("real", "datasets"),
        ):
            images = [tmp_path / home / name / f"{title}_{t}.png" for t in range(2)]
            for path in images:
                save_image(path, GREY)
            video = tmp_path / home / name / f"{title}.mp4"
            video.touch()
            streams.append(ResultStream(title, images, video))
        sequences.append(ResultSequence(name, streams, note="31 dB"))
    write_results_page(tmp_path / "results", sequences, "run", 256)
    return tmp_path / "results" / "index.html"


def frames_of(page):
    """Every sequence's streams, as the viewer reads them."""
    blocks = re.findall(
        r'<script type="application/json">(.*?)</script>', page.read_text(encoding="utf-8")
    )
    return [json.loads(block) for block in blocks]


def test_results_page_links_existing_files_by_relative_path(results):
    addresses = [video["src"] for video in Elements(results).of("video")]
    assert len(addresses) == 6
    for streams in frames_of(results):
        assert [stream["title"] for stream in streams] == ["condition", "generated", "real"]
        assert all(len(stream["frames"]) == 2 for stream in streams)
        addresses += [address for stream in streams for address in stream["frames"]]
    for address in addresses:
        assert not address.startswith(("/", "file:", "http"))
        assert not re.search(r"[ #<]", address)
        assert Path(os.path.normpath(results.parent / unquote(address))).is_file()


def test_results_page_embeds_one_frame_per_stream_for_any_length(tmp_path):
    images = [tmp_path / f"s/fake_B_{number:05}.jpg" for number in range(10_000)]
    streams = [ResultStream("condition", images), ResultStream("generated", images)]
    write_results_page(tmp_path, [ResultSequence("s", streams)], "run", 256)
    page = Elements(tmp_path / "index.html")
    assert len(page.of("img")) == 2 and not any("src" in image for image in page.of("img"))
    assert len(frames_of(tmp_path / "index.html")[0][1]["frames"]) == 10_000


def test_results_page_works_offline_and_labels_its_content(results):
    page, text = Elements(results), results.read_text()
    assert not page.of("link") and "http" not in text and 'src="//' not in text
    assert "50%&lt;b&gt;" in text and "<b>" not in text
    assert "31 dB" in text and "2 sequences, 4 frames" in text
    assert all({"controls", "loop", "muted"} <= set(video) for video in page.of("video"))
    assert len(page.of("meta")) == 2
    assert "prefers-color-scheme: dark" in text and "--width: 256px" in text


def test_results_page_without_real_images_and_videos(tmp_path):
    save_image(tmp_path / "s/fake.jpg", GREY)
    streams = [ResultStream("condition", []), ResultStream("generated", [tmp_path / "s/fake.jpg"])]
    write_results_page(tmp_path, [ResultSequence("s", streams)], "run", 256)
    page = Elements(tmp_path / "index.html")
    assert frames_of(tmp_path / "index.html") == [
        [{"title": "generated", "frames": ["s/fake.jpg"]}]
    ]
    assert len(page.of("img")) == 1 and not page.of("video")


def test_training_page_plots_the_losses_of_the_log(tmp_path):
    log = tmp_path / "loss_log.txt"
    log.write_text("==== started ====\n(epoch: 1, iters: 1, time: 0.1) D_fake: 0.5 G_GAN: 1.0\n")
    assert render_loss_curves(log) == [] and render_loss_curves(tmp_path / "absent.txt") == []
    with log.open("a") as file:
        file.write("(epoch: 1, iters: 2, time: 0.1) D_fake: 0.4 D_real: 0.4 G_GAN: 2.0\n")
    generator, discriminators = render_loss_curves(log)
    assert "G_GAN" in generator and "D_fake" not in generator and "currentColor" in generator
    assert "D_fake" in discriminators


def test_long_curve_is_plotted_by_local_means():
    x, y = downsample_curve(range(1000), [float(number % 2) for number in range(1000)])
    assert len(x) == len(y) == MAX_CURVE_POINTS and x[0] == 2 and set(y) <= {0.4, 0.6}
