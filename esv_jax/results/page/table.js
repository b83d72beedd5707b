// @ts-check
"use strict";

// The table: what its columns are, which videos pass the filters, in which order; only rows in sight are drawn.

const ROW_HEIGHT = 36, ROWS_BESIDE = 6, FIXED_COLUMNS = 8;

/**
 * @typedef {{key: string, name: string, says: string, isText: boolean, value: (row: number) => number | string,
 *   text: (row: number) => string, words?: string[]}} Column
 */
/**
 * What is asked for: label and predicted are class numbers, -1 for any; outcome is "", "right" or "wrong"; ranges are
 * of columns of numbers, [least, most]; words are of columns of the labels.
 * @typedef {{search: string, label: number, predicted: number, outcome: string, ranges: Record<string,
 *   [number, number]>, words: Record<string, string>}} Filters
 */
/** @typedef {{key: string, down: boolean}} Sorting */

/** @returns {Filters} */
function noFilters() {
  return {search: "", label: -1, predicted: -1, outcome: "", ranges: {}, words: {}};
}

/** @param {Table} table @param {number} row */
function isRight(table, row) {
  return table.label[row] < 0 ? null : table.label[row] === table.predicted[row];
}

/** Where a frame lies in the video, 0 to 1. @param {Table} table @param {number} at */
function position(table, at) {
  return (at + 0.5) / table.T;
}

/** @param {Table} table @param {string[]} classes @returns {Column[]} */
function columnsOf(table, classes) {
  /** @param {string} key @param {string} name @param {string} says @param {Numbers} of
   *  @param {(row: number) => string} text @returns {Column} */
  const numeric = (key, name, says, of, text) => ({key, name, says, isText: false, value: (row) => of[row], text});
  const known = (/** @type {number} */ c) => (c < 0 ? "" : classes[c]);
  /** @type {Column[]} */
  const columns = [
    {key: "uid", name: "Video", says: "the name of the video", isText: true, value: (row) => table.uid[row],
      text: (row) => table.uid[row]},
    {key: "label", name: "True class", says: "the class of its label", isText: true,
      value: (row) => known(table.label[row]), text: (row) => known(table.label[row]) || "not known"},
    {key: "predicted", name: "Predicted", says: "the class with the highest score", isText: true,
      value: (row) => known(table.predicted[row]), text: (row) => known(table.predicted[row])},
    {key: "right", name: "Right", says: "whether the predicted class is the true one", isText: false,
      value: (row) => (isRight(table, row) === null ? NaN : Number(isRight(table, row))),
      text: (row) => ({true: "✓ right", false: "✗ wrong", null: "–"})[String(isRight(table, row))] ?? ""},
    numeric("score", "Score", "how sure the model is of the predicted class", table.score,
      (row) => printed(table.score[row], 3)),
    numeric("most", "▲ Most", "the highest value of a frame, for the predicted class, and that frame's place",
      table.most, (row) => `${printed(table.most[row], 3, true)} @${table.mostAt[row] + 1}`),
    numeric("least", "▼ Least", "the lowest value of a frame, for the predicted class, and that frame's place",
      table.least, (row) => `${printed(table.least[row], 3, true)} @${table.leastAt[row] + 1}`),
    {key: "position", name: "Top at", says: "where in the video the most supporting frame lies, 0 to 1", isText: false,
      value: (row) => position(table, table.mostAt[row]), text: (row) => position(table, table.mostAt[row]).toFixed(2)},
  ];
  const {stdError} = table;
  if (stdError) {
    columns.push(numeric("stdError", "Std error", "the largest standard error of a frame's value", stdError,
      (row) => printed(stdError[row], 4)));
  }
  for (const {name, words, at} of table.more) {
    const numbers = words.map((word) => (word === "" ? NaN : Number(word)));
    const isText = words.some((word, i) => word !== "" && Number.isNaN(numbers[i]));
    const value = isText ? (/** @type {number} */ row) => words[at[row]] : (/** @type {number} */ row) => numbers[at[row]];
    columns.push({key: `labels:${name}`, name, says: `${name}, of the labels`, isText, value,
      text: (row) => words[at[row]], words});
  }
  return columns;
}

