"""Tests of the pages in Chromium: keys, slider, synchronized videos, colors and 10,000 frames."""

import shutil
import time

import cv2
import numpy as np
import pytest

from util.images.visualization import save_image
from util.io.video import VideoWriter
from util.pages.results import ResultSequence, ResultStream, write_results_page
from util.pages.training import TrainingPage

webdriver = pytest.importorskip(
    "selenium.webdriver", reason="needs selenium: pip install -e .[browser]"
)
CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="needs a browser: apt install chromium chromium-driver"
)

HAS_SOURCE = "return document.querySelector('section img').src != ''"
HAS_LOADED = (
    "return [...document.images].every("
    "image => !image.src || image.complete && image.naturalWidth > 0)"
)


@pytest.fixture(scope="module")
def browser():
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in ("headless=new", "no-sandbox", "disable-dev-shm-usage", "window-size=1100,900"):
        options.add_argument(f"--{argument}")
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


def write_numbered_images(folder, title, gray, n_images):
    paths = [folder / f"{title}_{i:05}.jpg" for i in range(n_images)]
    for i, path in enumerate(paths):
        image = np.full((90, 160, 3), gray, np.uint8)
        cv2.putText(image, str(i), (40, 60), 0, 1.5, (255, 255, 255), 3)
        save_image(path, image)
    return paths


def write_brightening_video(path):
    with VideoWriter(path, 25, (160, 90)) as writer:
        for i in range(50):
            writer.write(np.full((90, 160, 3), 2 * i, np.uint8))
    return path


def write_numbered_page(root, n_frames, has_videos=False):
    """Write a page of two sequences, `one` and `two`, and return its URL.

    Frames show their number; a long sequence repeats a few files.
    """
    sequences = []
    for name in ("one", "two"):
        streams = []
        for title, gray in (("condition", 60), ("generated", 120), ("real", 180)):
            paths = write_numbered_images(root / name, title, gray, min(n_frames, 20))
            images = [paths[i % len(paths)] for i in range(n_frames)]
            video = write_brightening_video(root / name / f"{title}.mp4") if has_videos else None
            streams.append(ResultStream(title, images, video))
        sequences.append(ResultSequence(name, streams))
    write_results_page(root, sequences, "run", 256)
    return (root / "index.html").as_uri()


def displayed_frame(browser, stream="generated"):
    """Return the number in the name of the file that the first viewer displays."""
    source = browser.execute_script(
        "return document.querySelector(`section img[alt=${arguments[0]}]`).src", stream
    )
    return int(source[-9:-4])


def output_text(browser):
    return browser.execute_script("return document.querySelector('output').value")


def press(browser, *keys):
    for key in keys:
        browser.execute_script(
            "document.body.dispatchEvent(new KeyboardEvent('keydown', "
            "{key: arguments[0], bubbles: true}))",
            key,
        )


def wait(browser, script, *arguments):
    """Run the script until its result is true, and return the result."""
    end = time.monotonic() + 20
    while not (result := browser.execute_script(script, *arguments)):
        assert time.monotonic() < end, script
        time.sleep(0.05)
    return result


def emulate_color_scheme(browser, scheme):
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


def brightness(css_color):
    """Return the mean of the three channels of `rgb(r, g, b)`."""
    return sum(map(int, css_color.strip("rgb()").split(","))) / 3


def test_keys_step_and_jump_within_bounds(browser, tmp_path):
    browser.get(write_numbered_page(tmp_path, 5))
    wait(browser, HAS_SOURCE)
    assert displayed_frame(browser) == 0
    press(browser, "ArrowRight", ".")
    assert displayed_frame(browser) == 2 and displayed_frame(browser, "real") == 2
    press(browser, "ArrowLeft", "End", "ArrowRight")
    assert displayed_frame(browser) == 4 and output_text(browser) == "5 / 5"
    press(browser, "Home", ",")
    assert displayed_frame(browser) == 0
    wait(browser, HAS_LOADED)
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []
    resources = browser.execute_script(
        "return performance.getEntriesByType('resource').map(entry => entry.name)"
    )
    assert all(url.startswith("file:") for url in resources)  # works offline


