// SPDX-License-Identifier: Apache-2.0
// The user's own video beside its timeline; there is none where the page was written without --videos.

function playerOf(page) {
  if (!page.videos.media) return null;
  const video = html("video", { controls: true, preload: "metadata", muted: true });
  const note = html("p", { class: "note" });
  const node = html("div", { class: "player" }, video, note);
  let follower = () => {};
  let asked = null;
  video.addEventListener("timeupdate", () => follower(video.currentTime));
  video.addEventListener("error", () => {
    const file = video.getAttribute("src");
    if (!file) return;
    note.textContent = `This browser cannot play ${decodeURI(file)}; MP4 with H.264 and WebM play everywhere.`;
  });
  video.addEventListener("loadedmetadata", () => {
    if (asked !== null) video.currentTime = asked;
    asked = null;
  });
  return {
    node,
    video,
    follow: (act) => (follower = act),
    open(url) {
      asked = null;
      note.textContent = url
        ? "A click on the timeline goes to that moment."
        : "There is no file of this video in the folder that was given.";
      video.hidden = !url;
      if (url) video.setAttribute("src", url);
      else video.removeAttribute("src");
      video.load();
    },
    seek(time) {
      if (!video.getAttribute("src")) return;
      // Before its length is known a video cannot be moved.
      if (video.readyState > 0) video.currentTime = Math.max(0, time);
      else asked = Math.max(0, time);
    },
    toggle() {
      if (!video.getAttribute("src")) return;
      if (video.paused) video.play().catch(() => {});
      else video.pause();
    },
  };
}
