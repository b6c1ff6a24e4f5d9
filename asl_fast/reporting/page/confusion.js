// SPDX-License-Identifier: Apache-2.0
// Which class an annotated action is taken for: a matrix, and the most frequent mistakes in words.

const MOST_CLASSES = 30;

function confusion(page) {
  const scored = page.runs.filter((run) => run.scores);
  if (!scored.length) return [empty("There is nothing to compare before the run has finished.")];
  return [html("div", { class: scored.length > 1 ? "halves" : "" }, scored.map((run) => matrix(page, run)))];
}

function matrix(page, run) {
  const { classes, confusion: taken } = run.scores;
  const none = classes.length;
  const mistakes = new Float64Array(none + 1);
  const cells = new Map();
  const totals = new Float64Array(none);
  taken.rows.forEach((row, i) => {
    const [column, count] = [taken.columns[i], taken.counts[i]];
    cells.set(row * (none + 1) + column, count);
    totals[row] += count;
    if (row !== column && column !== none) {
      mistakes[row] += count;
      mistakes[column] += count;
    }
  });
  let kept = classes.map((_, i) => i);
  if (none > MOST_CLASSES) {
    kept.sort((a, b) => mistakes[b] - mistakes[a]);
    kept = kept.slice(0, MOST_CLASSES).sort((a, b) => a - b);
  }
  const name = (column) => (column === none ? "none" : page.classes[classes[column]]);
  const draw = (width) => {
    const longest = Math.max(...kept.map((each) => name(each).length), 4);
    const left = Math.min(width * 0.34, 14 + 6.3 * longest, 180);
    const size = Math.min(34, (width - left - 14) / (kept.length + 1.3));
    const above = Math.min(120, 18 + 4.6 * longest);
    const toX = (place) => left + place * size + (place === kept.length ? size * 0.3 : 0);
    const columns = [...kept, none];
    const body = kept.map((row, y) => [
      svg(
        "text",
        { class: "label", x: left - 8, y: above + (y + 0.5) * size + 4, "text-anchor": "end" },
        clip(name(row), left - 8),
      ),
      columns.map((column, x) => {
        const count = cells.get(row * (none + 1) + column) ?? 0;
        const share = totals[row] ? count / totals[row] : 0;
        const place = { x: toX(x) + 0.5, y: above + y * size + 0.5, width: size - 1, height: size - 1 };
        const box = svg(
          "rect",
          { class: row === column ? "cell right" : "cell", ...place },
          svg("title", {}, `${name(row)} taken for ${name(column)}: ${count} of ${totals[row]}`),
        );
        box.style.setProperty("--share", `${(100 * Math.sqrt(share)).toFixed(0)}%`);
        if (!count || size < 18) return box;
        const at = { x: toX(x) + size / 2, y: above + (y + 0.5) * size + 4, "text-anchor": "middle" };
        return [box, svg("text", { class: share > 0.45 ? "count on" : "count", ...at }, String(count))];
      }),
    ]);
    const head = columns.map(
      (column, x) => svg(
        "text",
        { class: "label", transform: `translate(${toX(x) + size / 2 + 3} ${above - 6}) rotate(-48)` },
        clip(name(column), above * 1.25),
      ),
    );
    // Names of columns lean over the right edge.
    const wide = Math.min(width, left + size * (kept.length + 1.3) + 60);
    return drawing(wide, above + size * kept.length + 4, "Confusion of classes", body, head);
  };
  const cut = kept.length < classes.length;
  const shown = cut ? ` The ${kept.length} of ${classes.length} classes with the most mistakes are shown.` : "";
  const limits = `tIoU ${page.tiou}, score from ${run.scores.best_score.toFixed(2)}`;
  const note =
    `Rows: annotated class. Columns: class of the surest detection there (${limits}); ` +
    `“none” where there is no such detection.${shown}`;
  const title = page.runs.length > 1 ? run.name : "";
  return html("div", { class: "mixups" }, figure(title, draw, { note }), worst(taken, none, name, totals));
}

function worst(taken, none, name, totals) {
  const all = taken.rows.map((row, i) => [row, taken.columns[i], taken.counts[i]]);
  const found = all.filter(([row, column]) => row !== column && column !== none);
  if (!found.length) return html("p", { class: "note" }, "No annotated action is taken for another class.");
  found.sort((a, b) => b[2] - a[2] || b[2] / totals[b[0]] - a[2] / totals[a[0]]);
  const rows = found.slice(0, 8).map(([row, column, count]) => {
    const [annotated, taken] = [html("b", {}, name(row)), html("b", {}, name(column))];
    return html("li", {}, annotated, " taken for ", taken, `: ${count} of ${totals[row]}`);
  });
  return html("div", {}, html("h4", {}, "Most frequent"), html("ol", { class: "worst" }, rows));
}