/** The rows that pass. @param {Table} table @param {Column[]} columns @param {Filters} filters @returns {number[]} */
function passing(table, columns, filters) {
  const search = filters.search.trim().toLowerCase();
  const ranges = columns.filter((column) => filters.ranges[column.key]);
  const worded = columns.filter((column) => filters.words[column.key]);
  const rows = [];
  for (let row = 0; row < table.count; row++) {
    if (filters.label >= 0 && table.label[row] !== filters.label) continue;
    if (filters.predicted >= 0 && table.predicted[row] !== filters.predicted) continue;
    if (filters.outcome && isRight(table, row) !== (filters.outcome === "right")) continue;
    if (search && !table.uid[row].toLowerCase().includes(search)) continue;
    const inRange = (/** @type {Column} */ {key, value}) =>
      Number(value(row)) >= filters.ranges[key][0] && Number(value(row)) <= filters.ranges[key][1];
    if (!ranges.every(inRange)) continue;
    if (!worded.every((column) => column.text(row) === filters.words[column.key])) continue;
    rows.push(row);
  }
  return rows;
}

/** Sorts rows in place, what is not known last; equals stay in the order of the store.
 *  @param {number[]} rows @param {Column} column @param {boolean} down */
function sortRows(rows, column, down) {
  const sign = down ? -1 : 1;
  if (column.isText) {
    /** @type {string[]} */
    const texts = [];
    for (const row of rows) texts[row] = String(column.value(row));
    rows.sort((a, b) => {
      const one = texts[a], other = texts[b];
      if (one === other) return a - b;
      if (one === "" || other === "") return one === "" ? 1 : -1;
      return one < other ? -sign : sign;
    });
    return rows;
  }
  /** @type {number[]} */
  const values = [];
  for (const row of rows) values[row] = Number(column.value(row));
  rows.sort((a, b) => {
    const one = values[a], other = values[b];
    if (one === other || (Number.isNaN(one) && Number.isNaN(other))) return a - b;
    if (Number.isNaN(one) || Number.isNaN(other)) return Number.isNaN(one) ? 1 : -1;
    return (one - other) * sign;
  });
  return rows;
}

/** The table on the screen: a grid whose rows are moved through by keys, of which those in sight are drawn. */
class TableView {
  /** @param {HTMLElement} root @param {(uid: string) => void} choose @param {(key: string) => void} sortBy */
  constructor(root, choose, sortBy) {
    this.choose = choose;
    this.sortBy = sortBy;
    this.head = element("div", {role: "row", class: "head", "aria-rowindex": 1});
    this.body = element("div", {role: "rowgroup", class: "rows"});
    this.grid = element("div", {role: "grid", class: "grid", "aria-label": "Videos", "aria-readonly": "true"},
      element("div", {role: "rowgroup", class: "head-group"}, this.head), this.body);
    root.append(this.grid);
    /** @type {number[]} */
    this.rows = [];
    /** @type {Column[]} */
    this.columns = [];
    /** @type {Table | null} */
    this.table = null;
    this.at = 0; // which row the keys are at
    this.chosen = "";
    this.grid.addEventListener("scroll", () => this.draw(), {passive: true});
    this.grid.addEventListener("keydown", (event) => this.key(event));
    new ResizeObserver(() => this.draw()).observe(this.grid);
  }

  /** @param {Table} table @param {Column[]} columns @param {number[]} rows @param {Sorting} sorting */
  show(table, columns, rows, sorting) {
    this.table = table;
    this.columns = columns;
    this.rows = rows;
    this.head.replaceChildren(...this.headers(sorting));
    this.grid.setAttribute("aria-rowcount", String(rows.length + 1));
    this.grid.setAttribute("aria-colcount", String(columns.length + 1));
    const more = columns.length - FIXED_COLUMNS;
    this.grid.style.setProperty("--more", String(more));
    this.grid.style.setProperty("--more-columns", "8rem ".repeat(more));
    this.body.style.height = `${rows.length * ROW_HEIGHT}px`;
    this.at = Math.max(0, rows.findIndex((row) => table.uid[row] === this.chosen));
    if (!rows.length) this.body.replaceChildren();
    this.reveal();
    this.draw();
  }

