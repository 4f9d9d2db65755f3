// Buttons that act, after a question that says how much it is about. They are not there without this.
const dialog = document.getElementById("confirm");
const title = document.getElementById("confirm-title");
const text = document.getElementById("confirm-text");
const [no, yes] = dialog.querySelectorAll("button");

const BUTTONS = "[data-act], [data-remove-kind]";
const MOST_AT_ONCE = 1_000;
const WOULD = {
  applied: "would be applied",
  duplicate: "would be duplicates, and change nothing",
  rejected: "would be rejected again",
  left: "would be left: they hold no update that could be sent",
};
const TOLD = {
  401: "You are not logged in any more. Load the page again.",
  404: "This dashboard does not allow actions.",
};

let asked = null; // what the dialog is about now; answers to what it was about before come too late

for (const button of document.querySelectorAll(BUTTONS)) button.hidden = false;

document.addEventListener("click", ({ target }) => {
  const button = target.closest(BUTTONS);
  if (!button) return;
  const { act, removeKind, removeId } = button.dataset;
  if (act === "replay") ask(button, replaying(entries()));
  else if (act === "purge") ask(button, purging(entries(), button.dataset.then));
  else ask(button, removing(removeKind, removeId));
});

function entries() {
  const found = [...document.querySelectorAll("[data-entry]")].map((each) => each.dataset.entry);
  return found.slice(0, MOST_AT_ONCE);
}

/** What is asked about a replay, done by it, and said after it. */
function replaying(entries) {
  return {
    title: `Replay ${counted(entries.length)}?`,
    async question() {
      const { entries: found } = await post("rejected/replay", { entries, dryRun: true });
      const lines = Object.entries(WOULD).flatMap(([outcome, words]) => {
        const those = found.filter((each) => each.outcome === outcome);
        if (!those.length) return [];
        const example = outcome === "rejected" || outcome === "left" ? those[0].detail : "";
        return [item(`${number(those.length)} ${words}`, example)];
      });
      const sent = found.filter((each) => each.outcome !== "left").length;
      return { content: [list(lines)], yes: sent ? `Replay ${number(sent)}` : null };
    },
    async act() {
      const { sent, left } = await post("rejected/replay", { entries });
      const said = [line(`${counted(sent.length)} sent again. Workers decide what becomes of that.`)];
      if (left.length) said.push(line(`${number(left.length)} left.`));
      return [...said, line("What was sent is still kept here, until it is purged.")];
    },
  };
}

function purging(entries, then) {
  return {
    title: `Purge ${counted(entries.length)}?`,
    question: () => ({
      content: [line("Reason and bytes are gone then, for good.")],
      yes: `Purge ${number(entries.length)}`,
    }),
    async act() {
      const { purged } = await post("rejected/purge", { entries });
      return [line(`${counted(purged)} purged.`)];
    },
    after: () => (then ? location.assign(then) : location.reload()),
  };
}

function removing(kind, id) {
  const who = document.createElement("bdi");
  who.textContent = `${kind} ${id}`;
  return {
    title: "Take it away?",
    question: () => ({
      content: [
        line(who),
        line("1 entity: its status, its place in the lists and its history go. A later update begins anew, or is rejected."),
      ],
      yes: "Take 1 away",
    }),
    async act() {
      await post("remove", { kind, ids: [id] });
      return [line(who), line("A worker takes it away in a moment.")];
    },
  };
}

async function ask(button, about) {
  const mine = (asked = { button, about, isDone: false });
  title.textContent = about.title;
  text.replaceChildren(line("One moment…"));
  yes.hidden = true;
  no.textContent = "Cancel";
  dialog.showModal();
  try {
    const question = await about.question();
    if (asked !== mine) return;
    text.replaceChildren(...question.content);
    yes.textContent = question.yes ?? "";
    yes.hidden = question.yes === null;
  } catch (error) {
    if (asked === mine) text.replaceChildren(problem(`${error.message} Nothing was done.`));
  }
}

yes.addEventListener("click", async (event) => {
  event.preventDefault(); // the dialog stays, and says what came of it
  const mine = asked;
  yes.hidden = true;
  no.textContent = "Close";
  no.focus();
  text.replaceChildren(line("One moment…"));
  let said;
  try {
    said = await mine.about.act();
    mine.isDone = true;
  } catch (error) {
    const unknown = error.isUnknown ? " Nobody knows whether it was done: look before you try again." : "";
    said = [problem(`${error.message}${unknown}`)];
  }
  if (asked === mine) text.replaceChildren(...said);
  else if (mine.isDone) mine.about.after?.();
});

dialog.addEventListener("close", () => {
  const { button, about, isDone } = asked;
  asked = null;
  button.focus();
  if (isDone) about.after?.();
});

async function post(path, body) {
  let answer;
  try {
    answer = await fetch(`api/v1/${path}`, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(body),
    });
  } catch {
    throw failure("The dashboard cannot be reached.", true);
  }
  const said = await answer.json().catch(() => ({}));
  if (answer.ok) return said;
  const detail = said.detail ? `: ${said.detail}` : "";
  if (answer.status === 403) throw failure(`You may not do this${detail}.`);
  if (answer.status === 503) throw failure(`Not now${detail}.`, true);
  throw failure(TOLD[answer.status] ?? `It did not work (${answer.status})${detail}.`);
}

/** An error that people are told of; `isUnknown` where it may have been done all the same. */
const failure = (message, isUnknown = false) => Object.assign(new Error(message), { isUnknown });

const number = (value) => value.toLocaleString("en");
const counted = (count) => (count === 1 ? "1 entry" : `${number(count)} entries`);

function element(name, ...content) {
  const made = document.createElement(name);
  made.append(...content); // strings become text
  return made;
}

const line = (content) => element("p", content);
const list = (items) => element("ul", ...items);

function item(words, example) {
  if (!example) return element("li", words);
  const said = element("bdi", example.length > 160 ? `${example.slice(0, 159)}…` : example);
  const part = element("span", "for example: ", said);
  part.className = "part";
  return element("li", words, document.createElement("br"), part);
}

function problem(message) {
  const said = line(message);
  said.className = "notice";
  said.setAttribute("role", "alert");
  return said;
}
