// Asks the listener for its numbers each second and shows them. Names of services, keys and peers are
// chosen by others: everything goes in as text.
"use strict";

const PERIOD = 1000; // ms from one question to the next of its kind
const PATIENCE = 5000; // ms for an answer
const REMEMBERED = 180000; // ms that the lines show
const TOKEN = "adit-metrics-token";

const part = (id) => document.getElementById(id);
const pause = (time) => new Promise((done) => setTimeout(done, time));

// ---- numbers as people read them

const whole = new Intl.NumberFormat("en");
const rate = (perSecond) => (perSecond < 100 ? perSecond.toFixed(1) : whole.format(Math.round(perSecond)));

function bytes(amount) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
  let unit = 0;
  while (amount >= 1024 && unit < units.length - 1) { amount /= 1024; unit += 1; }
  return `${unit === 0 || amount >= 100 ? Math.floor(amount) : amount.toFixed(1)} ${units[unit]}`;
}

function duration(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  for (const [unit, name] of [[1e-9, "ns"], [1e-6, "µs"], [1e-3, "ms"], [1, "s"]]) {
    const amount = seconds / unit;
    if (amount < (name === "s" ? 60 : 999.5)) {
      return `${amount >= 10 || name === "ns" ? Math.floor(amount + 1e-6) : amount.toFixed(1)}${name}`;
    }
  }
  const sizes = [[86400, "d"], [3600, "h"], [60, "m"], [1, "s"]];
  const first = sizes.findIndex(([size]) => seconds >= size);
  const [[large, largeName], [small, smallName]] = sizes.slice(first, first + 2);
  return `${Math.floor(seconds / large)}${largeName} ${Math.floor((seconds % large) / small)}${smallName}`;
}

// ---- what is on the page

