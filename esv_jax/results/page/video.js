// @ts-check
"use strict";

// One video: what was predicted, its frames by what they did to a class's score, the curve of that, and the film.

const DECIMALS = 3, MOST_PREDICTIONS = 5, STILL = 320;
const LONGEST_SEEK = 500; // milliseconds

/**
 * What is looked at: a class, in contrast to another one if `against` is not -1.
 * @typedef {{of: number, against: number}} Question
 */
/**
 * Values [T] of a question, the ends of their intervals if there are any, and what they add up to.
 * @typedef {{values: number[], low: number[] | null, high: number[] | null, prior: number, score: number,
 *   supporting: number, distracting: number, gap: number, sampled: boolean}} Answer
 */

/** @param {Table} table @param {Video} video @param {Question} question @returns {Answer} */
function answerOf(table, {values}, {of, against}) {
  const C = index.classes.length, {T} = table, {prior, sampled} = table.stored;
  const column = (/** @type {string} */ name, /** @type {number} */ c) =>
    Array.from({length: T}, (_, t) => values[name][t * C + c]);
  const one = (/** @type {number} */ c) => {
    const esv = column("esv", c), score = values.score[c], supporting = values.supporting[c];
    const distracting = values.distracting ? values.distracting[c] : score - prior[c] - supporting;
    const gap = sampled ? score - prior[c] - supporting - distracting : 0;
    return {values: esv, prior: prior[c], score, supporting, distracting, gap, sampled};
  };
  const mine = one(of);
  if (against < 0) {
    const ends = values.low && values.high ? [column("low", of), column("high", of)] : withErrors(mine.values);
    const finite = ends && ends.every((end) => end.every(Number.isFinite));
    return {...mine, low: finite && ends ? ends[0] : null, high: finite && ends ? ends[1] : null};
  }
  const other = one(against), esv = mine.values.map((value, t) => value - other.values[t]);
  const sum = (/** @type {number} */ sign) => esv.reduce((total, value) => total + (sign * value > 0 ? value : 0), 0);
  const score = mine.score - other.score, priors = mine.prior - other.prior, supporting = sum(1);
  const distracting = sampled ? sum(-1) : score - priors - supporting;
  return {values: esv, low: null, high: null, prior: priors, score, supporting, distracting,
    gap: sampled ? score - priors - supporting - distracting : 0, sampled};

  /** Where a store has no intervals, two standard errors to each side. @param {number[]} esv */
  function withErrors(esv) {
    if (!values.std_error) return null;
    const error = column("std_error", of);
    return [esv.map((value, t) => value - 1.96 * error[t]), esv.map((value, t) => value + 1.96 * error[t])];
  }
}

/** The classes that a video is looked at with first: the predicted one, against the true one if that is another.
 *  @param {Table} table @param {number} row @returns {Question} */
function firstQuestion(table, row) {
  return {of: table.predicted[row], against: isRight(table, row) === false ? table.label[row] : -1};
}

/** The sum of a score in words and numbers that add up as they are written. @param {Answer} answer
 *  @param {Question} question */
function sumInWords(answer, {of, against}) {
  const [prior, score] = addUpEnds(answer);
  const terms = answer.sampled ? [answer.supporting, answer.distracting, answer.gap]
    : [answer.supporting, answer.distracting];
  const [supporting, distracting, gap] = addUp(terms, score - prior, DECIMALS);
  const part = (/** @type {string} */ says, /** @type {number} */ value, /** @type {string} */ kind, signed = true) =>
    element("span", {class: `term ${kind}`}, `${says} `, element("b", {}, printed(value, DECIMALS, signed)));
  const name = index.classes[of], nameless = against >= 0 ? `${name} minus ${index.classes[against]}` : name;
  const sum = element("p", {class: "sum", id: "sum"}, element("span", {class: "of-class"}, `${nameless}: `),
    part(against >= 0 ? "difference of the priors" : "prior", prior, "prior", against >= 0), " ",
    part("▲ supporting frames", supporting, "supports"), " ", part("▼ distracting frames", distracting, "distracts"));
  if (answer.sampled) sum.append(" ", part("not explained by the sample", gap, "gap"));
  sum.append(" = ", part(against >= 0 ? "difference of the scores" : "score", score, "score", against >= 0));
  return sum;

  /** @param {Answer} of_answer */
  function addUpEnds(of_answer) {
    const unit = 10 ** DECIMALS;
    return [of_answer.prior, of_answer.score].map((value) => Math.round(value * unit) / unit);
  }
}

