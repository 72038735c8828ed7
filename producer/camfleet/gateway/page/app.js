// The page's frame: who is signed in, the bar, and the router.
//
// A view is a module of views/ with
//
//     export async function show(root, route, app)
//
// which fills `root`, an empty element, and returns a function that cleans up (closes streams,
// removes listeners of window and document), or nothing. What it throws is shown as a failure with
// a way to try again. It's called anew whenever the address changes, but for changes that it made
// itself by `app.replace`.
//
//   route.name     the name in the table below
//   route.params   what stands in the pattern's places: {job: "..."}, decoded
//   route.query    URLSearchParams of what follows "?" in the address
//   route.signal   an AbortSignal, aborted as soon as another view is shown: hand it to api calls
//
//   app.session    {owner, scopes, expires_at}
//   app.may(scope) whether the token opens that
//   app.title(text)            names the view: in the window's title, for screen readers
//   app.go(address)            another view: app.go(app.address("/jobs/:job", {job}, {page: 2}))
//   app.address(pattern, params, query)  "#/jobs/...": for links; every part is encoded
//   app.replace(query)         puts the view's settings into its address, without showing it anew
//   app.say(text)              tells screen readers, politely
//
// The server's words come as text (dom.js); requests go through api.js, by relative addresses, so
// that the page works under any prefix. Styles are in style.css: the policy forbids them elsewhere,
// but for properties set by script (`style: {...}` of dom.js).

import * as api from "./api.js";
import { h, replace, failed, loading } from "./dom.js";
import { signIn } from "./views/sign_in.js";

const VIEWS = [
  // [name, pattern, module, entry of the bar]
  ["explain", "/explain", "explain", "Explain"],
  ["jobs", "/jobs", "jobs", "Jobs"],
  ["submit", "/submit", "submit"],
  ["job", "/jobs/:job", "job"],
  ["gallery", "/jobs/:job/gallery", "gallery"],
  ["image", "/jobs/:job/images/:item", "image"],
  ["report", "/jobs/:job/report", "report"],
  ["exports", "/jobs/:job/exports", "exports"],
  ["compare", "/compare/:baseline/:job", "compare"],
  ["reviews", "/reviews", "reviews", "Reviews"],
  ["review", "/reviews/:review", "reviews"],
  ["models", "/models", "models", "Models"],
  ["model", "/models/:model", "models"],
  ["workers", "/workers", "workers", "Workers"],
];
const START = "#/explain";

const main = document.getElementById("main");
const bar = document.getElementById("bar");
const live = document.getElementById("live");
let leave = null; // what the view that's shown wants done at its end
let current = null;

export const app = {
  session: null,
  may: (scope) => app.session.scopes.some((own) => own === scope || own === "admin"),
  title(text) {
    document.title = `${text} · camfleet`;
    app.say(text);
  },
  go(address) {
    location.hash = address;
  },
  address,
  replace(query) {
    const text = new URLSearchParams(query).toString();
    const path = location.hash.split("?")[0];
    history.replaceState(null, "", text ? `${path}?${text}` : path);
    current = location.hash;
  },
  say(text) {
    live.textContent = text;
  },
};

function address(pattern, params = {}, query = {}) {
  const path = pattern.replace(/:(\w+)/g, (_, name) => encodeURIComponent(params[name]));
  const given = Object.entries(query).filter(([, value]) => value !== undefined && value !== null);
  const text = new URLSearchParams(given).toString();
  return `#${path}${text ? `?${text}` : ""}`;
}

function find(hash) {
  const [path, query] = hash.slice(1).split(/\?(.*)/s);
  for (const [name, pattern, module] of VIEWS) {
    const places = pattern.split("/");
    const words = path.split("/");
    if (places.length !== words.length) continue;
    const params = {};
    const fits = places.every((place, i) => {
      if (!place.startsWith(":")) return place === words[i];
      params[place.slice(1)] = decode(words[i]);
      return words[i] !== "";
    });
    if (fits) return { name, module, params, query: new URLSearchParams(query || "") };
  }
  return null;
}