function set(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function show(texts) {
  for (const [id, text] of Object.entries(texts)) set(part(id), text);
}

function mark(element, look) {
  if (element.className !== look) element.className = look;
}

// A table that is laid out otherwise, as on a phone, is none to a screen reader unless it is said.
function inRole(element, role) {
  element.setAttribute("role", role);
  return element;
}

// Rows stay where they are and change their text, so that a selection in them lives on.
function fill(id, rows) {
  const body = part(id);
  const columns = [...body.parentElement.tHead.rows[0].cells];
  while (body.rows.length > rows.length) body.deleteRow(-1);
  rows.forEach(({ look = "", cells, hint = "" }, at) => {
    const row = body.rows[at] ?? inRole(body.insertRow(), "row");
    mark(row, look);
    if (row.title !== hint) row.title = hint;
    cells.forEach((cell, column) => {
      const element = row.cells[column] ?? inRole(row.insertCell(), "cell");
      const { text, look: own = "" } = typeof cell === "string" ? { text: cell } : cell;
      element.dataset.title = columns[column].textContent;
      mark(element, `${columns[column].className} ${own}`.trim());
      set(element, text);
    });
  });
  body.parentElement.hidden = rows.length === 0;
}

// A line through the values of the last minutes, with gaps where there is none.
class Line {
  constructor(id) {
    this.path = part(id);
    this.points = [];
  }

  add(value) {
    const now = performance.now();
    this.points = this.points.filter(({ at }) => now - at < REMEMBERED);
    this.points.push({ at: now, value });
    this.most = Math.max(...this.points.map(({ value }) => value ?? 0));
    let pen = "M";
    const steps = this.points.map(({ at, value }) => {
      if (value === null) { pen = "M"; return ""; }
      const x = 180 - (180 * (now - at)) / REMEMBERED;
      const y = 35 - (34 * value) / (this.most || 1);
      const step = `${pen}${x.toFixed(1)} ${y.toFixed(1)}`;
      pen = "L";
      return step;
    });
    this.path.setAttribute("d", steps.join(""));
  }
}

const lines = { calls: new Line("calls-line"), latency: new Line("latency-line"), overhead: new Line("overhead-line") };

function drawStatus(status) {
  const { calls, tunnels, actors } = status;
  lines.calls.add(calls.per_second);
  lines.latency.add(calls.recent.duration.p99_seconds);
  lines.overhead.add(calls.recent.overhead.p99_seconds);
  show({
    "version": status.version,
    "state": status.state,
    "uptime": duration(status.uptime_seconds),
    "workers": whole.format(status.workers),
    "calls-per-second": rate(calls.per_second),
    "calls-in-flight": whole.format(calls.in_flight),
    "calls-started": whole.format(calls.started),
    "calls-most": rate(lines.calls.most),
    "latency-p50": duration(calls.recent.duration.p50_seconds),
    "latency-p99": duration(calls.recent.duration.p99_seconds),
    "overhead-p50": duration(calls.recent.overhead.p50_seconds),
    "overhead-p99": duration(calls.recent.overhead.p99_seconds),
    "tunnels-open": whole.format(tunnels.open),
    "tunnels-ready": whole.format(tunnels.ready),
    "tunnels-late": whole.format(tunnels.late),
    "tunnels-draining": whole.format(tunnels.draining),
    "tunnels-opening": whole.format(tunnels.opening),
    "services": whole.format(status.services),
    "actors-alive": whole.format(actors.alive),
    "actors-stuck": whole.format(actors.stuck),
    "actors-waiting": whole.format(actors.mailbox_depth),
    "actors-handled": whole.format(actors.handled),
    "actors-panics": whole.format(actors.panics),
    "actors-dead": whole.format(actors.dead_letters),
  });
  mark(part("state"), status.state === "serving" ? "good" : "warning");
  mark(part("tunnels-late"), tunnels.late > 0 ? "warning" : "");
  mark(part("tunnels-draining"), tunnels.draining > 0 ? "warning" : "");
  mark(part("actors-stuck"), actors.stuck > 0 ? "alarm" : "");
  mark(part("actors-panics"), actors.panics > 0 ? "alarm" : "");
}

function counted(counts, leaveOut) {
  const there = Object.entries(counts).filter(([name, count]) => name !== leaveOut && count > 0);
  return there.sort(([, one], [, other]) => other - one).map(([name, count]) => `${name} ${whole.format(count)}`);
}

function drawServices({ services, matched }) {
  const rows = services.map((service) => {
    const states = ["ready", "late", "draining", "opening"].filter((state) => service.tunnels[state] > 0);
    const tunnels = states.map((state) => `${whole.format(service.tunnels[state])} ${state}`);
    const unwell = service.tunnels.late + service.tunnels.draining > 0;
    const errors = [...counted(service.by_status, "OK"), ...counted(service.by_reason)];
    return { cells: [
      service.name, { text: tunnels.join(", ") || "none", look: unwell ? "warning" : "" }, rate(service.per_second),
      whole.format(service.calls_in_flight), duration(service.p50_seconds), duration(service.p99_seconds),
      errors.join(", ") || "none",
    ] };
  });
  fill("services-rows", rows);
  show({ "services-note": shown(rows.length, matched, "service") });
}

function drawTunnels({ connections, open }) {
  const rows = connections.map((tunnel) => {
    const unwell = tunnel.state === "late" || tunnel.state === "draining";
    return { look: unwell ? "warning" : "", hint: `${tunnel.id} ${tunnel.peer_address}`, cells: [
      tunnel.services.join(", ") || "none", { text: tunnel.state, look: unwell ? "warning" : "" }, tunnel.id.slice(0, 8),
      tunnel.key_id, whole.format(tunnel.calls_in_flight), bytes(tunnel.bytes_in), bytes(tunnel.bytes_out),
      `${duration(tunnel.last_heard_seconds_ago)} ago`, duration(tunnel.round_trip_seconds),
    ] };
  });
  fill("tunnels-rows", rows);
  show({ "tunnels-note": shown(rows.length, open, "tunnel") });
}

function drawActors({ actors, matched }) {
  const rows = actors.map((actor) => {
    const state = actor.stuck ? "stuck" : actor.handling ? "busy" : "idle";
    const handling = actor.handling ? `${actor.handling.message} for ${duration(actor.handling.for_seconds)}` : "";
    return { look: actor.stuck ? "alarm" : "", hint: handling, cells: [
      actor.kind, actor.id.slice(0, 8), { text: state, look: actor.stuck ? "alarm" : "" }, String(actor.arbiter),
      whole.format(actor.mailbox_depth), whole.format(actor.messages_handled), handling,
    ] };
  });
  fill("actors-rows", rows);
  show({ "actors-note": shown(rows.length, matched, "actor") });
}

function shown(rows, all, what) {
  if (all === 0) return `no ${what}`;
  return rows < all ? `${whole.format(rows)} of ${whole.format(all)} ${what}s` : "";
}

// ---- asking

// The token is wanted, or another one.
class Unknown extends Error {}

const troubles = new Map(); // path to what is wrong, since when
let admitted = Promise.resolve();

async function ask(path) {
  const token = sessionStorage.getItem(TOKEN);
  const headers = token ? { authorization: `Bearer ${token}` } : {};
  const answer = await fetch(path, { headers, cache: "no-store", signal: AbortSignal.timeout(PATIENCE) });
  if (answer.status === 401) throw new Unknown(token ?? "");
  if (!answer.ok) throw new Error(`status ${answer.status}`);
  return answer.json();
}

// One question at a time; a listener that needs long is asked less often.
async function follow(path, draw) {
  for (;;) {
    await admitted;
    const begun = performance.now();
    try {
      draw(await ask(path));
      troubles.delete(path);
    } catch (error) {
      if (error instanceof Unknown) askForToken(error.message);
      else {
        if (path === "/status") Object.values(lines).forEach((line) => line.add(null));
        const since = troubles.get(path)?.since ?? begun;
        troubles.set(path, { since, text: error instanceof TypeError || error.name === "TimeoutError" ? "" : error.message });
      }
    }
    tellTroubles();
    const took = performance.now() - begun;
    await pause(Math.max(PERIOD - took, 4 * took));
    if (document.hidden) await new Promise((seen) => document.addEventListener("visibilitychange", seen, { once: true }));
  }
}

function tellTroubles() {
  const away = troubles.get("/status");
  const [path, other] = [...troubles][0] ?? [];
  let text = "";
  if (away && !away.text) text = "The gateway is away. These are its last numbers; the page goes on when it is back.";
  else if (other) text = `${path} gives no answer${other.text ? `: ${other.text}` : ""}. Its last numbers are shown.`;
  set(part("notice"), text);
  part("numbers").classList.toggle("stale", Boolean(text));
  if (away) { show({ "state": "away" }); mark(part("state"), "alarm"); }
  document.title = away ? "Adit: away" : `Adit: ${part("calls-per-second").textContent}/s`;
}

function askForToken(refused) {
  const form = part("asks");
  if (!form.hidden || refused !== (sessionStorage.getItem(TOKEN) ?? "")) return; // answered meanwhile
  sessionStorage.removeItem(TOKEN);
  show({ "refusal": refused ? "That is not the token." : "It is kept until this tab is closed." });
  form.hidden = false;
  part("numbers").hidden = part("links").hidden = true;
  part("token").focus();
  admitted = new Promise((done) => {
    form.onsubmit = (event) => {
      event.preventDefault();
      const token = part("token").value.trim();
      part("token").value = "";
      if (!/^[\x21-\x7e]+$/.test(token)) { show({ "refusal": "No token has such letters." }); return; }
      sessionStorage.setItem(TOKEN, token);
      form.hidden = true;
      part("numbers").hidden = false;
      done();
    };
  });
}

// Links cannot carry the token.
part("links").hidden = sessionStorage.getItem(TOKEN) !== null;
follow("/status", drawStatus);
follow("/services?sort=rate&limit=25", drawServices);
follow("/connections?sort=calls&limit=15", drawTunnels);
follow("/actors?sort=handled&limit=12", drawActors);
