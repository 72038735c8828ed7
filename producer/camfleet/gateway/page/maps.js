// Maps of a job's rows, part by part, as the gateway packs them; and their photographs.

import * as api from "./api.js";
import { HeatMap, halves } from "./heat.js";

const KEPT = 48; // parts
const kept = new Map(); // promises, the one used last at the end
const SIDES = ["image_height", "image_width", "input_height", "input_width", "left", "top", "right", "bottom"];

// Return the HeatMap of a row named PART:ROW, null where it has none.
export async function mapOf(job, place) {
  const [part, row] = place.split(":").map(Number);
  const key = `${job} ${part}`;
  const found = kept.get(key) ?? read(job, part);
  kept.delete(key);
  kept.set(key, found);
  if (kept.size > KEPT) kept.delete(kept.keys().next().value);
  found.catch(() => kept.delete(key));
  return (await found).get(row) ?? null;
}

async function read(job, part) {
  const answer = await api.request("GET", api.url(api.path("v1/jobs", job, "maps"), { part }), { cache: "default" });
  const buffer = await answer.arrayBuffer();
  const length = new DataView(buffer).getUint32(0, true);
  const { rows } = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  const values = halves(buffer.slice(4 + length));
  return new Map(rows.map((one) => [one.row, new HeatMap({
    values: values.subarray(one.start, one.start + one.height * one.width),
    height: one.height,
    width: one.width,
    scale: one.scale,
    rawMax: one.raw_max,
    geometry: one.geometry && Object.fromEntries(SIDES.map((name, i) => [name, one.geometry[i]])),
  })]));
}

// A photograph of a row, made by a worker; where there's none, what the job itself drew.
export function sources(job, place, side) {
  const at = (kind, query) => api.url(api.path("v1/jobs", job, "rows", place, kind), query);
  return [at("photo", { side }), at("thumbnail", { stream: true }), at("overlay", { stream: true })];
}

// Show the first picture of these addresses that there is; `none` is told where there's none. Where
// workers have too much to do, it's asked for again.
export async function load(image, addresses, none) {
  for (const address of addresses) {
    for (let tries = 0; tries < 4; tries++) {
      try {
        const found = await (await api.request("GET", address, { cache: "default" })).blob();
        image.addEventListener("load", () => URL.revokeObjectURL(image.src), { once: true });
        image.addEventListener("error", none, { once: true });
        image.src = URL.createObjectURL(found);
        return;
      } catch (error) {
        if (error.status !== 429 && error.status !== 503) break;
        await new Promise((again) => setTimeout(again, 1000 * (error.retryAfter ?? 1)));
      }
    }
  }
  none();
}

// Give a frame within a square the shape of its photograph.
export function framed(frame, width, height) {
  frame.style.width = `${Math.min(1, width / height) * 100}%`;
  frame.style.height = `${Math.min(1, height / width) * 100}%`;
}