function decode(word) {
  try {
    return decodeURIComponent(word);
  } catch {
    return word; // somebody's own percent sign
  }
}

async function show() {
  if (location.hash === current) return;
  current = location.hash;
  leave?.();
  const route = find(location.hash);
  const aborter = new AbortController();
  let cleanUp = null;
  leave = () => {
    aborter.abort();
    cleanUp?.();
    for (const dialog of document.querySelectorAll("dialog")) dialog.close();
    leave = null;
  };
  drawBar(route);
  const root = h("div", { class: `view view-${route ? route.name : "none"}` }, loading());
  replace(main, root);
  window.scrollTo(0, 0);
  if (!route) {
    app.title("No such view");
    replace(root, h("p", { class: "state" }, "There's no such view. ", h("a", { href: START }, "Explain an image")));
    return;
  }
  const shown = current;
  try {
    const view = await import(`./views/${route.module}.js`);
    if (aborter.signal.aborted) return;
    const page = h("div", {});
    replace(root, page, loading());
    const done = await view.show(page, { ...route, signal: aborter.signal }, app);
    root.querySelector(":scope > .loading")?.remove();
    if (aborter.signal.aborted) done?.();
    else cleanUp = done;
  } catch (error) {
    if (aborter.signal.aborted || shown !== current) return;
    replace(root, failed(error, again));
  }
}

function again() {
  current = null;
  show();
}

function drawBar(route) {
  const links = VIEWS.filter(([, , , entry]) => entry).map(([name, pattern, module, entry]) => {
    const here = route && (route.module === module || (name === "jobs" && ("job" in route.params || route.name === "submit")));
    return h("a", { href: `#${pattern}`, "aria-current": here ? "page" : null }, entry);
  });
  replace(
    bar,
    h("a", { class: "mark", href: START, "aria-label": "camfleet, start" },
      h("img", { src: "page/icon.svg", alt: "", width: 20, height: 20 }), h("span", {}, "camfleet")),
    h("nav", { "aria-label": "Views" }, links),
    h("div", { class: "who" },
      h("span", { class: "owner", dir: "auto", title: `Signed in as ${app.session.owner}, with ${app.session.scopes.join(", ")}` }, app.session.owner),
      h("button", { class: "quiet", on: { click: signOut } }, "Sign out")),
  );
}

async function signOut() {
  try {
    await api.send("DELETE", "v1/session");
    location.reload(); // a document keeps its pictures, whoever comes next
  } catch (error) {
    replace(main, failed(error, signOut));
  }
}

// The session is over: ask for a token, before all that is there, which then goes on as it was.
function ended() {
  const title = document.title;
  document.title = "Sign in · camfleet";
  return new Promise((goOn) => {
    const door = h("dialog", { class: "door", "aria-label": "Sign in", on: { cancel: (event) => event.preventDefault(), close: () => door.isConnected && door.showModal() } });
    const signedIn = (session) => {
      if (session.owner !== app.session.owner) return void location.reload(); // likewise
      app.session = session;
      drawBar(find(location.hash));
      document.title = title;
      door.remove();
      goOn();
    };
    document.body.append(door);
    door.showModal();
    signIn(door, signedIn, "Your session is over: its token has expired, or was revoked, or you have signed out elsewhere. All that you've begun is still here.");
  });
}

function start() {
  if (!location.hash.startsWith("#/")) history.replaceState(null, "", START);
  show();
}

document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault(); // the address is the view's
  main.focus();
});
window.addEventListener("hashchange", () => app.session && show());
api.onSessionEnd(ended);

function begin(session) {
  app.session = session;
  start();
}

try {
  const session = await api.get("v1/session");
  if (session) begin(session);
  else {
    document.title = "Sign in · camfleet";
    signIn(main, begin);
  }
} catch (error) {
  replace(main, failed(error, () => location.reload()));
}
