// The other half of templates.py: renders its cases and prints where the results differ from jinja2's.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const require = createRequire(import.meta.url);
const { ChatTemplate } = require("../../dist/template/chat_template.js");
const { checkMessages } = require("../../dist/template/chat_messages.js");
const { parseExact } = require("../../dist/files/exact_json.js");

const { cases, show } = JSON.parse(readFileSync(process.argv[2], "utf8"));

function rendered({ template, conversation, prompt, special }) {
  try {
    const { messages, tools } = parseExact(conversation);
    const chat = new ChatTemplate(template, special);
    const { text, generated } = chat.render(checkMessages(messages, tools), { addGenerationPrompt: prompt });
    return { text, spans: generated };
  } catch (error) {
    return { error: `${error.code ?? error.name}: ${error.message}` };
  }
}

let differences = 0;
let errors = 0;
for (const one of cases) {
  const ours = rendered(one);
  const { expected } = one;
  if (expected.error !== undefined) errors++;
  const same =
    expected.error === undefined
      ? ours.text === expected.text && JSON.stringify(ours.spans) === JSON.stringify(expected.spans)
      : ours.error?.startsWith("ERR_TEMPLATE");
  if (same) continue;
  if (++differences > show) continue;
  let at = 0;
  while (ours.text && at < ours.text.length && ours.text[at] === expected.text?.[at]) at++;
  const part = (result) => result.error ?? JSON.stringify(result.text.slice(Math.max(0, at - 40), at + 80));
  console.log(`${one.where}\n  jinja2 ${part(expected)}\n  ours   ${part(ours)}`);
  if (ours.text !== undefined && ours.text === expected.text)
    console.log(`  spans  ${JSON.stringify(expected.spans)}\n  ours   ${JSON.stringify(ours.spans)}`);
}
const templates = new Set(cases.map((one) => one.template)).size;
console.log(
  `${templates} templates, ${cases.length} renderings (${errors} of them errors in jinja2): ${differences} differ`,
);
process.exitCode = differences > 0 ? 1 : 0;
