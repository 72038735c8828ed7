// What is asked in a dialog, and what is copied.

import { h } from "./dom.js";

// A dialog that is shown at once, and gone once it's closed: `closed(value)` of the button pressed.
export function dialog(title, children, closed = () => {}) {
  const element = h("dialog", { "aria-label": title, on: { close: () => { closed(element.returnValue); element.remove(); } } }, h("h2", {}, title), children);
  document.body.append(element);
  element.showModal();
  return element;
}

// Ask whether somebody means it: `act()` if so.
export function confirm(title, text, [keep, action], act) {
  dialog(title, [h("p", {}, text), h("form", { method: "dialog", class: "actions" }, h("button", {}, keep), h("button", { class: "danger", value: "yes" }, action))],
    (value) => value === "yes" && act());
}

// A button that copies; says so for a moment.
export function copy(text, label = "Copy") {
  const button = h("button", { class: "quiet", on: { click: async () => {
    const copied = navigator.clipboard?.writeText(typeof text === "function" ? text() : text) ?? Promise.reject();
    button.textContent = await copied.then(() => "Copied", () => "It can't be copied");
    setTimeout(() => { button.textContent = label; }, 1500);
  } } }, label);
  return button;
}
