"""Tests of util/pages/training.py."""

import numpy as np

from tests.util.pages.html import HTMLElements
from util.pages.training import (
    MAX_CURVE_POINTS,
    MAX_TRAINING_ENTRIES,
    TrainingPage,
    downsample_curve,
    render_loss_curves,
)

GRAY = np.full((4, 6, 3), 128, np.uint8)


def image_urls(page):
    return [image["src"] for image in HTMLElements(page).attributes_of("img")]


def test_training_page_lists_newest_first_in_visuals_order(tmp_path):
    page = TrainingPage(tmp_path, "run", 512)
    page.add_entry(1, 100, {"real": GRAY, "generated": GRAY, "condition": GRAY})
    page.add_entry(2, 90, {"zebra": GRAY, "generated": GRAY})
    urls = image_urls(tmp_path / "index.html")
    assert urls == [
        "images/epoch002_step000090_generated.jpg",
        "images/epoch002_step000090_zebra.jpg",
        "images/epoch001_step000100_condition.jpg",
        "images/epoch001_step000100_generated.jpg",
        "images/epoch001_step000100_real.jpg",
    ]
    assert all((tmp_path / url).is_file() for url in urls)


def test_training_page_of_a_resumed_run_keeps_the_old_entries(tmp_path):
    folders = uninterrupted, resumed = tmp_path / "uninterrupted", tmp_path / "resumed"
    for folder in folders:
        TrainingPage(folder, "run", 512).add_entry(999, 1, {"real": GRAY})
    page = TrainingPage(uninterrupted, "run", 512)
    page.add_entry(1000, 2, {"real": GRAY})
    TrainingPage(resumed, "run", 512).add_entry(1000, 2, {"real": GRAY})
    assert (uninterrupted / "index.html").read_text() == (resumed / "index.html").read_text()
    assert image_urls(resumed / "index.html") == [
        "images/epoch1000_step000002_real.jpg",
        "images/epoch999_step000001_real.jpg",
    ]


def test_training_page_is_bounded_and_reports_omitted_entries(tmp_path):
    (tmp_path / "images").mkdir()
    for step in range(MAX_TRAINING_ENTRIES + 3):
        (tmp_path / f"images/epoch001_step{step:06d}_real.jpg").touch()
    (tmp_path / "images/holiday.jpg").touch()  # not an entry
    TrainingPage(tmp_path, "run", 512).write()
    images = HTMLElements(tmp_path / "index.html").attributes_of("img")
    assert len(images) == MAX_TRAINING_ENTRIES
    assert images[0]["src"] == f"images/epoch001_step{MAX_TRAINING_ENTRIES + 2:06d}_real.jpg"
    assert all(image["loading"] == "lazy" for image in images)
    assert "3 older entries" in (tmp_path / "index.html").read_text()


def test_training_page_plots_the_losses_of_the_log(tmp_path):
    log = tmp_path / "loss_log.txt"
    log.write_text("==== started ====\n(epoch: 1, iters: 1, time: 0.1) D_fake: 0.5 G_GAN: 1.0\n")
    assert render_loss_curves(log) == []
    assert render_loss_curves(tmp_path / "absent.txt") == []
    with log.open("a") as file:
        file.write("(epoch: 1, iters: 2, time: 0.1) D_fake: 0.4 D_real: 0.4 G_GAN: 2.0\n")
    generator, discriminators = render_loss_curves(log)
    assert "G_GAN" in generator and "D_fake" not in generator and "currentColor" in generator
    assert "D_fake" in discriminators


def test_long_curve_is_plotted_by_local_means():
    x, y = downsample_curve(range(1000), [float(i % 2) for i in range(1000)])
    assert len(x) == len(y) == MAX_CURVE_POINTS
    assert x[0] == 2 and set(y) <= {0.4, 0.6}
