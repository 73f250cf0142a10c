"""The pages in a real browser: keyboard, slider, playing together, colours, and 10,000 frames at once."""

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


@pytest.fixture(scope="module")
def browser():
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in ("headless=new", "no-sandbox", "disable-dev-shm-usage", "window-size=1100,900"):
        options.add_argument(f"--{argument}")
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


def page_of(root, count, videos=False):
    """Sequences `one` and `two` of numbered frames; the files of a long one are a few that are shown again."""
    sequences = []
    for name in ("one", "two"):
        streams = []
        for title, shade in (("condition", 60), ("generated", 120), ("real", 180)):
            files = [root / name / f"{title}_{number:05}.jpg" for number in range(min(count, 20))]
            for number, path in enumerate(files):
                image = np.full((90, 160, 3), shade, np.uint8)
                save_image(
                    path, cv2.putText(image, str(number), (40, 60), 0, 1.5, (255, 255, 255), 3)
                )
            video = root / name / f"{title}.mp4"
            if videos:
                with VideoWriter(video, 25, (160, 90)) as writer:
                    for number in range(50):
                        writer.write(np.full((90, 160, 3), 2 * number, np.uint8))
            images = [files[number % len(files)] for number in range(count)]
            streams.append(ResultStream(title, images, video if videos else None))
        sequences.append(ResultSequence(name, streams))
    write_results_page(root, sequences, "run", 256)
    return (root / "index.html").as_uri()


def shown(browser, stream="generated"):
    """The number in the name of the file that the first viewer shows."""
    source = browser.execute_script(
        "return document.querySelector(`section img[alt=${arguments[0]}]`).src", stream
    )
    return int(source[-9:-4])


def press(browser, *keys):
    for key in keys:
        browser.execute_script(
            "document.body.dispatchEvent(new KeyboardEvent('keydown', "
            "{key: arguments[0], bubbles: true}))",
            key,
        )


def wait(browser, script, *arguments):
    end = time.monotonic() + 20
    while not (answer := browser.execute_script(script, *arguments)):
        assert time.monotonic() < end, script
        time.sleep(0.05)
    return answer


LOADED = "return [...document.images].every(image => !image.src || image.complete && image.naturalWidth > 0)"


def test_keys_step_and_jump_within_bounds(browser, tmp_path):
    browser.get(page_of(tmp_path, 5))
    wait(browser, "return document.querySelector('section img').src != ''")
    assert shown(browser) == 0
    press(browser, "ArrowRight", ".")
    assert shown(browser) == 2 and shown(browser, "real") == 2
    press(browser, "ArrowLeft", "End", "ArrowRight")
    assert (
        shown(browser) == 4
        and browser.execute_script("return document.querySelector('output').value") == "5 / 5"
    )
    press(browser, "Home", ",")
    assert shown(browser) == 0
    wait(browser, LOADED)
    severe = [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
    assert severe == []
    asked = "return performance.getEntriesByType('resource').map(entry => entry.name)"
    assert all(
        name.startswith("file:") for name in browser.execute_script(asked)
    )  # the network is not needed


def test_slider_divides_fake_and_real(browser, tmp_path):
    browser.get(page_of(tmp_path, 3))
    cut = (
        "const input = document.querySelector('input.cut'); input.value = 25;"
        "input.dispatchEvent(new Event('input'));"
        "return getComputedStyle(document.querySelectorAll('.compare img')[1]).clipPath"
    )
    assert browser.execute_script(cut) == "inset(0px 0px 0px 25%)"
    press(browser, "]", "]")
    assert browser.execute_script("return document.querySelector('input.cut').value") == "35"


def test_play_without_videos_runs_through_the_frames(browser, tmp_path):
    browser.get(page_of(tmp_path, 20))
    wait(browser, "return document.querySelector('section img').src != ''")
    press(browser, " ")
    wait(browser, "return document.querySelector('input.frame').value >= 3")
    press(browser, " ")
    stopped = shown(browser)
    time.sleep(0.3)
    assert shown(browser) == stopped


def test_videos_play_and_seek_together(browser, tmp_path):
    browser.get(page_of(tmp_path, 3, videos=True))
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
    address = page_of(tmp_path, 10_000)
    began = time.monotonic()
    browser.get(address)
    wait(browser, "return document.querySelector('section img').src != ''")
    assert time.monotonic() - began < 10
    loaded = browser.execute_script(
        "return performance.getEntriesByType('resource').filter(entry => entry.initiatorType == 'img').length"
    )
    assert loaded <= 10 and browser.execute_script("return document.images.length") == 10
    press(browser, "End")
    assert (
        browser.execute_script("return document.querySelector('output').value") == "10000 / 10000"
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_follows_the_system_color_scheme_with_readable_contrast(browser, tmp_path, scheme):
    browser.execute_cdp_cmd(
        "Emulation.setEmulatedMedia",
        {"features": [{"name": "prefers-color-scheme", "value": scheme}]},
    )
    browser.get(page_of(tmp_path, 2))
    paper, ink = (
        sum(
            map(
                int,
                browser.execute_script(f"return getComputedStyle(document.body).{name}")
                .strip("rgb()")
                .split(","),
            )
        )
        / 3
        for name in ("backgroundColor", "color")
    )
    assert abs(paper - ink) > 150 and (paper > ink) == (scheme == "light")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_training_page_plots_losses_in_the_system_color_scheme(browser, tmp_path, scheme):
    lines = [
        f"(epoch: 1, iters: {n}, time: 0.1) D_fake: {1 / n:.3f} G_GAN: {2 / n:.3f} \n"
        for n in range(1, 30)
    ]
    (tmp_path / "loss_log.txt").write_text("".join(lines))
    page = TrainingPage(tmp_path / "web", "run", 128)
    page.add_entry(
        1,
        5,
        {name: np.full((48, 64, 3), 99, np.uint8) for name in ("condition", "generated", "real")},
    )
    browser.execute_cdp_cmd(
        "Emulation.setEmulatedMedia",
        {"features": [{"name": "prefers-color-scheme", "value": scheme}]},
    )
    browser.get((tmp_path / "web/index.html").as_uri())
    wait(browser, LOADED)
    chart, paper = browser.execute_script(
        "const chart = document.querySelector('svg');"
        "return [chart.getBoundingClientRect().width, getComputedStyle(document.body).backgroundColor]"
    )
    assert chart > 200 and len(browser.find_elements("css selector", "section img")) == 3
    assert (sum(map(int, paper.strip("rgb()").split(","))) > 382) == (scheme == "light")
