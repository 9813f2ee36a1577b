"use strict";
const byId = (id) => document.getElementById(id);
const read = (id) => JSON.parse(byId(id).textContent);
const { build, before, tasks, critical, causes, recipes } = read("overview");
const KINDS = ["failed", "ran", "restored", "skipped", "stale", "up to date", "not built"];
const byKey = new Map(tasks.map((task) => [task.key, task]));
const byAnchor = new Map(tasks.map((task) => [task.anchor, task]));
tasks.forEach((task, index) => { task.index = index; });

// Elements. Text is always appended as text, never as HTML.

function el(tag, attributes, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) made.setAttribute(name, value);
  made.append(...children);
  return made;
}
const kind = (what) => (KINDS.includes(what) ? what : "not built").replaceAll(" ", "-");
const address = (task) => `#task/${task.anchor}`;
const badge = (what) => el("span", { class: `what ${kind(what)}` }, what);

function taskLink(key) {
  const task = byKey.get(key);
  const [recipe, ...rest] = key.split(/(?<=:)/);
  const text = [recipe, ...rest.flatMap((part) => [el("wbr"), part])]; // a narrow screen breaks it there
  return task ? el("a", { href: address(task) }, ...text) : el("span", {}, ...text);
}

function many(count, one, more = `${one}s`) {
  return `${count.toLocaleString("en")} ${count === 1 ? one : more}`;
}

function duration(seconds) {
  if (seconds === null) return "";
  if (seconds === 0) return "0 s";
  if (seconds < 0.9995) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 59.95) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds), hours = Math.floor(whole / 3600), minutes = Math.floor(whole / 60) % 60;
  return hours ? `${hours} h ${minutes} min` : `${minutes} min ${whole % 60} s`;
}

function bytes(count) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let unit = 0;
  for (; count >= 999.5 && unit < 4; unit++) count /= 1000;
  return `${unit && count < 99.95 ? count.toFixed(1) : Math.round(count)} ${units[unit]}`;
}

function moment(seconds) {
  const date = new Date(seconds * 1000);
  if (Number.isNaN(date.getTime())) return el("span", {}, "unknown time");
  const text = date.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "medium" });
  return el("time", { datetime: date.toISOString() }, text);
}

function facts(pairs) {
  const list = el("dl", { class: "facts" });
  for (const [name, ...values] of pairs) {
    if (values.some((value) => value !== "")) list.append(el("dt", {}, name), el("dd", {}, ...values));
  }
  return list;
}

// Long lists show their beginning, and the rest on demand.
function limited(list, items, limit, make) {
  list.append(...items.slice(0, limit).map(make));
  if (items.length > limit) {
    const rest = el("button", { type: "button", class: "plain" }, `${items.length - limit} more`);
    rest.addEventListener("click", () => {
      const added = items.slice(limit).map(make);
      rest.replaceWith(...added);
      const link = added[0].querySelector?.("a");
      if (link) link.focus();
    });
    list.append(rest);
  }
  return list;
}

function diffBlock(text) {
  const lines = text.replace(/\n$/, "").split("\n");
  const folder = /^[A-Z] /.test(lines[0]); // the lines of each file in a folder are indented
  let inside = folder;
  const marked = lines.map((line) => {
    const bare = folder ? line.replace(/^ {4}/, "") : line;
    inside ||= bare.startsWith("@@");
    const heads = !inside && /^(---|\+\+\+) /.test(bare);
    return [heads || bare.startsWith("@@") ? "hunk" : { "+": "added", "-": "gone" }[bare[0]] || "", line];
  });
  return limited(el("pre", { class: "diff" }), marked, 200, ([name, line]) => el("span", { class: name }, line));
}

function taskList(keys, limit = 12) {
  return limited(el("ul", { class: "links" }), keys, limit, (key) => el("li", {}, taskLink(key)));
}

// Tables with sortable columns. A column is [name, value of a row, cell of a row, its class].

