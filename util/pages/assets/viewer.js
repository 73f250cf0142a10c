// Every <section data-frames> is a viewer of one sequence: it holds one image of each stream, whatever its length.
// Keys, for the section in use: arrows or , . step; Home and End jump; space plays; [ ] move the slider.
"use strict";
const FRAMES_A_SECOND = 12;

function viewer(section) {
  const streams = JSON.parse(section.querySelector("script").textContent);
  const count = Math.max(...streams.map(stream => stream.frames.length));
  const [scrubber, place] = ["input.frame", "output"].map(part => section.querySelector(part));
  const cut = section.querySelector("input.cut");
  const videos = [...section.querySelectorAll("video")];
  let timer = null;

  function show(number) {
    number = Math.min(Math.max(number, 0), count - 1);
    scrubber.value = number;
    for (const image of section.querySelectorAll("img[data-stream]")) {
      const frames = streams[image.dataset.stream].frames;
      if (number < frames.length) image.src = frames[number];
    }
    place.textContent = `${number + 1} / ${count}`;
  }
  function step(by) { stop(); show(Number(scrubber.value) + by); }
  function stop() { clearInterval(timer); timer = null; }
  function play() {
    if (videos.length) return playTogether(videos);
    if (timer) return stop();
    timer = setInterval(() => show((Number(scrubber.value) + 1) % count), 1000 / FRAMES_A_SECOND);
  }
  function slide(percent) {
    cut.value = percent;
    section.style.setProperty("--cut", `${cut.value}%`);
  }

  const keys = { ArrowRight: () => step(1), ArrowLeft: () => step(-1), ".": () => step(1), ",": () => step(-1),
                 Home: () => step(-count), End: () => step(count), " ": play };
  if (cut) {
    cut.addEventListener("input", () => slide(cut.value));
    Object.assign(keys, { "[": () => slide(Number(cut.value) - 5), "]": () => slide(Number(cut.value) + 5) });
  }
  scrubber.addEventListener("input", () => step(0));
  section.querySelector("button.play").addEventListener("click", play);
  videos.forEach(video => video.addEventListener("seeked", () => follow(video, videos)));
  new IntersectionObserver((seen, observer) => {
    if (!seen.some(entry => entry.isIntersecting)) return;
    observer.disconnect();
    show(0);
  }, { rootMargin: "400px" }).observe(section);
  return { section, keys };
}

function playTogether(videos) {
  if (videos.every(video => !video.paused)) return videos.forEach(video => video.pause());
  videos.forEach(video => { video.currentTime = videos[0].ended ? 0 : videos[0].currentTime; });
  videos.forEach(video => video.play());
}

function follow(leader, videos) {
  for (const video of videos)
    if (Math.abs(video.currentTime - leader.currentTime) > 0.02) video.currentTime = leader.currentTime;
}

const viewers = [...document.querySelectorAll("section[data-frames]")].map(viewer);

document.addEventListener("keydown", event => {
  if (event.ctrlKey || event.metaKey || event.altKey || ["VIDEO", "A"].includes(event.target.tagName)) return;
  if (event.target.tagName === "BUTTON" && event.key === " ") return;
  const inUse = viewers.find(({ section }) => section.contains(event.target)) ?? viewers.find(({ section }) =>
    section.getBoundingClientRect().bottom > innerHeight / 3);
  const act = inUse?.keys[event.key];
  if (!act) return;
  event.preventDefault();
  act();
});
