// One tile: the photograph with its heat, the class and how probable it is, and a box to choose it.

import { append, h, number, percent, replace, visible } from "../dom.js";
import { draw } from "../heat.js";
import { framed, load, mapOf, sources } from "../maps.js";

const LARGE = 200; // pixels of a tile that needs the larger photograph

// Return the tile of a row, or of null: it's on its way. `tile.load()` loads its pictures,
// `tile.heat()` draws the heat anew.
export function tile(view, index, row, side, focused) {
  const failed = row?.status === "failed";
  const title = row && (row.class_name ?? (row.class_index === null ? "" : `class ${row.class_index}`));
  const value = row && (failed ? row.error_code : row.probability === null ? "" : percent(row.probability));
  const more = row && [`, image ${number(index + 1)} of ${number(view.rows.count)}`, row.status === "no_evidence" && ", no evidence", row.border_share !== null && `, ${percent(row.border_share, 0)} at the border`];
  const home = h("span", { class: "tile-picture" }, failed && h("span", { class: "bad" }, "failed"));
  const element = h("div", { class: `tile ${row?.status ?? ""}`, role: "listitem" },
    h("a", { href: row && view.link(index, row), tabindex: -1, title: row?.item_id && visible(row.item_id), data: { index }, on: { focus: focused } },
      home,
      h("span", { class: "tile-caption" },
        h("span", { class: "spread" }, h("span", { class: "cut-off", dir: "auto" }, visible(title || (failed ? "" : " "))), h("b", { class: failed ? "bad" : "" }, value ?? "")),
        h("span", { class: "dim cut-off", dir: "auto" }, visible(row?.item_id?.replace(/^.*\/(?=.)/, "") ?? row?.row ?? "Loading")), h("span", { class: "unseen" }, more))),
    row && h("input", {
      type: "checkbox", tabindex: -1, title: "Choose it: key x; with Shift all from the one before", "aria-label": `Choose image ${number(index + 1)}`, checked: view.chosen.has(row),
      on: { click: (event) => view.choose(index, event.target.checked, event.shiftKey) },
    }));
  element.row = row;
  element.load = async () => {
    if (!row || failed || element.heat) return;
    element.heat = () => {};
    await picture(view, element, home, side);
  };
  return element;
}

async function picture(view, element, home, side) {
  const { row } = element;
  const canvas = h("canvas", { "aria-hidden": "true" });
  const image = h("img", { alt: "", decoding: "async", draggable: "false" });
  const frame = h("span", { class: "tile-frame" }, image, canvas);
  const loaded = new Promise((done) => {
    image.addEventListener("load", () => {
      framed(frame, image.naturalWidth, image.naturalHeight);
      done();
    });
    load(image, sources(view.job, row.row, side > LARGE ? 512 : 256), () => {
      replace(home, h("span", { class: "dim" }, "no picture"));
      done();
    });
  });
  append(home, frame);
  const map = await mapOf(view.job, row.row).catch(() => null);
  if (map?.geometry) {
    const { image_width: width, image_height: height } = map.geometry;
    framed(frame, width, height);
    element.heat = () => draw(canvas, map, { width, height, colormap: view.look.colormap, longest: 160 });
    element.heat();
    const { x, y } = map.hottest;
    if (map.peak > 0) append(frame, h("i", { class: "ring small", style: { left: `${x * 100}%`, top: `${y * 100}%` } }));
  }
  await loaded;
}