function sortable(caption, columns, rows) {
  const head = el("tr"), body = el("tbody");
  const lines = rows.map((row) => {
    const line = el("tr");
    for (const [, , cell, name] of columns) line.append(el("td", name ? { class: name } : {}, cell(row)));
    return { row, line };
  });
  columns.forEach(([name, value, , style]) => {
    const button = el("button", { type: "button" }, name);
    const cell = el("th", { scope: "col", ...(style ? { class: style } : {}) }, button);
    button.addEventListener("click", () => {
      // numbers start with the largest, names with A
      const upwards = style ? cell.ariaSort === "descending" : cell.ariaSort !== "ascending";
      for (const other of head.children) other.removeAttribute("aria-sort");
      cell.setAttribute("aria-sort", upwards ? "ascending" : "descending");
      const compare = (a, b) => (typeof a === "string" ? a.localeCompare(b) : a - b);
      lines.sort((a, b) => (upwards ? 1 : -1) * compare(value(a.row), value(b.row)));
      body.append(...lines.map(({ line }) => line));
    });
    head.append(cell);
  });
  body.append(...lines.map(({ line }) => line));
  const table = el("table", { "aria-label": caption }, el("thead", {}, head), body);
  return { table, lines };
}

function barred(text, share) {
  const bar = el("i");
  bar.style.setProperty("--share", `${(100 * share).toFixed(2)}%`);
  return el("span", { class: "barred" }, bar, text);
}

// A group of tasks is one tab stop; arrow keys move to the nearest task in that direction.

const groups = [];

function group(container, selector) {
  groups.push({ container, selector });
  container.addEventListener("focusin", (event) => {
    const item = event.target.closest(selector);
    if (item) stop(container, selector, item);
  });
  stop(container, selector, container.querySelector(selector), true);
}

function stop(container, selector, item, all = false) {
  const old = all ? selector : `${selector}[tabindex="0"]`;
  for (const other of container.querySelectorAll(old)) other.setAttribute("tabindex", "-1");
  if (item) item.setAttribute("tabindex", "0");
}

const WAYS = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] };

function nextItem(items, from, [x, y]) {
  const start = from.getBoundingClientRect();
  let best = null, least = Infinity;
  for (const item of items) {
    const box = item.getBoundingClientRect();
    if (item === from || !box.width) continue;
    const right = box.left - start.left, down = box.top - start.top;
    const along = right * x + down * y, across = Math.abs(right * y) + Math.abs(down * x);
    if (along > 1 && along + 3 * across < least) [best, least] = [item, along + 3 * across];
  }
  return best;
}

function moveWithin(event) {
  const place = groups.find(({ container }) => container.contains(event.target));
  const from = place && event.target.closest(place.selector);
  if (!from) return false;
  const items = [...place.container.querySelectorAll(place.selector)].filter((item) => item.getClientRects().length);
  let to = null;
  if (event.key in WAYS) to = nextItem(items, from, WAYS[event.key]);
  else if (event.key === "Home") to = items[0];
  else if (event.key === "End") to = items.at(-1);
  else return false;
  if (to) to.focus();
  return true;
}

// The overview.

function fillHead() {
  const failed = tasks.some((task) => task.what === "failed");
  const took = [duration(build.seconds)];
  if (before) {
    const more = build.seconds - before.seconds;
    const change = more ? `${duration(Math.abs(more))} ${more < 0 ? "less" : "more"} than` : "as long as";
    took.push(el("span", { class: "quiet" }, `, ${change} the previous build`));
  }
  const counts = el("ul", { class: "counts" });
  const place = ([what]) => (KINDS.includes(what) ? KINDS.indexOf(what) : KINDS.length);
  for (const [what, count] of Object.entries(build.counts).sort((a, b) => place(a) - place(b))) {
    if (!count) continue;
    const button = el("button", { type: "button" }, badge(what), ` ${count.toLocaleString("en")}`);
    button.addEventListener("click", () => filterBy(what));
    counts.append(el("li", {}, button));
  }
  byId("build").append(
    el("h1", {}, `Build ${build.id}: `, el("span", failed ? { class: "failed" } : {}, build.result)),
    facts([
      ["Started", moment(build.when)],
      ["Duration", ...took],
      ["Targets", build.targets],
      ["Host", build.host],
      ["Labels", ...build.labels.flatMap((label) => [el("span", { class: "tag" }, label), " "])],
    ].filter(([, ...values]) => values.length)),
    counts,
  );
}

function fillFailures() {
  const failed = tasks.filter((task) => task.what === "failed");
  byId("failures").hidden = !failed.length;
  limited(byId("failures"), failed, 20, (task) => {
    const article = el("article", { class: "failed" }, el("h3", {}, taskLink(task.key)));
    if (task.problem) article.append(el("pre", {}, task.problem));
    return article;
  });
}

