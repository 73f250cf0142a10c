// Viewer of a results page: each <section data-frames> displays one sequence with one image element
// per stream, for any number of frames.
// Keys of the active section: arrows or , . step; Home and End jump; space plays; [ ] move the slider.
"use strict";
const FRAMES_PER_SECOND = 12;
const SLIDER_STEP = 5;  // percent
const MAX_VIDEO_OFFSET = 0.02;  // seconds

function createViewer(section) {
  const streams = JSON.parse(section.querySelector("script").textContent);
  const frameCount = Math.max(...streams.map(stream => stream.frames.length));
  const frameSlider = section.querySelector("input.frame");
  const frameLabel = section.querySelector("output");
  const cutSlider = section.querySelector("input.cut");  // null without a comparison
  const videos = [...section.querySelectorAll("video")];
  let timer = null;

  function showFrame(index) {
    index = Math.min(Math.max(index, 0), frameCount - 1);
    frameSlider.value = index;
    for (const image of section.querySelectorAll("img[data-stream]")) {
      const frames = streams[image.dataset.stream].frames;
      if (index < frames.length) image.src = frames[index];
    }
    frameLabel.textContent = `${index + 1} / ${frameCount}`;
  }
  function step(offset) {
    stop();
    showFrame(Number(frameSlider.value) + offset);
  }
  function stop() {
    clearInterval(timer);
    timer = null;
  }
  function play() {
    if (videos.length) return toggleVideos(videos);
    if (timer) return stop();
    const showNext = () => showFrame((Number(frameSlider.value) + 1) % frameCount);
    timer = setInterval(showNext, 1000 / FRAMES_PER_SECOND);
  }
  function moveCut(percent) {
    cutSlider.value = percent;
    section.style.setProperty("--cut", `${cutSlider.value}%`);
  }

  const keys = {
    ArrowRight: () => step(1),
    ArrowLeft: () => step(-1),
    ".": () => step(1),
    ",": () => step(-1),
    Home: () => step(-frameCount),
    End: () => step(frameCount),
    " ": play,
  };
  if (cutSlider) {
    cutSlider.addEventListener("input", () => moveCut(cutSlider.value));
    keys["["] = () => moveCut(Number(cutSlider.value) - SLIDER_STEP);
    keys["]"] = () => moveCut(Number(cutSlider.value) + SLIDER_STEP);
  }
  frameSlider.addEventListener("input", () => step(0));
  section.querySelector("button.play").addEventListener("click", play);
  videos.forEach(video => video.addEventListener("seeked", () => synchronizeVideos(video, videos)));
  // Load the first frame only when the section comes near the visible part of the page.
  new IntersectionObserver((entries, observer) => {
    if (!entries.some(entry => entry.isIntersecting)) return;
    observer.disconnect();
    showFrame(0);
  }, { rootMargin: "400px" }).observe(section);
  return { section, keys };
}

function toggleVideos(videos) {
  if (videos.every(video => !video.paused)) return videos.forEach(video => video.pause());
  const time = videos[0].ended ? 0 : videos[0].currentTime;
  videos.forEach(video => { video.currentTime = time; });
  videos.forEach(video => video.play());
}

function synchronizeVideos(source, videos) {
  for (const video of videos)
    if (Math.abs(video.currentTime - source.currentTime) > MAX_VIDEO_OFFSET) video.currentTime = source.currentTime;
}

const viewers = [...document.querySelectorAll("section[data-frames]")].map(createViewer);

// The active viewer has the focus, else it is the first in the visible part of the page.
function findActiveViewer(target) {
  return viewers.find(({ section }) => section.contains(target)) ??
    viewers.find(({ section }) => section.getBoundingClientRect().bottom > innerHeight / 3);
}

document.addEventListener("keydown", event => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const tag = event.target.tagName;
  if (["VIDEO", "A"].includes(tag)) return;
  if (tag === "BUTTON" && event.key === " ") return;
  const action = findActiveViewer(event.target)?.keys[event.key];
  if (!action) return;
  event.preventDefault();
  action();
});
