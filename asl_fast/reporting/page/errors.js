// SPDX-License-Identifier: Apache-2.0
// Where the score is lost: kinds of detections, and which annotated actions are found.

const KIND_NOTES = {
  "true positive": "found an annotated action",
  "double detection": "of an action that a surer one had found",
  "wrong label": "in the right place, of another class",
  localization: "right class, place only roughly right",
  confusion: "another class, place only roughly right",
  background: "where nothing is annotated",
};

function errors(page) {
  const scored = page.runs.map((run, i) => [run, i]).filter(([run]) => run.scores);
  if (!scored.length) return [empty("There is nothing to diagnose before the run has finished.")];
  if (scored.every(([run]) => !run.scores.detections)) return [
    empty("Nothing was detected, so there is no error to sort."),
  ];
  const shown = scored.filter(([run]) => run.scores.detections);
  return [
    shown.length > 1
      ? [html("div", { class: "halves" }, shown.map(([run]) => kinds(page, run))), kindTable(page, shown)]
      : html("div", { class: "beside" }, kinds(page, shown[0][0]), kindTable(page, shown)),
    html("h3", {}, `Which annotated actions are found at tIoU ${page.tiou}`),
    html(
      "p",
      { class: "note" },
      "mAP of a group counts its actions alone, with precision as if all groups were equally large.",
    ),
    html("div", { class: "groups" }, bucketTables(page, shown)),
  ];
}

function kinds(page, run) {
  const found = run.scores.errors.kinds;
  const draw = (width) => {
    const [left, right, above, below, height] = [44, 8, 8, 36, 240];
    const columns = found[0].share.length;
    const step = (width - left - right) / columns;
    const toY = (share) => height - below - share * (height - above - below);
    const stacks = Array.from({ length: columns }, (_, column) => {
      let sum = 0;
      return found.map((kind, place) => {
        const share = kind.share[column];
        const bottom = sum;
        sum += share;
        const read = `${kind.name}: ${percent(share)} % of detections ${column + 1}`;
        const box = {
          x: left + column * step + step * 0.14,
          y: toY(sum),
          width: step * 0.72,
          height: Math.max(0, toY(bottom) - toY(sum)),
        };
        return svg("rect", { class: `kind kind${place}`, ...box }, svg("title", {}, `${read} G`));
      });
    });
    const axis = [0, 0.25, 0.5, 0.75, 1].map((share) => [
      svg("line", { class: "grid", x1: left, x2: width - right, y1: toY(share), y2: toY(share) }),
      svg("text", { class: "tick", x: left - 6, y: toY(share) + 3.5, "text-anchor": "end" }, percent(share, 0)),
    ]);
    const names = Array.from({ length: columns }, (_, column) =>
      svg(
        "text",
        { class: "tick", x: left + (column + 0.5) * step, y: height - below + 15, "text-anchor": "middle" },
        `${column + 1}G`,
      ),
    );
    const title = svg(
      "text",
      { class: "axis", x: (left + width - right) / 2, y: height - 4, "text-anchor": "middle" },
      "detections of a class by score, G at a time",
    );
    return drawing(width, height, "Kinds of detections by rank, in percent", axis, stacks, names, title);
  };
  const title = page.runs.length > 1 ? `What detections are, %: ${run.name}` : "What detections are, %";
  return figure(title, draw, { note: "G: as many as the class has annotated actions." });
}

function kindTable(page, shown) {
  const head = [html("th", {}, "Kind"), html("th", { class: "text" }, "")];
  for (const [run] of shown) {
    const suffix = page.runs.length > 1 ? `, ${run.name}` : "";
    head.push(html("th", {}, `among the best G, %${suffix}`));
    head.push(html("th", {}, `mAP gained without them, points${suffix}`));
  }
  const rows = page.kinds.map((name, place) => {
    const cells = shown.flatMap(([run]) => {
      const kind = run.scores.errors.kinds[place];
      return [
        html("td", {}, percent(kind.share[0])),
        html("td", { class: "strong" }, place ? `+${percent(kind.map_gain)}` : ""),
      ];
    });
    return html(
      "tr",
      {},
      html("th", { scope: "row" }, boxSwatch(`kind kind${place}`), ` ${name}`),
      html("td", { class: "text" }, KIND_NOTES[name] ?? ""),
      cells,
    );
  });
  const caption = `Kinds of detections at tIoU ${page.tiou}, and what mAP would gain if all of a kind were left out`;
  return html(
    "div",
    { class: "scroll" },
    html("table", {}, html("caption", {}, caption), html("thead", {}, html("tr", {}, head)), html("tbody", {}, rows)),
  );
}

const CHARACTERISTICS = {
  length: "Length",
  density: "Of its class in its video",
  coverage: "Share of its video",
};

function bucketTables(page, shown) {
  const buckets = (run, name) => run.scores.errors.buckets.filter((bucket) => bucket.characteristic === name);
  return Object.entries(CHARACTERISTICS).map(([characteristic, title]) => {
    const groups = shown.map(([run]) => buckets(run, characteristic));
    const [first] = groups;
    if (!first.length) return null;
    const head = [html("th", { scope: "col" }, title), html("th", { scope: "col" }, "number")];
    for (const [run] of shown) {
      const who = page.runs.length > 1 ? ` (${run.name})` : "";
      head.push(html("th", { scope: "col" }, `never found, %${who}`), html("th", { scope: "col" }, `mAP, %${who}`));
    }
    const rows = first.map((bucket) => {
      // Runs on the same videos have the same groups.
      const cells = groups.flatMap((group, i) => {
        const mine = group.find((other) => other.range === bucket.range);
        if (!mine) return [html("td", {}, "–"), html("td", {}, "–")];
        return [html("td", {}, percent(mine.missed)), barCell(mine.normalized_map, shown[i][1])];
      });
      return html(
        "tr",
        {},
        html("th", { scope: "row" }, bucket.range),
        html("td", {}, whole(bucket.annotations)),
        cells,
      );
    });
    return html(
      "div",
      { class: "scroll" },
      html("table", {}, html("thead", {}, html("tr", {}, head)), html("tbody", {}, rows)),
    );
  });
}

function barCell(share, run) {
  const bar = svg(
    "svg",
    { class: "cellbar", width: 60, height: 10, viewBox: "0 0 60 10", "aria-hidden": "true" },
    svg("rect", { class: "track", width: 60, height: 10 }),
    svg("rect", { class: `bar run${run}`, width: 60 * Math.min(1, share), height: 10 }),
  );
  return html("td", {}, html("span", { class: "withbar" }, bar, html("span", {}, percent(share))));
}
