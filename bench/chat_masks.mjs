// How the time to encode a conversation and its masks grows with its length: node bench/chat_masks.mjs Times are CPU times of one thread,
// the best of several; "factor" is relative to the line above, for four times the turns.
import { createRequire } from "node:module";

const require = createRequire(import.meta.url);
const { embeddedModelDir, Tokenizer } = require("../dist/index.js");
const { encodeLine } = require("../dist/data/encode_row.js");

const { files } = await Tokenizer.fromPretrained(embeddedModelDir());
const templateWith = (begin, end) =>
  `{% for m in messages %}<|{{ m.role }}|>\n{% if m.role == 'assistant' %}${begin}{{ m.content }}{{ eos_token }}${end}{% else %}{{ m.content }}{% endif %}\n{% endfor %}{% if add_generation_prompt %}<|assistant|>\n{% endif %}`;
const templates = {
  "no generation tags": templateWith("", ""),
  "generation tags": templateWith("{% generation %}", "{% endgeneration %}"),
};

function milliseconds(line, tokenizer, options) {
  let best = Number.POSITIVE_INFINITY;
  for (let attempt = 0; attempt < 10; attempt++) {
    const from = process.cpuUsage();
    encodeLine(line, tokenizer, { format: "auto", ...options });
    const { user, system } = process.cpuUsage(from);
    best = Math.min(best, (user + system) / 1000);
  }
  return best;
}

for (const [name, chatTemplate] of Object.entries(templates)) {
  const tokenizer = new Tokenizer({ ...files, chatTemplate });
  console.log(`${name}: turns, ms with masks (factor), loss "all", masks of the first 512 tokens`);
  let before;
  for (const turns of [20, 80, 320, 1280]) {
    const content = "The quick brown fox jumps over the lazy dog number ".repeat(4);
    const messages = Array.from({ length: turns }, (_, at) => ({
      role: at % 2 ? "assistant" : "user",
      content: content + at,
    }));
    const line = Buffer.from(JSON.stringify({ messages }));
    const masks = milliseconds(line, tokenizer, { loss: "completion", maxLength: 1e7 });
    const all = milliseconds(line, tokenizer, { loss: "all", maxLength: 1e7 });
    const cut = milliseconds(line, tokenizer, { loss: "completion", maxLength: 512 });
    const factor = before === undefined ? "" : ` (${(masks / before).toFixed(2)})`;
    console.log(`${String(turns).padStart(6)}  ${masks.toFixed(1)}${factor}  ${all.toFixed(1)}  ${cut.toFixed(1)}`);
    before = masks;
  }
}