function fillChanges() {
  const section = byId("changed");
  if (!before) {
    section.append(el("p", { class: "quiet" }, "There is no previous build."));
    return;
  }
  section.append(el("p", { class: "quiet" }, `Compared with build ${before.id} (${before.result}), `, moment(before.when), "."));
  if (!causes.length) section.append(el("p", {}, "No task inputs changed."));
  limited(section, causes, 30, (cause) => {
    const followed = cause.followed ? `; ${many(cause.followed, "dependent task")} followed` : "";
    const article = el("article", {},
      el("h3", {}, `${cause.kind} `, el("span", { class: "mono" }, cause.name)),
      el("p", { class: "quiet" }, `Changed in ${many(cause.tasks.length, "task")}${followed}.`));
    if (cause.diff) article.append(diffBlock(cause.diff));
    article.append(taskList(cause.tasks));
    return article;
  });
}

function fillTimeline() {
  const timed = tasks.filter((task) => task.lane !== null).sort((a, b) => a.lane - b.lane || a.began - b.began);
  byId("timeline").hidden = !timed.length;
  if (!timed.length) return;
  const total = Math.max(build.seconds, ...timed.map((task) => task.began + task.seconds)) || 1;
  const workers = timed.at(-1).lane + 1;
  const onPath = new Set(critical.keys);
  // wide enough to distinguish and click short tasks
  const width = Math.max(576, 16 * Math.max(...Array.from({ length: workers }, (_, n) => timed.filter((t) => t.lane === n).length)));
  byId("workers").style.minWidth = `${width}px`;
  const percent = (seconds) => `${(100 * seconds / total).toFixed(3)}%`;

  const axis = el("div", { class: "axis", "aria-hidden": "true" });
  const steps = [0.001, 0.01, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400, 86400];
  const step = steps.find((seconds) => total / seconds <= 8) || total / 8;
  for (let at = 0; at <= total * 0.97; at += step) {
    const tick = el("span", {}, at ? duration(at).replace(/\.0 | 0 (s|min)$/, " ") : "0");
    tick.style.left = percent(at);
    axis.append(tick);
  }
  const blocks = el("div", { class: "blocks" });
  blocks.style.height = `${workers * 26}px`;
  for (const task of timed) {
    const slim = Math.max(width, 900) * task.seconds / total < 32;
    const place = task.place ? `, at ${task.place}` : "";
    const said = `${task.key}, ${task.what}${place}, ${duration(task.seconds)} from ${duration(task.began)}`
      + (onPath.has(task.key) ? ", on the critical path" : "");
    const style = `block ${kind(task.what)}${onPath.has(task.key) ? " critical" : ""}${slim ? " slim" : ""}`;
    const block = el("a", { class: style, href: address(task), title: said, "aria-label": said }, slim ? "" : task.key);
    block.style.left = percent(task.began);
    block.style.width = `calc(${percent(task.seconds)} - 1px)`;
    block.style.top = `${task.lane * 26}px`;
    blocks.append(block);
  }
  byId("workers").append(axis, blocks);
  group(blocks, "a");
  fillCritical(workers);
}

function fillCritical(workers) {
  const text = `At most ${many(workers, "task")} ran in parallel. `;
  const path = `The critical path (filled) has ${many(critical.keys.length, "task")} and takes ${duration(critical.seconds)}.`;
  byId("critical-text").append(text + (critical.keys.length ? path : ""));
  byId("critical").closest("details").hidden = !critical.keys.length;
  for (const key of critical.keys) {
    const seconds = el("span", { class: "quiet" }, ` ${duration(byKey.get(key).seconds)}`);
    byId("critical").append(el("li", {}, taskLink(key), seconds));
  }
}

function fillGraph() {
  const drawing = byId("drawing"), picture = drawing.querySelector("svg");
  byId("graph").hidden = !tasks.length;
  for (const what of KINDS.filter((what) => tasks.some((task) => task.what === what))) {
    byId("legend").append(el("li", {}, badge(what)));
  }
  if (tasks.some((task) => task.root)) byId("legend").append(el("li", {}, "thick border: root cause"));
  for (const node of picture.querySelectorAll(".task")) node.setAttribute("href", address(tasks[node.dataset.task]));
  group(picture, ".task");

  let near = [];
  const mark = (event) => {
    const index = event.target.closest(".task")?.dataset.task;
    for (const line of near) line.classList.remove("near");
    near = index ? [...picture.querySelectorAll(`.edge[data-from="${index}"], .edge[data-to="${index}"]`)] : [];
    for (const line of near) line.classList.add("near");
  };
  picture.addEventListener("focusin", mark);
  picture.addEventListener("pointerover", mark);
  // scroll a large drawing to the first relevant task
  const first = picture.querySelector(".failed") || picture.querySelector(".root") || picture.querySelector(".task");
  if (first) {
    const box = first.getBBox();
    drawing.scrollTo(box.x - drawing.clientWidth / 3, box.y - drawing.clientHeight / 2);
  }
  byId("whole").hidden = picture.width.baseVal.value <= drawing.clientWidth && drawing.clientWidth > 0;
  byId("whole").addEventListener("click", () => {
    byId("whole").setAttribute("aria-pressed", String(drawing.classList.toggle("whole")));
  });
}

