// @ts-check
"use strict";

// What a page holds: numbers and texts unpacked, and files of values that are loaded when they are needed.

/** @typedef {{type: string, bytes: string}} Packed */
/** @typedef {Float32Array | Int32Array | Int16Array | Int8Array} Numbers */
/** @typedef {{words: string, at: Packed}} Words */
/**
 * What index.html says of the values by so many frames; see `build.py`.
 * @typedef {{num_frames: number, count: number, sampled: boolean, prior: number[], who: Packed, label: Packed,
 *   length: Packed, predicted: Packed, most_at: Packed, least_at: Packed, score: Packed, most: Packed, least: Packed,
 *   std_error?: Packed, strip: Packed, chunks: [number, string][], of_all: string, about: Record<string, any>,
 *   left_out: Record<string, string>}} StoredSet
 */
/**
 * @typedef {{title: string, classes: string[], colours: {supporting: string, distracting: string}, steps: number,
 *   uids: string, columns: {name: string, values: Words}[], sets: StoredSet[], problems: string}} Index
 */
/**
 * The values by T frames of `count` videos, as the table needs them.
 * @typedef {{stored: StoredSet, T: number, count: number, uid: string[], label: Numbers, length: Numbers,
 *   predicted: Numbers, score: Numbers, most: Numbers, mostAt: Numbers, least: Numbers, leastAt: Numbers,
 *   stdError: Numbers | null, strip: Numbers, more: {name: string, words: string[], at: Numbers}[],
 *   rowOf: Map<string, number>}} Table
 */
/**
 * @typedef {{frames: number[], names?: string[], times?: number[], sprite?: string, columns?: number, width?: number, height?: number,
 *   src?: string, start?: number, middles?: number[], problem?: string}} About
 */
/**
 * All values of one video: esv, low, ... [T, C] and score, ... [C], as one row of numbers each.
 * @typedef {{about: About, values: Record<string, Numbers>}} Video
 */

const NOTHING = -32768, ZERO = -32767;
const KEPT_FILES = 6;

/** @type {Map<string, (content: any) => void>} */
const waiting = new Map();

/** What every file of values calls. @param {string} name @param {any} content */
function esvArrived(name, content) {
  waiting.get(name)?.(content);
}

/** The content of an element of the page, if there is one. @param {string} name */
function inlined(name) {
  const element = document.getElementById(name);
  return element instanceof HTMLScriptElement ? JSON.parse(element.textContent ?? "null") : null;
}

/** Where a file of the page is: beside it, or in it. @param {string} name @returns {string} */
function addressOf(name) {
  return inlined(name) ?? name;
}

/** Loads a file of values: by a script, as a page from the disk can ask for nothing else. @param {string} name */
function load(name) {
  const inside = inlined(name);
  if (inside !== null) return Promise.resolve(inside);
  return new Promise((resolve, reject) => {
    const script = document.createElement("script");
    const done = () => { waiting.delete(name); script.remove(); };
    waiting.set(name, (content) => { done(); resolve(content); });
    script.onerror = () => { done(); reject(new Error(`${name} is missing or cannot be read: make the page again`)); };
    script.onload = () => { if (waiting.has(name)) script.onerror?.("damaged"); };
    script.src = name;
    document.head.append(script);
  });
}

