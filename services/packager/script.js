"use strict";
// The page is whole without this: buttons that copy, and one film at a time.
for (const field of document.querySelectorAll("[data-copy]")) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "copy";
  button.textContent = "Copy";
  button.setAttribute("aria-label", "Copy: " + field.previousElementSibling.firstChild.textContent.trim());
  button.addEventListener("click", async () => {
    const told = (word) => {
      button.textContent = word;
      setTimeout(() => { button.textContent = "Copy"; }, 1600);
    };
    try {
      await navigator.clipboard.writeText(field.textContent);
      told("Copied");
    } catch {
      // Folders opened from a disk may have no clipboard: select the text instead.
      const range = document.createRange();
      range.selectNodeContents(field);
      getSelection().removeAllRanges();
      getSelection().addRange(range);
      told("Selected");
    }
  });
  field.after(button);
}
document.addEventListener("play", (event) => {
  for (const other of document.querySelectorAll("video, audio")) {
    if (other !== event.target) other.pause();
  }
}, true);