function fillRecipes() {
  byId("recipes").hidden = !recipes.length;
  const most = (name) => Math.max(...recipes.map((row) => row[name])) || 1;
  const seconds = most("seconds"), added = most("added");
  const { table } = sortable("Time and size by recipe", [
    ["Recipe", (row) => row.name, (row) => el("span", {}, row.name, " ", el("span", { class: "quiet" }, row.version))],
    ["Ran", (row) => row.ran, (row) => String(row.ran), "number"],
    ["Time", (row) => row.seconds, (row) => barred(duration(row.seconds), row.seconds / seconds), "number"],
    ["Added", (row) => row.added, (row) => barred(bytes(row.added), row.added / added), "number"],
  ], recipes);
  byId("recipes").append(table);
  table.querySelectorAll("th button")[2].click();
}

let taskLines = [];

function fillTasks() {
  const { table, lines } = sortable("Tasks", [
    ["Task", (task) => task.key, (task) => taskLink(task.key)],
    ["Outcome", (task) => task.what, (task) => el("span", {}, badge(task.what), task.root ? " (root cause)" : "")],
    ["Time", (task) => task.seconds ?? -1, (task) => duration(task.seconds), "number"],
    ["Added", (task) => task.added, (task) => (task.added ? bytes(task.added) : ""), "number"],
  ], tasks);
  taskLines = lines;
  for (const { row } of lines) row.words = `${row.key} ${row.what}${row.root ? " root cause" : ""}`.toLowerCase();
  byId("tasks").append(table);
  group(table, "td a");
  byId("filter").addEventListener("input", applyFilter);
  applyFilter();
}

function shownTasks() {
  return taskLines.filter(({ line }) => !line.hidden).map(({ row }) => row);
}

function applyFilter() {
  const words = byId("filter").value.toLowerCase().split(/\s+/);
  for (const { row, line } of taskLines) line.hidden = !words.every((word) => row.words.includes(word));
  const count = shownTasks().length;
  byId("shown").textContent = count === tasks.length ? many(count, "task") : `${count} of ${many(tasks.length, "task")}`;
  const table = byId("tasks").querySelector("table");
  if (!table.querySelector('tr:not([hidden]) a[tabindex="0"]')) {
    stop(table, "td a", table.querySelector("tr:not([hidden]) td a"));
  }
}

function filterBy(text) {
  byId("filter").value = text;
  applyFilter();
  goToFilter();
}

function goToFilter() {
  if (byId("overview-page").hidden) {
    location.hash = "#tasks";
    route();
  }
  byId("filter").focus();
  byId("tasks").scrollIntoView();
}

// A task's page.

function taskPage(task, details) {
  const page = [turnPages(task), taskHead(task, details)];
  const part = (title, ...children) => page.push(el("section", { "aria-label": title }, el("h2", {}, title), ...children));
  if (task.problem) part("Problem", el("pre", {}, task.problem));
  if (details.inputs.length) part("Changed inputs", ...details.inputs.map(changedInput));
  if (details.changes.length) part(`Changes: ${many(details.changes.length, "path")}`, changesBlock(details.changes));
  part("Log", details.log ? logBlock(details.log) : el("p", { class: "quiet" }, "No log is recorded."));
  const users = tasks.filter((other) => other.edges.includes(task.key)).map((other) => other.key);
  if (task.edges.length) part("Depends on", taskList(task.edges, 40));
  if (users.length) part("Used by", taskList(users, 40));
  if (details.all.length) part(`All inputs: ${details.all.length}`, ...details.all.map(oneInput));
  return el("main", {}, ...page);
}

