// @ts-check
"use strict";

// The overview of the videos that pass the filters: values by position, supporting frames by class, what is taken for
// what. Every mark leads to its videos.

const MOST_CLASSES = 40;

/**
 * Values [count, T] for the predicted and for the true class of every video of a table.
 * @typedef {{predicted: Numbers, true: (row: number) => Numbers, of: (row: number) => Numbers}} OfAll
 */

/** @param {Table} table @returns {Promise<OfAll>} */
async function valuesOfAll(table) {
  const content = await load(table.stored.of_all);
  const [predicted, ofWrong] = await Promise.all([unpacked(content.predicted), unpacked(content.true)]);
  const {T} = table, place = new Int32Array(table.count).fill(-1);
  let wrong = 0;
  for (let row = 0; row < table.count; row++) if (isRight(table, row) === false) place[row] = wrong++;
  const of = (/** @type {number} */ row) => predicted.subarray(row * T, (row + 1) * T);
  const ofTrue = (/** @type {number} */ row) =>
    (place[row] < 0 ? of(row) : ofWrong.subarray(place[row] * T, (place[row] + 1) * T));
  return {predicted, true: ofTrue, of};
}

/** Mean values [T] of rows. @param {number[]} rows @param {(row: number) => Numbers} of @param {number} T */
function meanProfile(rows, of, T) {
  const sum = new Float64Array(T);
  for (const row of rows) {
    const values = of(row);
    for (let t = 0; t < T; t++) sum[t] += values[t];
  }
  return sum.map((total) => total / rows.length);
}

/** Share of frames with a value above 0, of rows. @param {number[]} rows @param {(row: number) => Numbers} of */
function supportingShare(rows, of) {
  let up = 0, count = 0;
  for (const row of rows) {
    for (const value of of(row)) {
      up += Number(value > 0);
      count++;
    }
  }
  return up / count;
}

/** @param {number[]} rows @param {(row: number) => number} key @returns {Map<number, number[]>} */
function grouped(rows, key) {
  const groups = new Map();
  for (const row of rows) {
    const group = groups.get(key(row));
    if (group) group.push(row);
    else groups.set(key(row), [row]);
  }
  return groups;
}

/**
 * Draws the overview of some rows.
 * @param {HTMLElement} root @param {Table} table @param {OfAll} all @param {number[]} rows
 * @param {(change: (filters: Filters) => void) => void} lead shows the videos that a mark stands for
 */
function drawOverview(root, table, all, rows, lead) {
  if (!rows.length) {
    root.replaceChildren(element("p", {}, "No video passes the filters."));
    return;
  }
  const labelled = rows.filter((row) => table.label[row] >= 0);
  const of = labelled.length ? all.true : all.of, whose = labelled.length ? "true" : "predicted";
  const counted = labelled.length ? labelled : rows;
  root.replaceChildren(
    byPosition(table, counted, of, whose, lead),
    byClass(table, counted, of, whose, lead),
    ...(labelled.length ? [confusion(table, all, labelled, lead)] : []));
}

/** @param {Table} table @param {number[]} rows @param {(row: number) => Numbers} of @param {string} whose
 *  @param {(change: (filters: Filters) => void) => void} lead */
function byPosition(table, rows, of, whose, lead) {
  const {T} = table, mean = meanProfile(rows, of, T), strongest = Math.max(...mean.map(Math.abs), 1e-9);
  const tops = grouped(rows, (row) => table.mostAt[row]);
  const cells = Array.from(mean, (value, t) => {
    const bar = bars([value], strongest, 30, 120);
    const count = tops.get(t)?.length ?? 0;
    const place = position(table, t);
    const label = `frame ${t + 1} of ${T}: ${signOf(value)}, mean value ${printed(value, 4, true)}; the top frame of `
      + `${count} videos`;
    return element("button", {type: "button", class: "bar-button", title: label, "aria-label": label,
      onclick: () => lead((filters) => { filters.ranges.position = [place - 1e-6, place + 1e-6]; })},
      element("span", {class: "mark"}, markOf(value)), bar, element("span", {}, String(t + 1)));
  });
  return element("section", {}, element("h2", {}, "Values by position"),
    element("p", {}, `Mean value for the ${whose} class at each of ${T} frames, ${rows.length} videos; full height is `
      + `${printed(strongest, 4)}. A mark leads to the videos whose most supporting frame for the predicted class is there.`),
    element("div", {class: "positions"}, ...cells));
}

