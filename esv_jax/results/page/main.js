// @ts-check
"use strict";

// What is on the screen, and its address: #uid=...&class=...&against=...&frames=T&view=overview.

/** @type {Index} */
const index = JSON.parse(byId("index").textContent ?? "");

/** @typedef {{uid: string, class: string, against: string, frames: string, view: string}} Address */

/** @returns {Address} */
function readAddress() {
  const given = new URLSearchParams(location.hash.slice(1));
  const part = (/** @type {string} */ name) => given.get(name) ?? "";
  return {uid: part("uid"), class: part("class"), against: part("against"), frames: part("frames"), view: part("view")};
}

/** @param {Partial<Address>} address */
function writeAddress(address) {
  const parts = Object.entries(address).filter(([, value]) => value !== "" && value !== undefined);
  location.hash = parts.map(([name, value]) => `${name}=${encodeURIComponent(String(value))}`).join("&");
}

/** The number of a class that an address names. @param {string} name */
function classNumber(name) {
  return index.classes.indexOf(name);
}

async function start() {
  const root = document.documentElement.style;
  for (const [name, colour] of Object.entries(index.colours)) root.setProperty(`--${name}`, colour);
  const [uids, ...more] = await Promise.all([unpackedJson(index.uids), ...index.columns.map(async ({name, values}) =>
    ({name, words: await unpackedJson(values.words), at: await unpacked(values.at)}))]);
  /** @type {Record<string, string>} */
  const problems = await unpackedJson(index.problems);
  /** @type {(Table | undefined)[]} */
  const tables = index.sets.map(() => undefined);
  let filters = noFilters();
  /** @type {Sorting} */
  let sorting = {key: "", down: false};
  /** @type {Table} */
  let table;
  /** @type {Column[]} */
  let columns = [];
  /** @type {number[]} */
  let rows = [];
  /** @type {Map<Table, Promise<OfAll>>} */
  const ofAll = new Map();

  const tableView = new TableView(byId("table"), choose, (key) => {
    sorting = {key, down: sorting.key === key ? !sorting.down : !columns.some((c) => c.key === key && c.isText)};
    refresh();
  });
  const videoView = new VideoView(byId("video"), {ask, step, close: () => writeAddress({...readAddress(), uid: "",
    class: "", against: ""})});
  const numFrames = /** @type {HTMLSelectElement} */ (byId("num-frames"));
  numFrames.append(...index.sets.map(({num_frames: T}) => element("option", {value: T}, String(T))));
  if (index.sets.length < 2) numFrames.closest("label")?.setAttribute("hidden", "");
  numFrames.addEventListener("change", () => writeAddress({...readAddress(), frames: numFrames.value}));
  byId("show-videos").addEventListener("click", () => writeAddress({...readAddress(), view: ""}));
  byId("show-overview").addEventListener("click", () => writeAddress({...readAddress(), view: "overview"}));
  addEventListener("hashchange", () => void follow());
  addEventListener("keydown", (event) => {
    if (event.key === "Escape" && readAddress().uid) writeAddress({...readAddress(), uid: "", class: "", against: ""});
  });

  /** Shows what the address says. */
  async function follow() {
    const address = readAddress();
    const wanted = index.sets.findIndex(({num_frames: T}) => String(T) === address.frames);
    const set = Math.max(0, wanted);
    const shown = tables[set] ?? await tableOf(index.sets[set], uids, more);
    tables[set] = shown;
    numFrames.value = String(shown.T);
    if (table !== shown) {
      table = shown;
      columns = columnsOf(table, index.classes);
      showFilters();
      refresh();
    }
    const isOverview = address.view === "overview";
    byId("show-videos").setAttribute("aria-pressed", String(!isOverview));
    byId("show-overview").setAttribute("aria-pressed", String(isOverview));
    byId("table").hidden = isOverview;
    byId("overview").hidden = !isOverview;
    document.body.classList.toggle("of-overview", isOverview);
    if (isOverview) await showOverview();
    else tableView.draw();
    await showVideo(address);
  }

  /** @param {Address} address */
  async function showVideo(address) {
    tableView.mark(address.uid);
    document.body.classList.toggle("of-video", address.uid !== "");
    if (address.uid === "") {
      byId("video").hidden = true;
      byId("video").replaceChildren();
      document.title = index.title;
      return;
    }
    document.title = `${address.uid} – ${index.title}`;
    const row = table.rowOf.get(address.uid);
    if (row === undefined) {
      const why = uids.includes(address.uid) ? `has no values by ${table.T} frames: choose another number of frames`
        : "is not in this store";
      videoView.fail(address.uid, `This video ${why}.`);
      return;
    }
    try {
      const video = await videoAt(table, row);
      if (readAddress().uid !== address.uid) return; // another one was chosen meanwhile
      const of = classNumber(address.class);
      const question = of < 0 ? firstQuestion(table, row) : {of, against: classNumber(address.against)};
      videoView.show(table, row, video, question);
    } catch (error) {
      videoView.fail(address.uid, `The values cannot be shown: ${error instanceof Error ? error.message : error}.`);
    }
  }

  async function showOverview() {
    const mine = ofAll.get(table) ?? valuesOfAll(table);
    ofAll.set(table, mine);
    try {
      const all = await mine;
      drawOverview(byId("overview"), table, all, rows, (change) => {
        change(filters);
        showFilters();
        refresh();
        writeAddress({...readAddress(), view: ""});
      });
    } catch (error) {
      ofAll.delete(table);
      byId("overview").replaceChildren(element("p", {class: "problem", role: "alert"},
        `The overview cannot be shown: ${error instanceof Error ? error.message : error}.`));
    }
  }

  /** Filters and sorts again. */
  function refresh() {
    rows = passing(table, columns, filters);
    const column = columns.find(({key}) => key === sorting.key);
    if (column) sortRows(rows, column, sorting.down);
    tableView.show(table, columns, rows, sorting);
    const without = Object.keys(problems).length, absent = uids.length - table.count;
    byId("count").replaceChildren(`${rows.length.toLocaleString("en")} of ${table.count.toLocaleString("en")} videos`
      + `${absent ? `; ${absent} have no values by ${table.T} frames` : ""}`
      + `${without ? `; ${without} are shown without their frames` : ""}`);
    if (readAddress().view === "overview") void showOverview();
  }

  function showFilters() {
    drawFilters(byId("filters"), table, columns, index.classes, filters, refresh, () => {
      filters = {...noFilters(), outcome: "wrong"};
      sorting = {key: "score", down: true};
      showFilters();
      refresh();
    }, () => {
      filters = noFilters();
      sorting = {key: "", down: false};
      showFilters();
      refresh();
    });
  }

  /** @param {string} uid */
  function choose(uid) {
    writeAddress({...readAddress(), uid, class: "", against: ""});
  }

  /** @param {Question} question */
  function ask({of, against}) {
    writeAddress({...readAddress(), class: index.classes[of], against: against < 0 ? "" : index.classes[against]});
  }

  /** Chooses the next video in the order of the table, or the one before. @param {number} by */
  function step(by) {
    const at = rows.findIndex((row) => table.uid[row] === readAddress().uid) + by;
    if (at >= 0 && at < rows.length) choose(table.uid[rows[at]]);
  }

  byId("filters").addEventListener("submit", (event) => event.preventDefault());
  byId("message").remove();
  document.body.classList.toggle("of-one", uids.length === 1);
  if (uids.length === 1 && !readAddress().uid) choose(uids[0]);
  await follow();
}

start().catch((error) => {
  const message = document.getElementById("message") ?? element("p", {id: "message", role: "alert"});
  message.textContent = `This page cannot be shown: ${error instanceof Error ? error.message : error}. It needs a browser `
    + "of 2024 or newer.";
  document.body.prepend(message);
  throw error;
});