/** A video on the screen. */
class VideoView {
  /** @param {HTMLElement} root
   *  @param {{ask: (question: Question) => void, step: (by: number) => void, close: () => void}} actions */
  constructor(root, actions) {
    this.root = root;
    this.actions = actions;
    /** @type {Table | null} */
    this.table = null;
    /** @type {Video | null} */
    this.video = null;
    this.row = -1;
    /** @type {Question} */
    this.question = {of: 0, against: -1};
    this.at = 0; // the frame of T that is shown
    /** @type {HTMLVideoElement | null} */
    this.player = null;
    /** @type {number | null} */
    this.wanted = null; // the second that the player is sent to, while it is
    this.curveBox = element("div", {class: "curve"});
    this.strip = element("div", {class: "frames", role: "listbox", "aria-label": "Frames, in their order",
      "aria-orientation": "horizontal"});
    this.strip.addEventListener("keydown", (event) => this.key(event));
    this.caption = element("figcaption", {id: "frame"});
    this.still = element("div", {class: "still"});
    new ResizeObserver(() => this.drawCurve()).observe(this.curveBox);
    new ResizeObserver(() => this.resized()).observe(this.strip);
  }

  /** Draws a video. @param {Table} table @param {number} row @param {Video} video @param {Question} question */
  show(table, row, video, question) {
    const isNew = this.video !== video || this.table !== table;
    this.table = table;
    this.row = row;
    this.video = video;
    this.question = question;
    this.answer = answerOf(table, video, question);
    if (isNew) {
      this.at = topOf(this.answer.values.map(Math.abs));
    }
    this.root.hidden = false; // what is hidden has no width
    const stage = isNew ? this.stage() : this.root.querySelector(".stage");
    this.root.replaceChildren(...this.header(), this.predictions(), this.classChoice(), sumInWords(this.answer, question),
      this.legend(), this.strip, element("div", {class: "film"}, ...(stage ? [stage] : []), this.curveBox),
      this.numbers(), ...this.pairs(), this.provenance());
    this.drawStrip();
    this.drawCurve();
    this.lookAt(this.at, isNew);
  }

  /** Tells that there is nothing to draw. @param {string} uid @param {string} why */
  fail(uid, why) {
    this.video = null;
    this.root.replaceChildren(element("h2", {}, uid), element("p", {class: "problem", role: "alert"}, why),
      element("button", {type: "button", class: "close", onclick: this.actions.close}, "Back to the videos"));
    this.root.hidden = false;
  }

  header() {
    const table = /** @type {Table} */ (this.table), {row} = this, right = isRight(table, row);
    const predicted = index.classes[table.predicted[row]];
    const said = right === null ? "" : right ? ", which is right" : `, but the label is ${index.classes[table.label[row]]}`;
    const button = (/** @type {string} */ name, /** @type {string} */ title, /** @type {() => void} */ onclick,
      /** @type {string} */ kind) => element("button", {type: "button", class: kind, title, onclick}, name);
    return [
      element("div", {class: "heading"}, element("h2", {tabindex: -1}, table.uid[row]),
        element("span", {class: "steps"},
          button("‹ previous", "The video before, in the order of the table", () => this.actions.step(-1), "previous"),
          button("next ›", "The next video, in the order of the table", () => this.actions.step(1), "next"),
          button("× close", "Back to the videos", this.actions.close, "close"))),
      element("p", {class: right === false ? "verdict wrong" : "verdict"}, `Predicted: ${predicted}, score `
        + `${printed(table.score[row], DECIMALS)}${said}. ${table.T} of ${table.length[row]} frames were shown.`),
    ];
  }