/** @param {Table} table @param {number[]} rows @param {(row: number) => Numbers} of @param {string} whose
 *  @param {(change: (filters: Filters) => void) => void} lead */
function byClass(table, rows, of, whose, lead) {
  const key = whose === "true" ? "label" : "predicted";
  const groups = [...grouped(rows, (row) => table[key][row])].map(([c, own]) =>
    ({c, own, share: supportingShare(own, of)})).sort((a, b) => b.share - a.share || a.c - b.c);
  const items = groups.map(({c, own, share}) => {
    const bar = drawn("svg", {viewBox: "0 0 100 10", preserveAspectRatio: "none", "aria-hidden": "true"},
      drawn("rect", {class: "supporting", width: 100 * share, height: 10}),
      drawn("rect", {class: "distracting", x: 100 * share, width: 100 * (1 - share), height: 10}));
    return element("li", {}, element("button", {type: "button", onclick: () => lead((filters) => { filters[key] = c; })},
      element("span", {class: "name"}, index.classes[c]), bar,
      element("span", {class: "number"}, `▲ ${(100 * share).toFixed(1)} %, ${own.length} videos`)));
  });
  return element("section", {}, element("h2", {}, "Supporting frames by class"),
    element("p", {}, `Share of frames with a positive value for the ${whose} class; all videos: `
      + `${(100 * supportingShare(rows, of)).toFixed(1)} %.`),
    element("ol", {class: "predictions shares"}, ...items));
}

/** @param {Table} table @param {OfAll} all @param {number[]} rows
 *  @param {(change: (filters: Filters) => void) => void} lead */
function confusion(table, all, rows, lead) {
  const C = index.classes.length, {T} = table;
  const cells = grouped(rows, (row) => table.label[row] * C + table.predicted[row]);
  const counts = new Float64Array(C);
  for (const row of rows) {
    counts[table.label[row]]++;
    if (table.label[row] !== table.predicted[row]) counts[table.predicted[row]]++;
  }
  const present = Array.from(counts, (count, c) => ({count, c})).filter(({count}) => count > 0);
  const most = present.sort((a, b) => b.count - a.count).slice(0, MOST_CLASSES).map(({c}) => c).sort((a, b) => a - b);
  const shown = new Set(most), profiles = new Map();
  let strongest = 1e-9;
  for (const [cell, own] of cells) {
    if (!shown.has(Math.floor(cell / C)) || !shown.has(cell % C)) continue;
    const profile = meanProfile(own, all.of, T);
    profiles.set(cell, profile);
    for (const value of profile) strongest = Math.max(strongest, Math.abs(value));
  }
  const body = most.map((label) => element("tr", {}, element("th", {scope: "row"}, index.classes[label]),
    ...most.map((predicted) => {
      const own = cells.get(label * C + predicted);
      if (!own) return element("td", {});
      const profile = /** @type {Float64Array} */ (profiles.get(label * C + predicted));
      const top = topOf(profile) + 1;
      const name = `${own.length} of ${index.classes[label]} taken for ${index.classes[predicted]}; on average most `
        + `supported at frame ${top} of ${T}`;
      return element("td", {class: label === predicted ? "right" : "wrong"}, element("button", {type: "button",
        title: name, "aria-label": name, onclick: () => lead((filters) => {
          filters.label = label;
          filters.predicted = predicted;
        })}, element("span", {}, String(own.length)), bars(profile, strongest, 44, 20)));
    })));
  const left = present.length - most.length;
  return element("section", {}, element("h2", {}, "What is taken for what"),
    element("p", {}, "Rows are true classes, columns predicted ones: how many videos, and the mean values of their "
      + `frames for the predicted class.${left > 0 ? ` The ${most.length} most frequent classes; ${left} more are left out.` : ""}`),
    element("div", {class: "confusion", tabindex: 0, role: "region", "aria-label": "Table of what is taken for what"},
      element("table", {}, element("thead", {}, element("tr", {}, element("td", {}),
        ...most.map((c) => element("th", {scope: "col"}, element("span", {}, index.classes[c]))))),
        element("tbody", {}, ...body))));
}