/** @param {string} base64 @returns {Promise<Uint8Array>} */
async function inflated(base64) {
  const text = atob(base64), bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** @param {string} base64 @returns {Promise<any>} */
async function unpackedJson(base64) {
  return JSON.parse(new TextDecoder().decode(await inflated(base64)));
}

/** The numbers of an array, in a row. What is no number is NaN. @param {Packed} packed @returns {Promise<Numbers>} */
async function unpacked(packed) {
  const planes = await inflated(packed.bytes);
  const size = packed.type === "i1" ? 1 : packed.type === "fixed" ? 2 : 4;
  const count = planes.length / size, bytes = new Uint8Array(planes.length);
  for (let k = 0; k < size; k++) {
    for (let i = 0; i < count; i++) bytes[i * size + k] = planes[k * count + i];
  }
  if (packed.type === "i1") return new Int8Array(bytes.buffer);
  if (packed.type === "i4") return new Int32Array(bytes.buffer);
  if (packed.type === "f4") return new Float32Array(bytes.buffer);
  const whole = new Uint16Array(bytes.buffer), values = new Float32Array(count);
  for (let i = 0; i < count; i++) {
    const q = (whole[i] >> 1) ^ -(whole[i] & 1); // the sign is the last bit
    values[i] = q === ZERO ? 0 : q === NOTHING ? NaN : (q + 0.5) / index.steps;
  }
  return values;
}

/** @param {StoredSet} stored @param {string[]} uids @param {{name: string, words: string[], at: Numbers}[]} more
 *  @returns {Promise<Table>} */
async function tableOf(stored, uids, more) {
  const names = /** @type {const} */ (["who", "label", "length", "predicted", "score", "most", "most_at", "least",
    "least_at", "strip"]);
  const [who, label, length, predicted, score, most, mostAt, least, leastAt, strip] =
    await Promise.all(names.map((name) => unpacked(stored[name])));
  const stdError = stored.std_error ? await unpacked(stored.std_error) : null;
  const uid = Array.from(who, (number) => uids[number]);
  const own = more.map(({name, words, at}) => ({name, words, at: Int32Array.from(who, (number) => at[number])}));
  const rowOf = new Map(uid.map((name, row) => [name, row]));
  return {stored, T: stored.num_frames, count: stored.count, uid, label, length, predicted, score, most, mostAt, least,
    leastAt, stdError, strip, more: own, rowOf};
}

/** @type {Map<string, Promise<Video[]>>} The files looked at last, the newest behind. */
const kept = new Map();

/** @param {Table} table @param {number} row @returns {Promise<Video>} */
async function videoAt(table, row) {
  const {chunks} = table.stored;
  let chunk = 0;
  while (chunk + 1 < chunks.length && chunks[chunk + 1][0] <= row) chunk++;
  const [start, name] = chunks[chunk];
  const videos = kept.get(name) ?? load(name).then(videosOf);
  kept.delete(name);
  kept.set(name, videos);
  for (const old of [...kept.keys()].slice(0, -KEPT_FILES)) kept.delete(old);
  try {
    return (await videos)[row - start];
  } catch (error) {
    kept.delete(name);
    throw error;
  }
}

/** @param {{videos: About[], arrays: Record<string, Packed>}} content @returns {Promise<Video[]>} */
async function videosOf({videos, arrays}) {
  const names = Object.keys(arrays);
  const numbers = await Promise.all(names.map((name) => unpacked(arrays[name])));
  return videos.map((about, i) => {
    const cut = numbers.map((of_all) => {
      const size = of_all.length / videos.length;
      return of_all.subarray(i * size, (i + 1) * size);
    });
    return {about, values: Object.fromEntries(names.map((name, k) => [name, cut[k]]))};
  });
}

// Texts

/** A number as it stands in report.png: a true minus sign; a plus where asked, but none before a zero.
 *  @param {number} value @param {number} decimals */
function printed(value, decimals, signed = false) {
  if (!Number.isFinite(value)) return "–";
  const text = Math.abs(value).toFixed(decimals), isZero = Number(text) === 0;
  return `${isZero ? "" : value < 0 ? "−" : signed ? "+" : ""}${text}`;
}

/** Rounds terms so that, as printed, they add up to the total as printed, each within a unit of its last decimal.
 *  @param {number[]} terms @param {number} total @param {number} decimals */
function addUp(terms, total, decimals) {
  const unit = 10 ** -decimals, scaled = terms.map((term) => term / unit), rounded = scaled.map(Math.round);
  const missing = Math.round(total / unit) - rounded.reduce((sum, term) => sum + term, 0);
  const step = Math.sign(missing);
  const nearest = scaled.map((_, i) => i).sort((a, b) => step * (scaled[b] - rounded[b] - scaled[a] + rounded[a]));
  for (let i = 0; i < Math.abs(missing); i++) rounded[nearest[i % nearest.length]] += step;
  return rounded.map((term) => term * unit);
}

/** @param {number} seconds @param {number} longest */
function timeText(seconds, longest) {
  return `${seconds.toFixed(longest < 100 ? 2 : longest < 1000 ? 1 : 0)} s`;
}

/** Where the largest of some values is, those left out that are no numbers. @param {ArrayLike<number>} values */
function topOf(values) {
  let top = 0;
  for (let i = 1; i < values.length; i++) if (values[i] > values[top] || Number.isNaN(values[top])) top = i;
  return top;
}

// Elements

/**
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag @param {Record<string, any>} [attributes] @param {(Node | string)[]} children
 * @returns {HTMLElementTagNameMap[K]}
 */
function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value !== undefined && value !== null) made.setAttribute(name, String(value));
  }
  made.append(...children);
  return made;
}

/** @param {string} tag @param {Record<string, string | number>} [attributes] @param {(Node | string)[]} children
 *  @returns {SVGElement} */
function drawn(tag, attributes = {}, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, String(value));
  made.append(...children);
  return made;
}

/** The mark of a value: its sign by shape, as well as by colour. @param {number} value */
function markOf(value) {
  return value > 0 ? "▲" : value < 0 ? "▼" : "·";
}

/** @param {number} value */
function signOf(value) {
  return value > 0 ? "supporting" : value < 0 ? "distracting" : "neither";
}

/** @param {string} id @returns {HTMLElement} */
function byId(id) {
  const found = document.getElementById(id);
  if (!found) throw new Error(`the page has no ${id}`);
  return found;
}

/** Bars of values in a picture without words. @param {ArrayLike<number>} values @param {number} scale what fills it
 *  @param {number} width @param {number} height */
function bars(values, scale, width, height) {
  const picture = drawn("svg", {viewBox: `0 0 ${width} ${height}`, width, height, "aria-hidden": "true"});
  const wide = width / values.length, middle = height / 2;
  let up = "", down = "";
  for (let i = 0; i < values.length; i++) {
    const tall = Math.min(1, Math.abs(values[i]) / scale) * (middle - 0.5);
    const box = `M${(i * wide).toFixed(1)} ${middle}h${(wide * 0.8).toFixed(1)}`;
    if (values[i] > 0) up += `${box}v${-tall.toFixed(1)}h${(-wide * 0.8).toFixed(1)}z`;
    if (values[i] < 0) down += `${box}v${tall.toFixed(1)}h${(-wide * 0.8).toFixed(1)}z`;
  }
  picture.append(drawn("path", {d: up, class: "supporting"}), drawn("path", {d: down, class: "distracting"}),
    drawn("path", {d: `M0 ${middle}H${width}`, class: "axis"}));
  return picture;
}