  predictions() {
    const table = /** @type {Table} */ (this.table), {row, question} = this;
    const {score} = /** @type {Video} */ (this.video).values;
    const order = Array.from(score, (_, c) => c).sort((a, b) => score[b] - score[a] || a - b);
    const shown = order.slice(0, MOST_PREDICTIONS);
    for (const c of [table.label[row], question.of, question.against]) {
      if (c >= 0 && !shown.includes(c)) shown.push(c);
    }
    const largest = Math.max(...shown.map((c) => Math.abs(score[c])), 1e-9);
    return element("ol", {class: "predictions", "aria-label": "Scores of classes, the highest first"},
      ...shown.map((c) => {
        const bar = drawn("svg", {viewBox: "0 0 100 10", preserveAspectRatio: "none", "aria-hidden": "true"},
          drawn("rect", {width: 100 * Math.max(0, score[c]) / largest, height: 10}));
        const role = c === table.label[row] ? " (true class)" : "";
        const asked = () => this.actions.ask({of: c, against: -1});
        return element("li", {}, element("button", {type: "button", "aria-pressed": c === question.of, onclick: asked,
          title: "Show what frames did to this class"}, element("span", {class: "name"}, `${index.classes[c]}${role}`), bar,
          element("span", {class: "number"}, printed(score[c], DECIMALS))));
      }));
  }

  classChoice() {
    const {question} = this;
    const names = index.classes.map((name, c) => ({name, c})).sort((a, b) => (a.name < b.name ? -1 : 1));
    const options = () => names.map(({name, c}) => element("option", {value: c}, name));
    const of = element("select", {id: "class", onchange: () => this.actions.ask({...question, of: Number(of.value)})},
      ...options());
    const against = element("select", {id: "against",
      onchange: () => this.actions.ask({...question, against: Number(against.value)})},
      element("option", {value: -1}, "nothing: this class alone"), ...options());
    of.value = String(question.of);
    against.value = String(question.against);
    return element("p", {class: "classes"}, element("label", {}, "Values for ", of),
      element("label", {}, " minus ", against));
  }

  legend() {
    const {low} = /** @type {Answer} */ (this.answer), sampled = /** @type {Table} */ (this.table).stored.sampled;
    const intervals = low ? "I  95 % interval" : !sampled ? "" : this.question.against >= 0
      ? "no intervals: those of a difference are not in the store" : "too few samples for intervals";
    const mark = (/** @type {string} */ d, /** @type {string} */ kind) =>
      drawn("svg", {viewBox: "0 0 10 10", width: 10, height: 10, "aria-hidden": "true"}, drawn("path", {d, class: kind}));
    return element("p", {class: "legend"}, mark("M5 0L0 10h10z", "supporting"), " supporting  ",
      mark("M5 10L0 0h10z", "distracting"), ` distracting  ${intervals}`);
  }

  // Frames

  resized() {
    if (!this.video || this.strip.clientWidth === this.width) return;
    this.drawStrip();
    this.lookAt(this.at, false);
  }

  /** The picture of a frame, so wide; a box with its number where there is no picture.
   *  @param {number} t @param {number} wide pixels */
  picture(t, wide) {
    const {about} = /** @type {Video} */ (this.video);
    const {sprite, columns = 1, width = 4, height = 3} = about;
    const tall = Math.round(wide * height / width);
    const box = element("span", {class: "picture"});
    box.style.width = `${wide}px`;
    box.style.height = `${tall}px`;
    if (!sprite) {
      box.classList.add("empty");
      box.append(String(about.frames[t]));
      return box;
    }
    const image = element("img", {src: addressOf(sprite), alt: "", draggable: "false"});
    image.style.width = `${wide * columns}px`;
    image.style.left = `${-(t % columns) * wide}px`;
    image.style.top = `${-Math.floor(t / columns) * tall}px`;
    image.addEventListener("error", () => { box.classList.add("empty"); box.replaceChildren(String(about.frames[t])); });
    box.append(image);
    return box;
  }