  /** Marks a video as chosen, and shows its row. @param {string} uid */
  mark(uid) {
    this.chosen = uid;
    const table = this.table;
    const at = table ? this.rows.findIndex((row) => table.uid[row] === uid) : -1;
    if (at >= 0) this.at = at;
    this.reveal();
    this.draw();
  }

  /** @param {Sorting} sorting */
  headers(sorting) {
    const made = this.columns.map(({key, name, says}) => {
      const sorted = sorting.key === key ? (sorting.down ? "descending" : "ascending") : "none";
      const arrow = sorted === "none" ? "" : sorting.down ? " ↓" : " ↑";
      const button = element("button", {type: "button", title: `Sort by ${says}`, onclick: () => this.sortBy(key)},
        `${name}${arrow}`);
      return element("div", {role: "columnheader", class: `cell ${cssName(key)}`, "aria-sort": sorted}, button);
    });
    made.splice(1, 0, element("div", {role: "columnheader", class: "cell strip"}, "ESVs"));
    return made;
  }

  reveal() {
    const top = this.at * ROW_HEIGHT, space = this.grid.clientHeight - 2 * ROW_HEIGHT;
    if (top < this.grid.scrollTop) this.grid.scrollTop = top;
    else if (top > this.grid.scrollTop + space) this.grid.scrollTop = Math.max(0, top - space);
  }

  draw() {
    if (!this.table) return;
    const first = Math.max(0, Math.floor(this.grid.scrollTop / ROW_HEIGHT) - ROWS_BESIDE);
    const count = Math.ceil(this.grid.clientHeight / ROW_HEIGHT) + 2 * ROWS_BESIDE;
    const last = Math.min(this.rows.length, first + count);
    const focused = this.body.contains(document.activeElement);
    const made = [];
    for (let at = first; at < last; at++) made.push(this.row(at));
    this.body.replaceChildren(...made);
    if (focused) this.focus();
  }

  /** @param {number} at */
  row(at) {
    const table = /** @type {Table} */ (this.table), row = this.rows[at], uid = table.uid[row];
    const cells = this.columns.map((column) => element("div",
      {role: "gridcell", class: `cell ${cssName(column.key)} ${column.isText ? "" : "number"}`,
        title: column.text(row)}, column.text(row)));
    const strip = bars(table.strip.subarray(row * table.T, (row + 1) * table.T), 127, 96, 24);
    const supporting = `top frame ${table.mostAt[row] + 1} of ${table.T}`;
    cells.splice(1, 0, element("div", {role: "gridcell", class: "cell strip"}, strip,
      element("span", {class: "unseen"}, supporting)));
    const made = element("div", {role: "row", class: "row", "aria-rowindex": at + 2, "data-uid": uid,
      tabindex: at === this.at ? 0 : -1, "aria-selected": uid === this.chosen,
      onclick: () => { this.at = at; this.choose(uid); }}, ...cells);
    made.style.top = `${at * ROW_HEIGHT}px`;
    return made;
  }

  focus() {
    const row = this.body.querySelector('[tabindex="0"]');
    if (row instanceof HTMLElement) row.focus({preventScroll: true});
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    if (!this.body.contains(/** @type {Node} */ (event.target)) || event.ctrlKey || event.metaKey || event.altKey) return;
    const page = Math.max(1, Math.floor(this.grid.clientHeight / ROW_HEIGHT) - 2);
    /** @type {Record<string, number>} */
    const moves = {ArrowDown: this.at + 1, ArrowUp: this.at - 1, PageDown: this.at + page, PageUp: this.at - page,
      Home: 0, End: this.rows.length - 1};
    const table = /** @type {Table} */ (this.table);
    if (event.key === "Enter" || event.key === " ") this.choose(table.uid[this.rows[this.at]]);
    else if (event.key in moves) {
      this.at = Math.min(Math.max(moves[event.key], 0), this.rows.length - 1);
      this.reveal();
      this.draw();
      this.focus();
    } else return;
    event.preventDefault();
  }
}

/** @param {string} key */
function cssName(key) {
  return key.startsWith("labels:") ? "of-labels" : `of-${key}`;
}