function turnPages(task) {
  const list = shownTasks().includes(task) ? shownTasks() : tasks;
  const at = list.indexOf(task);
  const turn = el("nav", { class: "turn", "aria-label": "Tasks" }, el("a", { href: "#", id: "back" }, `← Build ${build.id}`));
  const add = (id, text, other) => turn.append(other ? el("a", { href: address(other), id, title: other.key }, text)
    : el("span", { class: "quiet" }, text));
  add("previous", "‹ previous", list[at - 1]);
  add("next", "next ›", list[at + 1]);
  return turn;
}

function taskHead(task, details) {
  const times = task.began === null ? "" : `, started ${duration(task.began)} into the build`;
  return el("header", {},
    el("h1", { tabindex: "-1" }, task.key),
    facts([
      ["Outcome", badge(task.what), task.root ? " (root cause)" : ""],
      ["Duration", task.seconds === null ? "" : duration(task.seconds) + times],
      ["Added", task.added ? bytes(task.added) : ""],
      ["Task hash", details.hash && el("code", {}, details.hash)],
      ["Output", details.output && el("code", {}, details.output)],
      ["Tag", details.tag && el("code", {}, details.tag)],
    ]));
}

function changedInput(changed) {
  const article = el("article", {}, el("h3", {}, `${changed.kind} `, el("span", { class: "mono" }, changed.name)));
  if (changed.diff) article.append(diffBlock(changed.diff));
  return article;
}

function changesBlock(lines) {
  return limited(el("pre", { class: "diff" }), lines, 200, (line) =>
    el("span", { class: { A: "added", D: "gone" }[line[0]] || "" }, line));
}

function logBlock(log) {
  // remove the terminal's colour codes
  return el("pre", { id: "log" }, log.replace(/\u001b\[[0-9;?]*[A-Za-z]/g, ""));
}

function oneInput([name, text]) {
  const shown = el("details", {}, el("summary", { class: "mono" }, name));
  shown.addEventListener("toggle", () => {
    if (shown.children.length === 1) shown.append(el("pre", {}, text));
  });
  return shown;
}

// Routes: `#task/KEY` is the page of a task; any other hash is a section of the overview.

let left = { scroll: 0, focus: null };

function route() {
  const task = location.hash.startsWith("#task/") ? byAnchor.get(location.hash.slice(6)) : undefined;
  if (task) showTask(task);
  else showOverview();
}

function showTask(task) {
  if (!byId(`details-${task.index}`)) return; // still loading: DOMContentLoaded routes again
  if (byId("task-page").hidden) left = { scroll: window.scrollY, focus: document.activeElement };
  byId("task-page").replaceChildren(taskPage(task, read(`details-${task.index}`)));
  byId("overview-page").hidden = true;
  byId("task-page").hidden = false;
  document.title = `${task.key}, build ${build.id}`;
  window.scrollTo(0, 0);
  byId("task-page").querySelector("h1").focus({ preventScroll: true });
}

function showOverview() {
  const returns = byId("overview-page").hidden;
  byId("overview-page").hidden = false;
  byId("task-page").hidden = true;
  byId("task-page").replaceChildren();
  document.title = title;
  if (!returns) return;
  if (location.hash.length > 1) {
    byId(location.hash.slice(1))?.scrollIntoView();
  } else {
    left.focus?.focus({ preventScroll: true });
    window.scrollTo(0, left.scroll);
  }
}

function press(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const typing = event.target === byId("filter"), onTask = !byId("task-page").hidden;
  let done = true;
  if (event.key === "/" && !typing) goToFilter();
  else if (event.key === "Escape" && onTask) location.hash = "#";
  else if (event.key === "Escape" && typing) filterBy("");
  else if (event.key === "ArrowDown" && typing) byId("tasks").querySelector("tr:not([hidden]) td a")?.focus();
  else if (event.key === "ArrowLeft" && onTask) byId("previous")?.click();
  else if (event.key === "ArrowRight" && onTask) byId("next")?.click();
  else done = !typing && moveWithin(event);
  if (done) event.preventDefault();
}

const title = document.title;
for (const fill of [fillHead, fillFailures, fillChanges, fillTimeline, fillGraph, fillRecipes, fillTasks]) fill();
for (const link of document.querySelectorAll("nav.sections a")) link.hidden = byId(link.hash.slice(1)).hidden;
window.addEventListener("hashchange", route);
document.addEventListener("DOMContentLoaded", route);
document.addEventListener("keydown", press);
