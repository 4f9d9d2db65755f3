// Buttons that copy a text, as it is and not as it is shown. They are not there without this.
document.documentElement.classList.add("copies");

document.addEventListener("click", async ({ target }) => {
  const button = target.closest("[data-copy]");
  if (!button) return;
  try {
    await navigator.clipboard.writeText(button.dataset.copy);
  } catch {
    copyBySelection(button.dataset.copy); // only pages of https or of this machine have a clipboard
  }
  button.classList.add("done");
  setTimeout(() => button.classList.remove("done"), 1_200);
});

function copyBySelection(text) {
  const area = document.createElement("textarea");
  area.value = text;
  document.body.append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
}
