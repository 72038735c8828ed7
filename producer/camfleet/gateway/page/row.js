// What views say of a row: its class, and what was measured of its map.

import { fact, percent, short, term } from "./dom.js";

export function titleOf({ class_name: given, class_index: index, target }) {
  const title = given ?? (index === null ? "no class" : `class ${index}`);
  return target.startsWith("not:") ? `against ${title}` : title;
}

export const measures = (row) => [
  row.grid_height && fact(term("Grid", "Cells of the map, before it's spread over the photograph."), `${row.grid_height} × ${row.grid_width}`),
  row.raw_max !== null && fact(term("Raw maximum", "The map's highest value in the method's own units: 0 or less is no evidence."), short(row.raw_max)),
  row.logit !== null && fact(term("Logit", "The class's score before softmax or sigmoid."), short(row.logit)),
  row.focus && fact(term("At the border", "The share of the heat in the outer tenth of the photograph, on each side."), percent(row.focus.border_share)),
];