// Filters

const MOST_WORDS = 60;

/** Draws the form of filters. @param {HTMLElement} form @param {Table} table @param {Column[]} columns
 *  @param {string[]} classes @param {Filters} filters @param {() => void} changed
 *  @param {() => void} surest shows what is wrong, the surest first @param {() => void} all shows everything again */
function drawFilters(form, table, columns, classes, filters, changed, surest, all) {
  const anyClass = (/** @type {"label" | "predicted"} */ key, /** @type {string} */ name) => {
    const counts = new Map();
    for (const c of table[key]) counts.set(c, (counts.get(c) ?? 0) + 1);
    const choices = classes.map((name_of, c) => ({name: name_of, c, count: counts.get(c) ?? 0}))
      .filter(({count, c}) => count > 0 || c === filters[key]).sort((a, b) => (a.name < b.name ? -1 : 1));
    const select = element("select", {onchange: () => { filters[key] = Number(select.value); changed(); }},
      element("option", {value: -1}, "any"),
      ...choices.map(({name: name_of, c, count}) => element("option", {value: c}, `${name_of} (${count})`)));
    select.value = String(filters[key]);
    return element("label", {}, name, select);
  };
  const search = element("input", {type: "search", value: filters.search, placeholder: "name of a video",
    oninput: () => { filters.search = search.value; changed(); }});
  const outcome = element("select", {onchange: () => { filters.outcome = outcome.value; changed(); }},
    ...["", "right", "wrong"].map((name) => element("option", {value: name}, name || "right and wrong")));
  outcome.value = filters.outcome;
  const parts = [element("label", {}, "Search", search)];
  const labelled = table.label.some((c) => c >= 0);
  if (labelled) parts.push(anyClass("label", "True class"));
  parts.push(anyClass("predicted", "Predicted"));
  if (labelled) parts.push(element("label", {}, "Outcome", outcome));
  const ranges = columns.filter(({isText, key}) => !isText && key !== "right").map((column) => {
    const [least, most] = filters.ranges[column.key] ?? [-Infinity, Infinity];
    const end = (/** @type {number} */ value, /** @type {string} */ name) => element("input", {type: "number", step: "any",
      value: Number.isFinite(value) ? value : undefined, placeholder: name, "aria-label": `${column.name}, ${name}`});
    const from = end(least, "from"), to = end(most, "to");
    const read = () => {
      const range = /** @type {[number, number]} */ ([from.value === "" ? -Infinity : Number(from.value),
        to.value === "" ? Infinity : Number(to.value)]);
      if (range.some(Number.isFinite)) filters.ranges[column.key] = range;
      else delete filters.ranges[column.key];
      changed();
    };
    from.addEventListener("input", read);
    to.addEventListener("input", read);
    return element("fieldset", {}, element("legend", {title: column.says}, column.name), from, to);
  });
  const worded = columns.filter(({words, isText}) => words && isText).map((column) => {
    const words = column.words ?? [];
    const read = (/** @type {string} */ value) => {
      if (value) filters.words[column.key] = value;
      else delete filters.words[column.key];
      changed();
    };
    if (words.length > MOST_WORDS) {
      const input = element("input", {type: "search", placeholder: "the whole text", value: filters.words[column.key] ?? "",
        oninput: () => read(input.value)});
      return element("label", {}, column.name, input);
    }
    const select = element("select", {onchange: () => read(select.value)}, element("option", {value: ""}, "any"),
      ...words.filter(Boolean).map((word) => element("option", {value: word}, word)));
    select.value = filters.words[column.key] ?? "";
    return element("label", {}, column.name, select);
  });
  const isOpen = Object.keys(filters.ranges).length + Object.keys(filters.words).length > 0;
  const more = element("details", {open: isOpen}, element("summary", {}, "More filters"),
    element("div", {class: "more"}, ...worded, ...ranges));
  const buttons = element("span", {class: "buttons"});
  if (labelled) buttons.append(element("button", {type: "button", id: "surest", onclick: surest}, "Wrong, surest first"));
  buttons.append(element("button", {type: "button", id: "all", onclick: all}, "All videos"));
  form.replaceChildren(...parts, buttons, more);
}
