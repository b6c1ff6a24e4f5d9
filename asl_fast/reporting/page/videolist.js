// SPDX-License-Identifier: Apache-2.0
// All videos by name, with what was found in them; only the rows in sight exist.

const ROW = 30;

function videoList(page, state, choose) {
  const { names } = page.videos;
  let order = names.map((_, i) => i);
  const scroll = html("div", { class: "rows", role: "listbox", "aria-label": "Videos", tabindex: 0 });
  const inner = html("div", { class: "inner" });
  scroll.append(inner);
  const search = html(
    "input",
    {
      type: "search",
      placeholder: `Find in ${plural(names.length, "video")}`,
      "aria-label": "Find videos by name",
      input: () => arrange(),
    },
  );
  const sort = choice("sort by", SORTS.map(([name]) => name), () => arrange());
  const select = sort.querySelector("select");

  function arrange() {
    const words = search.value.trim().toLowerCase();
    order = names.map((_, i) => i).filter((i) => names[i].toLowerCase().includes(words));
    const key = SORTS[select.value][1];
    if (key && state.data) {
      const keys = new Map(order.map((i) => [i, key(page, state, i)]));
      order.sort((a, b) => (keys.get(a) < keys.get(b) ? -1 : keys.get(a) > keys.get(b) ? 1 : a - b));
    }
    scroll.scrollTop = 0;
    if (words) draw();
    else reveal(state.number);
  }

  function draw() {
    const from = Math.max(0, Math.floor(scroll.scrollTop / ROW) - 2);
    const rows = order.slice(from, from + Math.ceil((scroll.clientHeight || 400) / ROW) + 5);
    inner.style.height = `${order.length * ROW}px`;
    inner.replaceChildren(
      ...rows.map((number, i) => {
        const chosen = number === state.number;
        const node = html(
          "div",
          {
            class: chosen ? "row chosen" : "row",
            role: "option",
            "aria-selected": String(chosen),
            title: names[number],
            click: () => choose(number),
          },
          html("span", { class: "name" }, clip(names[number], page.runs.length > 1 ? 120 : 150)),
          summaries(page, state, number),
        );
        node.style.top = `${(from + i) * ROW}px`;
        return node;
      }),
      order.length ? "" : html("p", { class: "empty" }, "No video has such a name."),
    );
  }

  scroll.addEventListener("scroll", throttled(draw));
  scroll.addEventListener("keydown", (event) => {
    const by = { ArrowUp: -1, ArrowDown: 1 }[event.key];
    if (!by) return;
    event.preventDefault();
    const next = beside(state.number, by);
    if (next !== null) choose(next);
  });

  function beside(number, by) {
    const place = order.indexOf(number);
    const next = place < 0 ? order[0] : order[place + by];
    return next ?? null;
  }

  function reveal(number) {
    const top = order.indexOf(number) * ROW;
    const inSight = top >= scroll.scrollTop && top + ROW <= scroll.scrollTop + scroll.clientHeight;
    if (top >= 0 && !inSight) scroll.scrollTop = top - scroll.clientHeight / 3;
    draw();
  }

  const head = html(
    "div",
    { class: "rowhead" },
    html("span", {}, "video"),
    html("span", {}, page.runs.length > 1 ? "found / annotated" : "found / annotated · wrong"),
  );
  return { node: html("div", { class: "list" }, search, sort, head, scroll), draw, beside, reveal };
}

function summaries(page, state, number) {
  if (!state.data) return "";
  return page.runs.map((run, r) => {
    if (!run.finished) return null;
    if (!run.detections.scored[number]) return html("span", { class: `sum run${r}` }, "–");
    const { annotated, found, wrong } = tally(page, state.data, number, r, bits(state)[r]);
    const more = page.runs.length > 1 ? "" : ` · ${wrong}`;
    return html("span", { class: `sum run${r}` }, `${found}/${annotated}${more}`);
  });
}

const counted = (page, state, number) => tally(page, state.data, number, 0, bits(state)[0]);
const SORTS = [
  ["order of the file", null],
  ["name", (page, state, number) => page.videos.names[number]],
  ["most missed", (page, state, number) => counted(page, state, number).found - counted(page, state, number).annotated],
  ["most wrong", (page, state, number) => -counted(page, state, number).wrong],
  ["longest", (page, state, number) => -(page.videos.durations[number] ?? 0)],
  ["most annotated", (page, state, number) => -page.truth.per_video[number]],
];
