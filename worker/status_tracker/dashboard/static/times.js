// How long ago times are, by the server's clock. The words are those of `words.py`.
const UNITS = [[86_400_000, "d"], [3_600_000, "h"], [60_000, "min"], [1_000, "s"]];

let ahead = Number(document.body.dataset.now) - Date.now();

/** Take in what time it is on the server, in ms. */
export function setClock(now) {
  if (now) ahead = now - Date.now();
}

export function span(ms) {
  const size = Math.abs(ms);
  for (const [unit, name] of UNITS) {
    if (size >= unit) {
      const value = size / unit;
      return `${value >= 10 ? Math.round(value) : String(Math.round(value * 10) / 10)} ${name}`;
    }
  }
  return size >= 1 ? `${Math.round(size)} ms` : "0 s";
}

function ago(at, now) {
  const away = now - at;
  if (Math.abs(away) < 1_000) return "now";
  return away > 0 ? `${span(away)} ago` : `in ${span(away)}`;
}

/** Write all times within an element anew. */
export function tell(root = document) {
  const now = Date.now() + ahead;
  for (const each of root.querySelectorAll("time[data-at], time[data-since]")) {
    const { at, since } = each.dataset;
    const text = at === undefined ? span(Math.max(0, now - since)) : ago(at, now);
    if (each.textContent !== text) each.textContent = text;
  }
}

/** Write them anew each second, while somebody can see it. */
export function keepTime() {
  tell();
  setInterval(() => document.hidden || tell(), 1_000);
}
