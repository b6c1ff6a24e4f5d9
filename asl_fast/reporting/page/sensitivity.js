// SPDX-License-Identifier: Apache-2.0
// Which moments of an action weigh most in training: a small panel per class.

const FIRST_PANELS = 24;
const BRANCHES = { class: "the class", start: "the start", end: "the end" };

function sensitivity(page) {
  const told = page.runs.map((run, i) => [run, i]).filter(([run]) => run.sensitivity?.classes.length);
  const reasons = page.runs
    .filter((run) => !run.sensitivity?.classes.length)
    .map(
      (run) => empty(
        `${page.runs.length > 1 ? `${run.name}: ` : ""}${run.why_nothing_learned || "No class occurred in training."}`,
      ),
    );
  if (!told.length) return reasons;
  const planted = told.find(([run]) => run.sensitivity.packed.columns.some(([name]) => name === "planted"));
  const state = { branch: 0, all: false, columns: new Map() };
  const keys = told.map(
    ([run, i]) => [lineSwatch(`run${i}`), page.runs.length > 1 ? `learned, ${run.name}` : "learned"],
  );
  if (planted) keys.push([lineSwatch("planted"), "true, as planted in the synthetic twin"]);
  const draw = (width) => (state.columns.size ? panels(page, told, planted, state, width, node) : empty("…"));
  const change = (place) => {
    state.branch = place;
    node.draw();
  };
  const control = choice("for", page.branches.map((name) => BRANCHES[name] ?? name), change);
  const node = figure("", draw, { controls: [control, legend(keys)] });
  Promise.all(
    told.map(async ([run, i]) => state.columns.set(i, await unpack(run.sensitivity.packed))),
  ).then(() => node.draw());
  return [...reasons, node];
}

function panels(page, told, planted, state, width, node) {
  const [first] = told[0];
  const order = first.sensitivity.classes.map(
    (label, place) => [label, first.sensitivity.centres[place][state.branch]],
  );
  order.sort((a, b) => a[1] - b[1]);
  const labels = order.map(([label]) => label);
  labels.push(...new Set(told.flatMap(([run]) => run.sensitivity.classes).filter((label) => !labels.includes(label))));
  const shown = state.all ? labels : labels.slice(0, FIRST_PANELS);
  const columns = Math.max(2, Math.floor(width / 168));
  const [wide, tall] = [width / columns, 118];
  const drawn = shown.map((label, place) => {
    const at = `translate(${((place % columns) * wide).toFixed(1)} ${Math.floor(place / columns) * tall})`;
    return svg("g", { transform: at }, panel(page, told, planted, state, label, wide - 14));
  });
  const height = Math.ceil(shown.length / columns) * tall;
  const picture = drawing(width, height, "Learned sensitivity of each class over the course of an action", drawn);
  if (shown.length === labels.length) return picture;
  const more = () => {
    state.all = true;
    node.draw();
  };
  return html(
    "div",
    {},
    picture,
    html("button", { type: "button", class: "more", click: more }, `Show all ${labels.length} classes`),
  );
}

function panel(page, told, planted, state, label, width) {
  const [top, bottom] = [22, 92];
  const [low, high] = [page.positions[0], page.positions[page.positions.length - 1]];
  const toX = (position) => ((position - low) / (high - low)) * width;
  const path = (i, name) => {
    const { sensitivity } = page.runs[i];
    const row = sensitivity.classes.indexOf(label);
    if (row < 0) return "";
    const begin = (row * page.branches.length + state.branch) * page.positions.length;
    const values = state.columns.get(i)[name];
    return page.positions.map(
      (position, k) => `${k ? "L" : "M"}${toX(position).toFixed(1)} ${(
        bottom - (values[begin + k] / 255) * (bottom - top)
      ).toFixed(1)}`,
    ).join("");
  };
  const read = told.map(([run]) => {
    const row = run.sensitivity.classes.indexOf(label);
    if (row < 0) return null;
    const [centre, spread] = [run.sensitivity.centres[row][state.branch], run.sensitivity.widths[row][state.branch]];
    return `${run.name}: centre ${centre.toFixed(2)}, width ${spread.toFixed(2)} action lengths`;
  });
  return [
    svg("title", {}, [page.classes[label], ...read.filter(Boolean)].join("\n")),
    svg("rect", { class: "track", x: toX(-0.5), y: top - 4, width: toX(0.5) - toX(-0.5), height: bottom - top + 4 }),
    svg("text", { class: "name", x: 0, y: 12 }, clip(page.classes[label], width)),
    svg("line", { class: "base", x1: 0, x2: width, y1: bottom, y2: bottom }),
    told.length === 1 ? svg(
      "path",
      { class: `shade run${told[0][1]}`, d: `${path(told[0][1], "learned")}L${width} ${bottom}L0 ${bottom}Z` },
    ) : null,
    told.map(([, i]) => svg("path", { class: `line run${i}`, d: path(i, "learned") })),
    planted ? svg("path", { class: "line planted", d: path(planted[1], "planted") }) : null,
    ["start", "end"].map(
      (name, i) => svg("text", { class: "tick", x: toX(i - 0.5), y: bottom + 14, "text-anchor": "middle" }, name),
    ),
  ];
}
