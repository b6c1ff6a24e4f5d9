// SPDX-License-Identifier: Apache-2.0
// What mouse, keyboard and the video do to the timeline.

function control(state, parts) {
  const node = parts.figure;
  const area = (event) => event.target.closest?.(".area") && parts.timeline;
  let drag = null;
  const redraw = throttled(() => parts.figure.draw());

  node.addEventListener("pointermove", (event) => {
    if (drag) return move(event);
    const read = event.target.read;
    if (read) showTip(event.clientX, event.clientY, read());
    else hideTip();
  });
  node.addEventListener("pointerleave", hideTip);
  node.addEventListener("pointerdown", (event) => {
    if (!area(event) || event.button) return;
    drag = { x: event.clientX, from: state.view.from, to: state.view.to, moved: false };
  });
  const move = (event) => {
    const width = parts.timeline.getBoundingClientRect().width;
    const distance = event.clientX - drag.x;
    drag.moved ||= Math.abs(distance) > 4;
    if (!drag.moved) return;
    hideTip();
    show(state, drag.from - (distance / width) * (drag.to - drag.from), drag.to - drag.from);
    redraw();
  };
  window.addEventListener("pointerup", (event) => {
    if (drag && !drag.moved && area(event)) {
      const x = event.clientX - parts.timeline.getBoundingClientRect().left;
      if (parts.timeline.inside(x)) seek(state, parts, parts.timeline.toTime(x));
      parts.area.focus({ preventScroll: true });
    }
    drag = null;
  });
  node.addEventListener("click", (event) => {
    if (!parts.strip || event.target.closest("svg") !== parts.strip) return;
    const length = state.view.to - state.view.from;
    show(state, parts.strip.toTime(event.clientX - parts.strip.getBoundingClientRect().left) - length / 2, length);
    redraw();
  });
  node.addEventListener("wheel", (event) => {
    // Alone it scrolls the page.
    if (!area(event) || !(event.ctrlKey || event.metaKey)) return;
    event.preventDefault();
    const at = parts.timeline.toTime(event.clientX - parts.timeline.getBoundingClientRect().left);
    zoom(state, parts, event.deltaY > 0 ? 1.25 : 0.8, at, redraw);
  }, { passive: false });
  node.addEventListener("keydown", (event) => {
    if (event.target !== parts.area || event.ctrlKey || event.metaKey || event.altKey) return;
    const act = KEYBOARD[event.key];
    if (!act) return;
    event.preventDefault();
    act(state, parts);
  });
  parts.player?.follow((time) => {
    state.view.cursor = time;
    redraw();
  });
}

const KEYBOARD = {
  ArrowLeft: (state, parts) => pan(state, parts, -0.1),
  ArrowRight: (state, parts) => pan(state, parts, 0.1),
  ArrowUp: (state, parts) => step(state, parts, -1),
  ArrowDown: (state, parts) => step(state, parts, 1),
  "+": (state, parts) => zoom(state, parts, 1 / 1.6),
  "=": (state, parts) => zoom(state, parts, 1 / 1.6),
  "-": (state, parts) => zoom(state, parts, 1.6),
  0: (state, parts) => zoom(state, parts, 0),
  "[": (state, parts) => rescore(state, parts, -0.05),
  "]": (state, parts) => rescore(state, parts, 0.05),
  n: (state, parts) => action(state, parts, 1),
  p: (state, parts) => action(state, parts, -1),
  " ": (state, parts) => parts.player?.toggle(),
};

// Show `length` seconds from `from` on, within the video.
function show(state, from, length) {
  const { first, last } = state.shown;
  const kept = Math.min(Math.max(length, (last - first) / 5000), last - first);
  state.view.from = Math.min(Math.max(from, first), last - kept);
  state.view.to = state.view.from + kept;
}

function pan(state, parts, share) {
  const length = state.view.to - state.view.from;
  show(state, state.view.from + share * length, length);
  parts.figure.draw();
}

// A factor of 0 shows the whole video.
function zoom(state, parts, factor, at = null, redraw = () => parts.figure.draw()) {
  if (!state.shown) return;
  const { from, to, cursor } = state.view;
  const middle = at ?? (cursor !== null && cursor >= from && cursor <= to ? cursor : (from + to) / 2);
  const length = factor ? (to - from) * factor : Infinity;
  show(state, middle - ((middle - from) / (to - from)) * Math.min(length, 1e12), length);
  redraw();
}

function step(state, parts, by) {
  const next = parts.list.beside(state.number, by);
  if (next !== null) choose(state, parts, next);
}

function rescore(state, parts, by) {
  state.thresholds = state.thresholds.map((score) => Math.min(1, Math.max(0, Math.round((score + by) / STEP) * STEP)));
  refresh(state, parts);
}

function action(state, parts, by) {
  const starts = [...new Set(state.shown.truth.map((each) => each.start))].sort((a, b) => a - b);
  const at = state.view.cursor ?? -Infinity;
  const next = by > 0 ? starts.find((start) => start > at + 1e-6) : starts.filter((start) => start < at - 1e-6).pop();
  if (next === undefined) return;
  const length = state.view.to - state.view.from;
  if (next < state.view.from || next > state.view.to) show(state, next - length / 4, length);
  seek(state, parts, next);
}

function seek(state, parts, time) {
  state.view.cursor = time;
  parts.player?.seek(time);
  parts.figure.draw();
}

// At most once per frame.
function throttled(act) {
  let waiting = false;
  return () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      act();
    });
  };
}
