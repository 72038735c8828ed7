// A question as a program asks it, to be copied.

export const LANGUAGES = ["curl", "Python", "camfleet explain", "JavaScript"];

// Return the text that asks {image, model, method, target} of a gateway at `origin`; `layer` and
// `inputs` besides, if given.
export function example(language, asked, origin) {
  const { image, ...others } = asked;
  if (language === "curl") {
    return `curl --fail-with-body -H "Authorization: Bearer $TOKEN" --json ${quote(JSON.stringify(asked))} ${quote(`${origin}v1/explain`)}`;
  }
  if (language === "Python") {
    // JSON's strings, numbers, lists and objects are Python's too.
    const keywords = Object.entries(others).map(([name, value]) => `        ${name}=${JSON.stringify(value)},`);
    return `from camfleet import Client

with Client.from_environ() as client:
    rows = client.explain(
        ${JSON.stringify(image)},
${keywords.join("\n")}
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
  const { inputs = {}, ...options } = others;
  const words = Object.entries(options).map(([name, value]) => `--${name} ${quote(value)}`);
  const values = Object.entries(inputs).map(([name, value]) => `--input ${quote(`${name}=${[value].flat().join(",")}`)}`);
  return ["camfleet explain", quote(image), ...words, ...values].join(" ");
}

// As one word of a POSIX shell.
const quote = (word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`);
