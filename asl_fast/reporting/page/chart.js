// SPDX-License-Identifier: Apache-2.0
// Figures that draw themselves at the width they get, and charts of lines.

const widths = new WeakMap();
const sizes = new ResizeObserver((entries) => {
  const changed = entries.filter(({ target, contentRect }) => widths.get(target) !== contentRect.width);
  // Not at once: what is drawn changes sizes again, which browsers complain about.
  if (changed.length) requestAnimationFrame(() => changed.forEach(({ target }) => target.draw()));
});

// A titled figure; draw(width) returns what stands in it. Its node has draw(), for when what it shows has changed.
function figure(title, draw, { note = "", controls = [], kind = "" } = {}) {
  const place = html("div", { class: "plot" });
  place.draw = () => {
    widths.set(place, place.clientWidth);
    const drawn = place.clientWidth ? draw(place.clientWidth) : null;
    // What draws into the same node again keeps its focus.
    if (drawn && (drawn !== place.firstChild || place.childNodes.length > 1)) place.replaceChildren(drawn);
  };
  sizes.observe(place);
  const heading = html("div", { class: "heading" }, title && html("h3", {}, title), controls);
  const node = html(
    "figure",
    { class: kind },
    title || controls.length ? heading : null,
    note && html("p", { class: "note" }, note),
    place,
  );
  node.draw = place.draw;
  return node;
}

function drawing(width, height, label, ...children) {
  const attributes = { viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": label };
  return svg("svg", attributes, ...children);
}

// About `number` round values from low to high.
function ticks(low, high, number) {
  const rough = (high - low) / Math.max(number, 1);
  if (!(rough > 0)) return [low];
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => size >= rough * 0.8);
  const found = [];
  for (
    let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i++
  ) found.push(Number((i * step).toPrecision(12)));
  return found;
}

// series: [{name, kind, points: [[x, y]], quiet}] with y null where there is none.
function lines(width, { height = 150, series, x, y, label, marks = false }) {
  const loud = series.filter((each) => !each.quiet);
  const values = series.flatMap((each) => each.points.map((point) => point[1])).filter((value) => value !== null);
  if (!values.length) return empty("Nothing was measured.");
  const [low, high] = y.domain ?? [Math.min(0, ...values), Math.max(...values) || 1];
  const marksOfY = ticks(low, high, Math.max(2, height / 45));
  const top = Math.max(high, marksOfY[marksOfY.length - 1]);
  const names = marksOfY.map(y.format ?? short);
  const left = 12 + 6.2 * Math.max(...names.map((name) => name.length)) + (y.name ? 14 : 0);
  const [right, above, below] = [10, 8, x.name ? 34 : 20];
  const [first, last] = x.domain;
  const toX = (value) => left + ((value - first) / (last - first || 1)) * (width - left - right);
  const toY = (value) => height - below - ((value - low) / (top - low || 1)) * (height - above - below);
  const marksOfX = x.ticks ?? ticks(first, last, width / 80);
  const grid = [
    marksOfY.map((value, i) => [
      svg("line", { class: "grid", x1: left, x2: width - right, y1: toY(value), y2: toY(value) }),
      svg("text", { class: "tick", x: left - 6, y: toY(value) + 3.5, "text-anchor": "end" }, names[i]),
    ]),
    marksOfX.map(
      (value) => svg(
        "text",
        { class: "tick", x: toX(value), y: height - below + 15, "text-anchor": "middle" },
        (x.format ?? short)(value),
      ),
    ),
    x.name && svg(
      "text",
      { class: "axis", x: (left + width - right) / 2, y: height - 3, "text-anchor": "middle" },
      x.name,
    ),
    y.name && svg(
      "text",
      {
        class: "axis",
        transform: `translate(11 ${(above + height - below) / 2}) rotate(-90)`,
        "text-anchor": "middle",
      },
      y.name,
    ),
  ];
  const drawn = series.map((each) => {
    let path = "";
    let pen = "M";
    for (const [at, value] of each.points) {
      if (value === null) pen = "M";
      else {
        path += `${pen}${toX(at).toFixed(1)} ${toY(value).toFixed(1)}`;
        pen = "L";
      }
    }
    const dots = marks && !each.quiet ? each.points.filter((point) => point[1] !== null).map(
      ([at, value]) => dot(each.kind, toX(at), toY(value)),
    ) : [];
    return [svg("path", { class: `line ${each.kind}${each.quiet ? " quiet" : ""}`, d: path }), dots];
  });
  const cross = svg("line", { class: "cross", y1: above, y2: height - below, visibility: "hidden" });
  const node = drawing(width, height, label, grid, drawn, cross);
  readOut(node, cross, loud, { x, y, toX, first, last, left, right, width });
  return node;
}

// Runs differ in shape as well as in colour: discs, and squares on their corner.
function dot(kind, x, y) {
  if (!kind.includes("run1")) return svg("circle", { class: `dot ${kind}`, cx: x, cy: y, r: 3 });
  return svg(
    "rect",
    { class: `dot ${kind}`, x: x - 3, y: y - 3, width: 6, height: 6, transform: `rotate(45 ${x} ${y})` },
  );
}

// A line that follows the pointer, and the values at the nearest place.
function readOut(node, cross, series, { x, y, toX, first, last, left, right, width }) {
  const leave = () => {
    cross.setAttribute("visibility", "hidden");
    hideTip();
  };
  node.addEventListener("pointerleave", leave);
  node.addEventListener("pointermove", (event) => {
    const box = node.getBoundingClientRect();
    const inside = ((event.clientX - box.left) / box.width) * width;
    const at = first + ((inside - left) / (width - left - right)) * (last - first);
    const places = series.flatMap((each) => each.points.filter((point) => point[1] !== null).map((point) => point[0]));
    if (!places.length || at < first - (last - first) * 0.1) return leave();
    const near = places.reduce((best, place) => (Math.abs(place - at) < Math.abs(best - at) ? place : best));
    cross.setAttribute("x1", toX(near));
    cross.setAttribute("x2", toX(near));
    cross.setAttribute("visibility", "visible");
    const found = series.map((each) => {
      const usable = each.points.filter((point) => point[1] !== null);
      const point = usable.reduce(
        (best, other) => (Math.abs(other[0] - near) < Math.abs(best[0] - near) ? other : best),
        usable[0],
      );
      return [each.name, point ? (y.read ?? short)(point[1]) : "–"];
    });
    showTip(event.clientX, event.clientY, [`${x.read ?? x.name ?? ""} ${(x.format ?? short)(near)}`.trim(), ...found]);
  });
}
