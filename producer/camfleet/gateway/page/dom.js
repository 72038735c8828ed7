// Elements out of plain words. All text is text: nothing here parses HTML.

const SVG = "http://www.w3.org/2000/svg";
const PROPERTIES = new Set(["value", "checked", "disabled", "selected", "open", "indeterminate", "hidden", "htmlFor"]);

// h("button", {class: "main", on: {click}, "aria-label": "..."}, "Go"): attributes, but for
//   on: {event: listener}, style: {property: value} (also --variables), data: {name: value},
//   and the properties above. null, undefined and false leave an attribute out.
// Children are elements, texts, numbers, lists of these; null and false are nothing.
export function h(tag, given = {}, ...children) {
  return fill(document.createElement(tag), given, children);
}

// The same for SVG.
export function svg(tag, given = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), given, children);
}

function fill(element, given, children) {
  for (const [name, value] of Object.entries(given)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "on") {
      for (const [event, listener] of Object.entries(value)) element.addEventListener(event, listener);
    } else if (name === "style") {
      for (const [property, text] of Object.entries(value)) element.style.setProperty(property, text);
    } else if (name === "data") {
      Object.assign(element.dataset, value);
    } else if (PROPERTIES.has(name)) {
      element[name] = value;
    } else {
      element.setAttribute(name, value === true ? "" : value);
    }
  }
  append(element, children);
  return element;
}

export function append(element, ...children) {
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    element.append(child instanceof Node ? child : String(child));
  }
  return element;
}

// Put these children in the place of all that was there.
export function replace(element, ...children) {
  element.replaceChildren();
  return append(element, ...children);
}

// Pieces of views ----------------------------------------------------------------------------

// A term and what is said of it, of a list of facts: h("dl", {class: "facts"}, fact("Model", ...)).
export const fact = (title, ...value) => [h("dt", {}, title), h("dd", {}, value)];

// A view's headline, with what stands beside it.
export const head = (title, ...beside) => h("div", { class: "head" }, h("h1", {}, title), beside);

// A part of a view with a title.
export const panel = (title, ...children) => h("section", { class: "panel" }, h("h2", {}, title), children);

// One of a row of numbers that stand large, with its words below.
export const figure = (value, text, meaning, kind) => h("div", {}, h("b", { class: kind }, value), h("span", {}, meaning ? term(text, meaning) : text));

// An element with its label above; `element` has the id.
export const field = (element, ...label) => h("div", { class: "field" }, h("label", { for: element.id }, label), element);

// Options are texts or [value, text]; `changed(value)` is told what was chosen.
export function select(given, options, value, changed = () => {}) {
  const element = h("select", { ...given, on: { change: () => changed(element.value) } }, options.map((one) => {
    const [key, text] = Array.isArray(one) ? one : [one, one];
    return h("option", { value: key, selected: key === value }, text);
  }));
  return element;
}

// Titles are texts, elements, or [text, class].
export const tableHead = (...titles) => h("thead", {}, h("tr", {}, titles.map((one) => {
  const [title, style] = Array.isArray(one) ? one : [one];
  return h("th", { scope: "col", class: style }, title);
})));

// States -------------------------------------------------------------------------------------

// Shown after a moment only, by its style: what is quick doesn't flicker.
export function loading(text = "Loading …") {
  return h("p", { class: "state loading", role: "status" }, h("span", { class: "spinner", "aria-hidden": "true" }), text);
}

export function empty(title, hint, ...actions) {
  return h("div", { class: "state" }, h("p", { class: "strong" }, title), hint && h("p", {}, hint), actions);
}

export function failed(error, again = null) {
  const wait = error.retryAfter ? ` Try again in ${error.retryAfter} s.` : "";
  return h("div", { class: "state failed", role: "alert" },
    h("p", { class: "strong" }, headline(error)),
    h("p", { dir: "auto" }, error.message + wait),
    error.code && h("p", { class: "dim" }, `Code ${error.code}`),
    again && h("button", { on: { click: again } }, "Try again"));
}

function headline({ status }) {
  if (status === 0) return "No connection";
  if (status === 403) return "Your token doesn't open this";
  if (status === 404) return "There is no such thing, or it isn't yours";
  if (status === 410) return "That was deleted";
  if (status === 429) return "Too much at once";
  if (status === 503) return "Not available at the moment";
  return status ? "That didn't work" : "The page has a bug";
}

// Numbers and times ----------------------------------------------------------------------------

const whole = new Intl.NumberFormat("en");
const three = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });

export const number = (value) => (value === null || value === undefined ? "–" : whole.format(value));
export const short = (value) => (value === null || value === undefined ? "–" : three.format(value));
export const percent = (share, digits = 1) =>
  share === null || share === undefined ? "–" : `${(share * 100).toFixed(digits)} %`;

export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  const rounded = Math.round(seconds);
  if (rounded < 60) return `${seconds < 10 && seconds % 1 ? seconds.toFixed(1) : rounded} s`;
  const [hours, minutes] = [Math.floor(rounded / 3600), Math.floor((rounded % 3600) / 60)];
  return hours ? `${hours} h ${String(minutes).padStart(2, "0")} min` : `${minutes} min ${String(rounded % 60).padStart(2, "0")} s`;
}

// A time, as the gateway tells it, as how long ago it was; the exact time on hover.
export function ago(when) {
  if (!when) return "–";
  const time = new Date(when);
  const seconds = Math.max(0, (Date.now() - time) / 1000);
  const days = Math.floor(seconds / 86400);
  const told = seconds < 5 ? "just now" : days > 60 ? time.toLocaleDateString() : days ? `${days} d ago` : `${duration(Math.round(seconds)).replace(/ \d+ s$/, "")} ago`;
  return h("time", { datetime: time.toISOString(), title: time.toLocaleString() }, told);
}

// Words ----------------------------------------------------------------------------------------

const LONG = 256; // signs of a name
// Emoji, which may be of several signs, or a sign that doesn't show: controls, signs of no width,
// those that turn the direction of writing.
const UNSEEN = /(\p{RGI_Emoji}|\p{Extended_Pictographic}[\ufe0e\ufe0f])|[\p{C}\p{Zl}\p{Zp}\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0\u{e0100}-\u{e01ef}]/gv;
const escaped = (sign) => sign.replace(/[^]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`);

// Text that others wrote, of which every sign shows, as the command line has it (camfleet.foreign).
export const visible = (text) => String(text).replace(UNSEEN, (sign, emoji) => emoji ?? escaped(sign));

// A name that others chose: in its own direction, with its beginning only where it's very long.
export function name(text) {
  const whole = visible(text);
  const signs = [...whole];
  return h("bdi", { title: whole, class: "name" }, signs.length > LONG ? `${signs.slice(0, LONG).join("")} …` : whole);
}

// Links to what has a name of its own.
export const jobLink = (job, text = name(job)) => h("a", { href: `#/jobs/${encodeURIComponent(job)}` }, text);
export const modelLink = (model, text = name(model)) => h("a", { href: `#/models/${encodeURIComponent(model)}` }, text);

// What a word means, one sentence on hover or focus.
export function term(text, meaning) {
  return h("span", { class: "term", tabindex: 0, title: meaning, "aria-description": meaning }, text);
}