def test_slider_divides_fake_and_real(browser, tmp_path):
    browser.get(write_numbered_page(tmp_path, 3))
    clip_path = browser.execute_script(
        "const input = document.querySelector('input.cut'); input.value = 25;"
        "input.dispatchEvent(new Event('input'));"
        "return getComputedStyle(document.querySelectorAll('.compare img')[1]).clipPath"
    )
    assert clip_path == "inset(0px 0px 0px 25%)"
    press(browser, "]", "]")
    assert browser.execute_script("return document.querySelector('input.cut').value") == "35"


def test_play_without_videos_runs_through_the_frames(browser, tmp_path):
    browser.get(write_numbered_page(tmp_path, 20))
    wait(browser, HAS_SOURCE)
    press(browser, " ")
    wait(browser, "return document.querySelector('input.frame').value >= 3")
    press(browser, " ")
    stopped_at = displayed_frame(browser)
    time.sleep(0.3)
    assert displayed_frame(browser) == stopped_at


def test_videos_play_and_seek_together(browser, tmp_path):
    browser.get(write_numbered_page(tmp_path, 3, has_videos=True))
    wait(
        browser,
        "return [...document.querySelectorAll('video')].every(video => video.readyState > 0)",
    )
    browser.execute_script("document.querySelector('button.play').click()")
    wait(browser, "return document.querySelector('video').currentTime > 0.2")
    times = browser.execute_script(
        "const videos = [...document.querySelectorAll('section video')].slice(0, 3);"
        "videos.forEach(video => video.pause()); return videos.map(v => v.currentTime)"
    )
    assert max(times) - min(times) < 0.15
    browser.execute_script("document.querySelector('video').currentTime = 1.2")
    wait(
        browser,
        "return [...document.querySelectorAll('section video')].slice(0, 3)"
        ".every(video => Math.abs(video.currentTime - 1.2) < 0.05)",
    )
    assert browser.execute_script("return document.querySelectorAll('video')[3].currentTime") == 0


def test_ten_thousand_frames_open_at_once(browser, tmp_path):
    url = write_numbered_page(tmp_path, 10_000)
    start = time.monotonic()
    browser.get(url)
    wait(browser, HAS_SOURCE)
    assert time.monotonic() - start < 10
    n_loaded = browser.execute_script(
        "return performance.getEntriesByType('resource')"
        ".filter(entry => entry.initiatorType == 'img').length"
    )
    assert n_loaded <= 10
    assert browser.execute_script("return document.images.length") == 10
    press(browser, "End")
    assert output_text(browser) == "10000 / 10000"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_follows_the_system_color_scheme_with_readable_contrast(browser, tmp_path, scheme):
    emulate_color_scheme(browser, scheme)
    browser.get(write_numbered_page(tmp_path, 2))
    background, text = (
        brightness(browser.execute_script(f"return getComputedStyle(document.body).{name}"))
        for name in ("backgroundColor", "color")
    )
    assert abs(background - text) > 150
    assert (background > text) == (scheme == "light")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_training_page_plots_losses_in_the_system_color_scheme(browser, tmp_path, scheme):
    lines = [
        f"(epoch: 1, iters: {n}, time: 0.1) D_fake: {1 / n:.3f} G_GAN: {2 / n:.3f} \n"
        for n in range(1, 30)
    ]
    (tmp_path / "loss_log.txt").write_text("".join(lines))
    image = np.full((48, 64, 3), 99, np.uint8)
    images = dict.fromkeys(("condition", "generated", "real"), image)
    TrainingPage(tmp_path / "web", "run", 128).add_entry(1, 5, images)
    emulate_color_scheme(browser, scheme)
    browser.get((tmp_path / "web/index.html").as_uri())
    wait(browser, HAS_LOADED)
    chart_width, background = browser.execute_script(
        "const chart = document.querySelector('svg');"
        "return [chart.getBoundingClientRect().width, getComputedStyle(document.body).backgroundColor]"
    )
    assert chart_width > 200
    assert len(browser.find_elements("css selector", "section img")) == 3
    assert (brightness(background) > 127) == (scheme == "light")
