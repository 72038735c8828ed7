// What a gallery is asked for: the filters and the order that its address holds.

const LISTS = ["status", "class", "label", "code", "model"];
export const RANGES = ["probability", "border_share"];
export const FILTERS = [...LISTS, "rank", ...RANGES.flatMap((one) => [`min_${one}`, `max_${one}`])];

// Return them as parameters of a request, each with the list of its values.
export function filtersOf(query) {
  return Object.fromEntries([...FILTERS, "sort"].map((field) => [field, query.getAll(field)]).filter(([, values]) => values.length));
}

// Return them as an address has them.
export const pairs = (asked) => Object.entries(asked).flatMap(([field, values]) => values.map((value) => [field, value]));

// Return those that need no index.
export const plain = (asked) => Object.fromEntries(Object.entries(asked).filter(([field]) => !/^(label|sort|m.._border_share)$/.test(field)));
