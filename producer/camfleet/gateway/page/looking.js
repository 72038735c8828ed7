// Views that keep themselves up to date.

import { failed, h, replace } from "./dom.js";

// Call `look` now, and again after each of the milliseconds that it returns, while somebody sees
// the window. What fails stands in `note`, but for the first time. Return a function that stops.
export async function keepLooking(look, note, signal) {
  let [timer, after, stopped] = [0, 0, false];
  const again = async () => {
    try {
      if (!after || !document.hidden) {
        after = await look();
        replace(note);
      }
    } catch (error) {
      if (signal.aborted) return;
      if (!after) throw error;
      replace(note, stale(error));
    }
    if (!stopped) timer = setTimeout(again, after);
  };
  await again();
  return () => {
    stopped = true;
    clearTimeout(timer);
  };
}

export const stale = (error) => h("p", { class: "note bad", role: "status" }, `Not up to date: ${error.message}`);

const SOON = 1500; // milliseconds

// Load a view again soon, {load(), body, route}: where the gateway is away, until it's back.
export function loadSoon(view) {
  view.timer = setTimeout(() => view.load().catch((error) => {
    if (view.route.signal.aborted) return;
    if (error.status === 0 || error.status >= 500) loadSoon(view);
    else replace(view.body, failed(error));
  }), SOON);
}