  /** What a frame is called: its number in the video, and its time. @param {number} t */
  nameOf(t) {
    const {frames, times, names} = /** @type {Video} */ (this.video).about;
    return `${names ? names[t] : `frame ${frames[t]}`}${times ? `, ${timeText(times[t], times[times.length - 1])}` : ""}`;
  }

  drawStrip() {
    const {values} = /** @type {Answer} */ (this.answer);
    const strongest = Math.max(...values.map(Math.abs).filter(Number.isFinite), 1e-9);
    this.width = this.strip.clientWidth;
    const space = this.width || 800;
    this.strip.classList.toggle("none-up", !values.some((value) => value > 0));
    this.strip.classList.toggle("none-down", !values.some((value) => !(value > 0)));
    const cell = Math.min(Math.max(Math.floor(space / values.length) - 2, 56), 112);
    const BAR = 26, {width = 4, height = 3} = /** @type {Video} */ (this.video).about;
    this.strip.replaceChildren(...values.map((value, t) => {
      const share = Math.min(1, Math.abs(value) / strongest) || 0;
      const up = element("span", {class: "up"}), down = element("span", {class: "down"});
      const mark = `${markOf(value)} ${printed(value, DECIMALS, true)}`;
      const bar = element("span", {class: "bar"});
      bar.style.height = `${Math.round(share * BAR)}px`;
      if (value > 0) up.append(element("span", {class: "mark"}, mark), bar);
      else down.append(bar, element("span", {class: "mark"}, mark));
      const frame = element("span", {class: "picture-space"}, this.picture(t, Math.round(cell * (0.5 + 0.5 * share))));
      frame.style.height = `${Math.round(cell * height / width)}px`;
      const made = element("div", {role: "option", class: `frame ${signOf(value)}`, "data-t": t, "aria-selected": false,
        tabindex: -1, "aria-label": `${this.nameOf(t)}: ${signOf(value)}, ${printed(value, DECIMALS, true)}`,
        onmouseenter: () => this.hover(t), onclick: () => { this.lookAt(t); made.focus(); }},
        up, frame, down, element("span", {class: "time"}, this.shortName(t)));
      made.style.width = `${cell}px`;
      return made;
    }));
  }

