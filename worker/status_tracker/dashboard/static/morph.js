// Makes an element look like HTML of the server, and leaves alone all that is the same: what is
// selected, has the focus, or is under the pointer stays where it is.

/** Patch an element; `html` is another version of it, or of its children where `inside`. */
export function patch(element, html, inside) {
  const template = document.createElement("template");
  template.innerHTML = html;
  if (inside) children(element, template.content);
  else if (template.content.firstElementChild) node(element, template.content.firstElementChild);
}

function node(old, next) {
  if (next.hasAttribute?.("data-keep")) return;
  for (const { name } of [...old.attributes]) {
    if (!next.hasAttribute(name) && !(name === "open" && old.localName === "details")) old.removeAttribute(name);
  }
  for (const { name, value } of next.attributes) {
    if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  // The words of a time are written here, by the clock.
  if (old.localName !== "time") children(old, next);
}

function children(old, next) {
  const keyed = new Map();
  for (const each of old.children) if (key(each)) keyed.set(key(each), each);
  const stays = new Set([...next.children].map(key).filter((each) => keyed.has(each)));
  let at = old.firstChild;
  for (const wanted of [...next.childNodes]) {
    const known = stays.has(key(wanted)) && keyed.get(key(wanted));
    if (known) {
      stays.delete(key(wanted));
      // What goes, goes from before it: moved, it would lose the focus, and what is selected in it.
      while (at && at !== known && !stays.has(key(at))) {
        const gone = at;
        at = at.nextSibling;
        gone.remove();
      }
      if (known === at) at = at.nextSibling;
      else old.insertBefore(known, at);
      node(known, wanted);
    } else if (at && alike(at, wanted)) {
      if (wanted.nodeType === Node.ELEMENT_NODE) node(at, wanted);
      else if (at.nodeValue !== wanted.nodeValue) at.nodeValue = wanted.nodeValue;
      at = at.nextSibling;
    } else {
      old.insertBefore(wanted, at);
    }
  }
  while (at) {
    const last = at;
    at = at.nextSibling;
    last.remove();
  }
}

const key = (each) => each.id || each.dataset?.key;
const alike = (old, next) => old.nodeName === next.nodeName && key(old) === key(next);
