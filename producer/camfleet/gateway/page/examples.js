// A question as a program asks it, to be copied.

export const LANGUAGES = ["curl", "Python", "camfleet explain", "JavaScript"];

// Return the text that asks {image, model, method, target} of a gateway at `origin`.
export function example(language, asked, origin) {
  const { image, model, method, target } = asked;
  if (language === "curl") {
    return `curl --fail-with-body -H "Authorization: Bearer $TOKEN" --json ${quote(JSON.stringify(asked))} ${quote(`${origin}v1/explain`)}`;
  }
  if (language === "Python") {
    return `from camfleet import Client

with Client.from_environ() as client:
    rows = client.explain(
        ${text(image)},
        model=${text(model)},
        method=${text(method)},
        target=${text(target)},
    ).result()
    for row in rows:
        print(row.class_name, row.probability)`;
  }
  if (language === "JavaScript") {
    return `const answer = await fetch(${JSON.stringify(`${origin}v1/explain`)}, {
  method: "POST",
  headers: { Authorization: \`Bearer \${token}\`, "Content-Type": "application/json" },
  body: JSON.stringify(${JSON.stringify(asked)}),
});
const { results } = await answer.json();`;
  }
  return `camfleet explain ${quote(image)} --model ${quote(model)} --method ${quote(method)} --target ${quote(target)}`;
}

// As one word of a POSIX shell.
export const quote = (word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`);

// As a string of Python: JSON's are, but for lone halves of UTF-16 pairs, which JSON escapes alike.
const text = (word) => JSON.stringify(word);
