// Keeps the page up: the server sends what looks different now, for what the page says that it shows.
// Nothing is open while the page is hidden, and after a lost connection it goes on from its token.
import { patch } from "./morph.js";
import { setClock, span, tell } from "./times.js";

const SILENT_FOR = 40_000; // ms; the server says something every 15 s at least
const LATE = 1_000; // ms without a word of the server, from which on what is shown is marked as old
const LONGEST_PAUSE = 10_000;

const view = JSON.parse(document.body.dataset.view);
const indicator = document.getElementById("live");
let stopping = null;
let pause = 0;
let news = 0;
let gap = false;
let problem = null;
let heardAt = Date.now();
let since = 0;
let again = 0;

/** Begin, and go on whenever the page can be seen. */
export function keepUp() {
  indicator.hidden = false;
  document.addEventListener("visibilitychange", () => (document.hidden ? stop() : follow()));
  addEventListener("pagehide", stop);
  addEventListener("pageshow", () => document.hidden || follow());
  setInterval(show, 1_000);
  if (!document.hidden) follow();
}

function stop() {
  clearTimeout(again);
  stopping?.abort();
  stopping = null;
}

async function follow() {
  if (stopping) return;
  clearTimeout(again);
  const mine = (stopping = new AbortController());
  const late = setTimeout(() => problem ?? lost("connecting"), LATE);
  let why = "the connection is lost";
  let silence = 0;
  const heard = () => {
    clearTimeout(silence);
    silence = setTimeout(() => mine.abort(), SILENT_FOR);
  };
  try {
    heard();
    const answer = await fetch("live", {
      method: "POST",
      headers: { "Content-Type": "application/json", Accept: "text/event-stream" },
      body: JSON.stringify(view),
      signal: mine.signal,
    });
    if (!answer.ok) {
      why = `the dashboard answers ${answer.status}`;
      if (answer.status === 400 && view.after) {
        // A token of before the server was another one: nobody knows who came since.
        view.after = "";
        newcomers({ news: 0, gap: true });
      }
      throw new Error(why);
    }
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let text = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) throw new Error(why);
      clearTimeout(late);
      heard();
      heardAt = Date.now();
      const blocks = (text + value).split("\n\n");
      text = blocks.pop();
      blocks.forEach(take);
    }
  } catch {
    if (stopping !== mine) return; // it was stopped
    stopping = null;
    lost(why);
    pause = Math.min(LONGEST_PAUSE, Math.max(500, pause * 2));
    again = setTimeout(follow, pause * (0.5 + Math.random() / 2));
  } finally {
    clearTimeout(late);
    clearTimeout(silence);
  }
}

function take(block) {
  const fields = new Map(block.split("\n").map((line) => line.split(/: (.*)/s, 2)));
  if (!fields.has("data")) return;
  pause = 0;
  view.after = fields.get("id") ?? view.after;
  const said = JSON.parse(fields.get("data"));
  setClock(said.now);
  for (const [name, html] of Object.entries(said.html)) draw(name, html);
  newcomers(said);
  lost(said.problem);
}

function draw(name, html) {
  const element = document.getElementById(name);
  if (!element) return;
  patch(element, html, element.localName !== "tr");
  const listed = element.closest("table")?.dataset.phases?.split(" ");
  const { phase } = element.dataset;
  if (listed && phase) element.classList.toggle("left", !listed.includes(phase));
  tell(element.isConnected ? element : document);
}

function newcomers(said) {
  const link = document.querySelector("[data-news]");
  if (!link || !(said.news || said.gap)) return;
  news += said.news;
  gap ||= said.gap;
  if (view.tally) view.tally.count += said.news;
  link.hidden = false;
  link.textContent = gap ? "there may be new ones: show" : `${news.toLocaleString("en")} new: show`;
}

function lost(why) {
  if (why && !problem) since = heardAt;
  problem = why;
  show();
}

function show() {
  document.body.classList.toggle("old", problem !== null);
  const text = problem === null ? "live" : `${span(Date.now() - since)} old: ${problem}`;
  if (indicator.textContent !== text) indicator.textContent = text;
}
