"""The review's page. It loads nothing from anywhere but the review itself."""

HTML = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Review of an export</title>
<link rel="stylesheet" href="/review.css"></head><body>
<header><h1>Review before it leaves</h1>
<p>You see the redacted pictures. Look at the moments on the left, the least certain first. Where a face shows that must
not, draw a box over it. Then make the export again, look again, and sign.</p>
<p id="problem" role="alert"></p></header>
<main>
<nav><h2>Moments in doubt (<span id="count">0</span>)</h2><ol id="moments"></ol></nav>
<section>
<label>Video <select id="videos"></select></label> <span id="clock"></span>
<div id="stage"><video id="player" controls muted preload="auto"></video><canvas id="canvas"></canvas></div>
<p><button id="back">One picture back</button> <button id="on">One picture on</button>
<button id="draw">Draw a box</button>
<label>covers from <input id="from" type="number" step="0.04"></label>
<label>to <input id="to" type="number" step="0.04"> seconds of the video</label>
<button id="add">Add the box</button> <button id="follow">Add to the last box</button></p>
<p class="hint">A face that moves: add the box, go on to where the face is elsewhere, draw it anew there, and add it to
the last box. Between the two the cover moves along.</p>
<h2>Corrections</h2><ol id="marks"></ol>
<p><button id="again">Make the export again</button> <span id="busy" hidden>being made …</span></p>
<h2>Sign-off</h2>
<p><label>Your name <input id="reviewer" autocomplete="name"></label> <button id="sign">Sign off these pictures</button>
<button id="refuse">Turn the export down</button></p><p id="done"></p>
</section></main><script src="/review.js"></script></body></html>
"""

STYLE = """
body { font: 16px/1.4 system-ui, sans-serif; margin: 1rem; color: #111; background: #fff }
main { display: flex; gap: 1rem; align-items: flex-start }
nav { width: 22rem; max-height: 85vh; overflow: auto } section { flex: 1 }
#stage { position: relative; background: #222 } video { display: block }
canvas { position: absolute; left: 0; top: 0; pointer-events: none } canvas.drawing { pointer-events: auto;
cursor: crosshair } #problem { color: #a00 } .hint { color: #444; max-width: 60rem }
#moments li { margin-bottom: .5rem } #moments li.seen { color: #666 } #moments button { text-align: left }
#moments:empty::after { content: "None. Look at the whole of every video." } #marks:empty::after { content: "None." }
#moments:empty, #marks:empty { padding: 0 } input[type=number] { width: 6rem }
button:focus-visible, input:focus-visible, select:focus-visible { outline: 3px solid #06c }
"""

SCRIPT = """
"use strict";
const $ = (id) => document.getElementById(id);
const player = $("player"), canvas = $("canvas"), pen = canvas.getContext("2d");
let state = null, shown = "", box = null, corner = null, marks = {}, seen = new Set();
const STEP = 1 / 25;

async function ask(path, body) {
  const answer = await fetch(path, body === undefined ? {} : {method: "POST", body: JSON.stringify(body)});
  const data = await answer.json();
  $("problem").textContent = data.problem || "";
  return answer.ok ? data : null;
}
const video = () => state.videos.find((one) => one.name === $("videos").value);
const clock = (seconds) => new Date(seconds * 1000).toISOString();
const tenths = (text) => text.slice(11, 21);

async function load() {
  const fresh = await ask("/state");
  if (!fresh) return;
  const remade = state === null || fresh.version !== state.version;
  state = fresh;
  $("busy").hidden = !state.busy;
  $("again").disabled = $("sign").disabled = state.busy;
  if (remade) {
    marks = state.marks;
    const chosen = $("videos").value, at = player.currentTime;
    $("videos").replaceChildren(...state.videos.map((one) => new Option(one.name, one.name)));
    if (state.videos.some((one) => one.name === chosen)) $("videos").value = chosen;
    list(); show(at);
  }
  if (state.busy) setTimeout(load, 500);
}
function show(at) {
  const source = `/video/${state.version}/${$("videos").value}`;
  const go = () => { player.currentTime = Math.max(0, at); };
  if (shown === source) { go(); return; }
  shown = source; box = null;
  player.src = source;
  player.addEventListener("loadedmetadata", () => { size(); go(); }, {once: true});
}
function size() {
  const fits = Math.min($("stage").clientWidth / player.videoWidth, 0.6 * innerHeight / player.videoHeight);
  player.style.width = Math.floor(fits * player.videoWidth) + "px";
  canvas.width = player.videoWidth; canvas.height = player.videoHeight;
  canvas.style.width = player.clientWidth + "px"; canvas.style.height = player.clientHeight + "px";
  paint();
}
function paint() {
  pen.clearRect(0, 0, canvas.width, canvas.height);
  pen.lineWidth = Math.max(2, canvas.width / 400);
  if (box) { pen.strokeStyle = "#fc0"; pen.strokeRect(...box); }
  const now = video() ? video().start + player.currentTime : 0;
  for (const one of state ? state.moments : []) {
    if (one.video === $("videos").value && Math.abs(one.start - now) < 0.05) {
      pen.strokeStyle = "#06c"; pen.strokeRect(...one.box);
    }
  }
  if (video()) $("clock").textContent = `${clock(now).slice(0, 10)} ${tenths(clock(now))} UTC`;
}
function place(event) {
  const area = canvas.getBoundingClientRect();
  const across = canvas.width / area.width, down = canvas.height / area.height;
  return [(event.clientX - area.left) * across, (event.clientY - area.top) * down];
}
function list() {
  $("count").textContent = state.moments.length;
  $("moments").replaceChildren(...state.moments.map((one, number) => {
    const line = document.createElement("li"), look = document.createElement("button");
    look.textContent = `${tenths(one.from)} to ${tenths(one.to)} UTC: ${one.reason} (track ${one.track})`;
    look.addEventListener("click", () => {
      seen.add(number); line.className = "seen";
      $("videos").value = one.video; player.pause(); show(one.start - video().start + 0.01);
      $("from").value = Math.max(0, one.start - video().start).toFixed(2);
      $("to").value = (one.stop - video().start).toFixed(2);
    });
    if (seen.has(number)) line.className = "seen";
    line.append(look);
    if (one.releasable) {
      const away = document.createElement("button");
      away.textContent = "certainly no third person: show it";
      away.addEventListener("click", () => {
        (marks[one.video] ||= []).push({what: "release", start: one.start, stop: one.stop, track: one.track});
        corrections();
      });
      line.append(" ", away);
    }
    return line;
  }));
  corrections();
}
function corrections() {
  const lines = [];
  for (const [name, found] of Object.entries(marks)) found.forEach((mark, number) => {
    const line = document.createElement("li"), drop = document.createElement("button");
    const what = mark.what === "cover" ? `box (${mark.boxes.length})` : `track ${mark.track} shown`;
    line.textContent = `${name}: ${what}, ${tenths(clock(mark.start))} to ${tenths(clock(mark.stop))} UTC `;
    drop.textContent = "drop";
    drop.addEventListener("click", () => { found.splice(number, 1); corrections(); });
    line.append(drop); lines.push(line);
  });
  $("marks").replaceChildren(...lines);
}
canvas.addEventListener("pointerdown", (event) => {
  corner = place(event); canvas.setPointerCapture(event.pointerId);
});
canvas.addEventListener("pointermove", (event) => {
  if (!corner) return;
  const [x, y] = place(event);
  box = [Math.min(x, corner[0]), Math.min(y, corner[1]), Math.abs(x - corner[0]), Math.abs(y - corner[1])];
  paint();
});
canvas.addEventListener("pointerup", () => { corner = null; canvas.classList.remove("drawing"); });
$("draw").addEventListener("click", () => {
  player.pause(); canvas.classList.add("drawing");
  if (!$("from").value) $("from").value = Math.max(0, player.currentTime - 1).toFixed(2);
  if (!$("to").value) $("to").value = (player.currentTime + 1).toFixed(2);
});
function drawn() {
  if (!box || box[2] < 2 || box[3] < 2) { $("problem").textContent = "draw a box first"; return null; }
  return [video().start + player.currentTime, box];
}
$("add").addEventListener("click", () => {
  const one = drawn();
  if (!one) return;
  const at = video().start;
  const mark = {what: "cover", start: at + Number($("from").value), stop: at + Number($("to").value), boxes: [one]};
  (marks[video().name] ||= []).push(mark);
  box = null; paint(); corrections();
});
$("follow").addEventListener("click", () => {
  const one = drawn(), last = (marks[video().name] || []).filter((mark) => mark.what === "cover").at(-1);
  if (!one || !last) return;
  last.boxes.push(one); last.start = Math.min(last.start, one[0]); last.stop = Math.max(last.stop, one[0]);
  box = null; paint(); corrections();
});
$("back").addEventListener("click", () => { player.pause(); player.currentTime -= STEP; });
$("on").addEventListener("click", () => { player.pause(); player.currentTime += STEP; });
$("videos").addEventListener("change", () => show(0));
$("again").addEventListener("click", async () => {
  $("again").disabled = $("sign").disabled = true;
  if (await ask("/marks", marks)) { state.busy = true; load(); return; }
  $("again").disabled = $("sign").disabled = false;
});
$("sign").addEventListener("click", async () => {
  const body = {reviewer: $("reviewer").value, version: state.version, seen: seen.size, marks};
  if (await ask("/sign", body)) $("done").textContent = "Signed off. You may close this page.";
});
$("refuse").addEventListener("click", async () => {
  if (await ask("/refuse", {})) $("done").textContent = "Turned down: nothing is exported.";
});
player.addEventListener("timeupdate", paint);
player.addEventListener("seeked", paint);
window.addEventListener("resize", () => player.videoWidth && size());
load();
"""