  /** @param {number} t */
  shortName(t) {
    const {frames, times} = /** @type {Video} */ (this.video).about;
    return times ? timeText(times[t], times[times.length - 1]) : String(frames[t]);
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    const last = /** @type {Table} */ (this.table).T - 1;
    /** @type {Record<string, number>} */
    const moves = {ArrowLeft: this.at - 1, ArrowRight: this.at + 1, Home: 0, End: last};
    if (!(event.key in moves) || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    this.lookAt(Math.min(Math.max(moves[event.key], 0), last));
    const frame = this.strip.children[this.at];
    if (frame instanceof HTMLElement) frame.focus();
  }

  /** Shows a frame that the pointer is at, unless the film runs. @param {number} t */
  hover(t) {
    if (!this.player || this.player.paused) this.lookAt(t);
  }

  /** Shows a frame everywhere. @param {number} t @param {boolean} seek */
  lookAt(t, seek = true) {
    this.at = t;
    for (const [i, frame] of Array.from(this.strip.children).entries()) {
      frame.setAttribute("aria-selected", String(i === t));
      frame.setAttribute("tabindex", i === t ? "0" : "-1");
    }
    const answer = /** @type {Answer} */ (this.answer), value = answer.values[t];
    const interval = answer.low && answer.high
      ? ` (${printed(answer.low[t], 4)} to ${printed(answer.high[t], 4)})` : "";
    this.caption.replaceChildren(`${this.nameOf(t)}: `, element("span", {class: value > 0 ? "supports" : "distracts"},
      markOf(value)), ` ${printed(value, 4, true)}${interval}`);
    this.still.replaceChildren(this.picture(t, Math.min(this.root.clientWidth || STILL, STILL)));
    if (seek) this.seek(t);
    this.drawCursor(this.second(t));
  }

  /** Where a frame is on the curve: its time, else its number. @param {number} t */
  second(t) {
    const {times, frames} = /** @type {Video} */ (this.video).about;
    return times ? times[t] : frames[t];
  }

  // The film

  stage() {
    const {src, problem} = /** @type {Video} */ (this.video).about;
    this.player = null;
    this.wanted = null;
    if (!src) {
      const why = problem ? [element("p", {class: "problem"}, `Not shown: ${problem}`)] : [];
      return element("figure", {class: "stage"}, this.still, this.caption, ...why);
    }
    const player = element("video", {src: addressOf(src), controls: true, muted: true, playsinline: true, preload: "auto"});
    player.muted = true;
    this.player = player;
    // Of a film nothing is printed, of the still nothing is shown beside it.
    const figure = element("figure", {class: "stage of-film"}, player, this.still, this.caption);
    player.addEventListener("error", () => {
      if (this.player !== player) return;
      this.player = null;
      player.remove();
      figure.classList.remove("of-film");
      figure.append(element("p", {class: "problem", role: "alert"}, `${decodeURI(src)} is missing, or this browser cannot `
        + "play it: frames alone are shown. make_page --videos=preview makes files that browsers play."));
      this.lookAt(this.at);
    });
    const follow = () => {
      if (this.player !== player || player.paused) return;
      this.follow(player.currentTime);
      requestAnimationFrame(follow);
    };
    player.addEventListener("play", follow);
    return figure;
  }

  /** @param {number} t */
  seek(t) {
    const {middles, start = 0} = /** @type {Video} */ (this.video).about;
    if (!this.player || !middles) return;
    const isBusy = this.wanted !== null;
    this.wanted = start + middles[t]; // at its very beginning players may show the frame before
    if (!isBusy) void this.send(this.player);
  }

  /** Sends the player to what is wanted, one after another: asked for the next before it has drawn one, it may never
   *  draw that. @param {HTMLVideoElement} player */
  async send(player) {
    let time = null;
    while (this.player === player && this.wanted !== null && this.wanted !== time) {
      time = this.wanted;
      const sought = new Promise((done) => player.addEventListener("seeked", done, {once: true}));
      const seen = new Promise((done) => (player.requestVideoFrameCallback
        ? player.requestVideoFrameCallback(done) : player.addEventListener("seeked", done, {once: true})));
      player.currentTime = time;
      await Promise.race([Promise.all([sought, seen]), new Promise((done) => setTimeout(done, LONGEST_SEEK))]);
    }
    if (this.player === player) this.wanted = null;
  }

  /** Moves the cursor along while the film runs. @param {number} now of the player */
  follow(now) {
    const {times, start = 0} = /** @type {Video} */ (this.video).about;
    if (!times) return;
    const passed = times.filter((time) => time <= now - start).length;
    this.lookAt(Math.max(0, passed - 1), false);
    this.drawCursor(now - start);
  }

  // The curve

  drawCurve() {
    if (!this.video || !this.answer || !this.curveBox.isConnected) return;
    const {values, low, high} = this.answer, {times} = this.video.about;
    const width = Math.max(260, this.curveBox.clientWidth || 600), height = 220;
    const left = 46, right = 10, top = 12, bottom = 34;
    const places = values.map((_, t) => this.second(t)), last = places[places.length - 1];
    const gap = places.length > 1 ? (last - places[0]) / (places.length - 1) / 2 : 0.5;
    const end = last + (gap || 0.5);
    const ends = [0, ...values, ...(low ?? []), ...(high ?? [])].filter(Number.isFinite);
    const least = Math.min(...ends), most = Math.max(...ends), room = (most - least || 1) * 0.08;
    const x = (/** @type {number} */ place) => left + (width - left - right) * Math.min(place / end, 1);
    const y = (/** @type {number} */ value) =>
      top + (height - top - bottom) * (most + room - value) / (most - least + 2 * room);
    this.curve = {x, top, bottom: height - bottom};
    const picture = drawn("svg", {width, height, viewBox: `0 0 ${width} ${height}`, role: "img",
      "aria-label": `Curve of the values along the video: highest at ${this.nameOf(topOf(values))}, `
        + `lowest at ${this.nameOf(topOf(values.map((value) => -value)))}; the table below has all numbers`});
    for (const tick of ticks(least - room, most + room, 4)) {
      picture.append(drawn("path", {d: `M${left} ${y(tick)}H${width - right}`, class: tick === 0 ? "axis" : "tick"}),
        drawn("text", {x: left - 5, y: y(tick) + 4, "text-anchor": "end"}, printed(tick, tickDecimals(most - least))));
    }
    for (const tick of ticks(0, end, Math.max(2, Math.floor(width / 90)))) {
      picture.append(drawn("text", {x: x(tick), y: height - bottom + 16, "text-anchor": "middle"}, String(tick)));
    }
    picture.append(drawn("text", {x: width - right, y: height - 3, "text-anchor": "end"}, times ? "seconds" : "frame"));
    const points = values.map((value, t) => ({value, t, x: x(places[t]), y: y(value)})).filter((p) => Number.isFinite(p.y));
    picture.append(drawn("path", {class: "line", d: points.map((p, i) => `${i ? "L" : "M"}${p.x} ${p.y}`).join("")}));
    if (low && high) {
      const d = points.map((p) => `M${p.x} ${y(low[p.t])}V${y(high[p.t])}M${p.x - 3} ${y(low[p.t])}h6`
        + `M${p.x - 3} ${y(high[p.t])}h6`).join("");
      picture.append(drawn("path", {class: "interval", d}));
    }
    const r = Math.min(5.5, Math.max(2.5, 120 / values.length));
    for (const p of points) {
      const sign = p.value > 0 ? -1 : 1; // apex up or down
      picture.append(drawn("path", {class: signOf(p.value), "data-t": p.t,
        d: `M${p.x} ${p.y + sign * r}L${p.x - r} ${p.y - sign * r}h${2 * r}z`}));
    }
    this.cursor = drawn("path", {class: "cursor"});
    picture.append(this.cursor);
    const nearest = (/** @type {MouseEvent} */ event) => {
      const at = event.clientX - picture.getBoundingClientRect().left;
      const distances = places.map((place) => Math.abs(x(place) - at));
      return distances.indexOf(Math.min(...distances));
    };
    picture.addEventListener("mousemove", (event) => this.hover(nearest(event)));
    picture.addEventListener("click", (event) => this.lookAt(nearest(event)));
    this.curveBox.replaceChildren(picture);
    this.drawCursor(this.second(this.at));
  }

  /** @param {number} place */
  drawCursor(place) {
    if (!this.cursor || !this.curve) return;
    this.cursor.setAttribute("d", `M${this.curve.x(place)} ${this.curve.top}V${this.curve.bottom}`);
  }

  // Numbers

  numbers() {
    const {values, low, high} = /** @type {Answer} */ (this.answer);
    const {frames, times, names} = /** @type {Video} */ (this.video).about;
    const heads = ["frame", ...(times ? ["seconds"] : []), "", "ESV", ...(low ? ["from", "to"] : [])];
    const rows = values.map((value, t) => element("tr", {}, element("th", {scope: "row"}, names ? names[t] : String(frames[t])),
      ...[...(times ? [times[t].toFixed(3)] : []), `${markOf(value)} ${signOf(value)}`, printed(value, 4, true),
        ...(low && high ? [printed(low[t], 4), printed(high[t], 4)] : [])].map((text) => element("td", {}, text))));
    return element("details", {class: "numbers"}, element("summary", {}, "All values, as a table"),
      element("table", {}, element("caption", {}, `Element Shapley Values for ${this.asked()}`),
        element("thead", {}, element("tr", {}, ...heads.map((head) => element("th", {scope: "col"}, head || "sign")))),
        element("tbody", {}, ...rows)));
  }

  asked() {
    const {of, against} = this.question;
    return against >= 0 ? `${index.classes[of]} minus ${index.classes[against]}` : index.classes[of];
  }

  /** The triangle of what two frames do together, where there is one. */
  pairs() {
    const all = /** @type {Video} */ (this.video).values.pairs;
    if (!all) return [];
    const {T} = /** @type {Table} */ (this.table), C = index.classes.length, {of, against} = this.question;
    const value = (/** @type {number} */ i, /** @type {number} */ j) =>
      all[(i * T + j) * C + of] - (against >= 0 ? all[(i * T + j) * C + against] : 0);
    const cells = [];
    for (let i = 0; i < T; i++) for (let j = i + 1; j < T; j++) cells.push({i, j, value: value(i, j)});
    if (!cells.length) return [];
    const strongest = Math.max(...cells.map((cell) => Math.abs(cell.value)), 1e-9);
    const highest = cells.reduce((a, b) => (b.value > a.value ? b : a));
    const size = 36, width = T * size;
    const picture = drawn("svg", {viewBox: `0 0 ${width} ${width / 2 + 16}`, role: "img", class: "pairs",
      "aria-label": "What two frames do together; the table has the strongest pairs"});
    picture.style.maxWidth = `${1.3 * width}px`;
    for (const {i, j, value: v} of cells) {
      const middle = (i + j + 1) / 2 * size, up = width / 2 - (j - i) / 2 * size, half = size / 2;
      const cell = drawn("path", {class: signOf(v), "fill-opacity": (Math.abs(v) / strongest).toFixed(3),
        d: `M${middle} ${up - half}l${half} ${half}l${-half} ${half}l${-half} ${-half}z`},
        drawn("title", {}, `${this.nameOf(i)} and ${this.nameOf(j)}: ${printed(v, 4, true)}`));
      picture.append(cell);
      if (Math.abs(v) > strongest / 4) {
        picture.append(drawn("text", {x: middle, y: up + 4, "text-anchor": "middle"}, markOf(v)));
      }
    }
    const {frames} = /** @type {Video} */ (this.video).about;
    frames.forEach((frame, t) => picture.append(
      drawn("text", {x: (t + 0.5) * size, y: width / 2 + 14, "text-anchor": "middle"}, String(frame))));
    const order = cells.sort((a, b) => Math.abs(b.value) - Math.abs(a.value)).slice(0, 10);
    const rows = order.map(({i, j, value: v}) => element("tr", {}, element("th", {scope: "row"},
      `${this.nameOf(i)} and ${this.nameOf(j)}`), element("td", {}, `${markOf(v)} ${printed(v, 4, true)}`)));
    return [element("section", {class: "pairs-of", "aria-label": "Pairs of frames"}, element("h3", {},
      `Two frames together: most by ${this.nameOf(highest.i)} and ${this.nameOf(highest.j)} `
      + `(${printed(highest.value, DECIMALS, true)})`), picture, element("details", {}, element("summary", {},
      "The strongest pairs"), element("table", {}, element("tbody", {}, ...rows))))];
  }

  provenance() {
    const {about} = /** @type {Table} */ (this.table).stored;
    const rows = Object.entries(about).flatMap(([name, value]) => [element("dt", {}, name.replaceAll("_", " ")),
      element("dd", {}, typeof value === "string" ? value : JSON.stringify(value))]);
    return element("details", {class: "provenance"}, element("summary", {}, "How these values were made"),
      element("dl", {}, ...rows));
  }
}

/** Round numbers within two ends, about so many. @param {number} least @param {number} most @param {number} count */
function ticks(least, most, count) {
  const step = roundStep((most - least) / count), found = [];
  for (let k = Math.ceil(least / step); k * step <= most; k++) found.push(Number((k * step).toPrecision(6)));
  return found;
}

/** @param {number} rough */
function roundStep(rough) {
  const unit = 10 ** Math.floor(Math.log10(rough || 1));
  return unit * ([1, 2, 5].find((n) => n * unit >= rough) ?? 10);
}

/** @param {number} range */
function tickDecimals(range) {
  return Math.min(4, Math.max(0, Math.ceil(-Math.log10(roundStep(range / 4) || 1))));
}
