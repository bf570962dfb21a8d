/** Every method, filter, test and function of templates, on large values in a loop: each ends after a bounded number of steps. */

import { Budget } from "../../lib/template/budget";
import { checkMessages } from "../../lib/template/chat_messages";
import { ChatTemplate } from "../../lib/template/chat_template";
import { globalsOf } from "../../lib/template/globals";
import { tests } from "../../lib/template/jinja_tests";
import { listFilters } from "../../lib/template/list_filters";
import { textMethods } from "../../lib/template/text_methods";
import { valueFilters } from "../../lib/template/value_filters";

const conversation = checkMessages([{ role: "user", content: "q" }], undefined);
/** Half of the steps that a template may have is for making the operands. */
const maxSteps = 40_000;
const render = (source: string) => new ChatTemplate(source, {}).render(conversation, { maxSteps }).text;

/** Fails or renders, and says how long that took. */
function timed(source: string): { took: number; message: string } {
  const started = process.cpuUsage();
  let message = "";
  try {
    render(source);
  } catch (error) {
    expect(error).toMatchObject({ code: "ERR_TEMPLATE" });
    message = (error as Error).message;
  }
  const { user, system } = process.cpuUsage(started);
  return { took: (user + system) / 1000, message };
}

const operands = "{%- set t = 'a' * 1000000 -%}{%- set l = [0] * 50000 -%}{%- set d = dict(range(4000) | batch(2)) -%}";
const large = ["t", "l", "d"];
const given = ["", "t", "l", "7"];

/** What is made is kept: memory has to be charged, too. */
const kept = (expression: string) =>
  `${operands}{%- set s = namespace(a=0) -%}{%- for i in range(99999) -%}{%- set s.a = [s.a, ${expression}] -%}{%- endfor -%}`;

const methods = [...Object.keys(textMethods), "items", "keys", "values", "get", "copy", "count", "index", "bit_length"];
const calls = [
  ...methods.map((name) => [`.${name}`, (value: string, args: string) => `(${value}).${name}(${args})`] as const),
  ...Object.keys({ ...valueFilters, ...listFilters }).map(
    (name) => [`|${name}`, (value: string, args: string) => `(${value}) | ${name}(${args})`] as const,
  ),
  ...Object.keys(tests)
    .filter((name) => /^\w+$/.test(name))
    .map((name) => [`is ${name}`, (value: string, args: string) => `(${value}) is ${name}(${args})`] as const),
  ...[...globalsOf(new Budget({ steps: 1, elements: 1, characters: 1 })).keys()].map(
    (name) => [name, (value: string, args: string) => `${name}(${[value, args].filter(Boolean).join()})`] as const,
  ),
  ...["+", "-", "*", "/", "//", "%", "**", "~", "==", "<", "in", "and"].map(
    (sign) =>
      [sign, (value: string, args: string) => `(${value}) ${sign} ${args === "" ? value : `(${args})`}`] as const,
  ),
  ["[::]", (value: string, args: string) => `(${value})[${args === "7" ? "::2" : "1:"}]`] as const,
  ["{:}", (value: string, args: string) => `{(${value}): (${args || 1})}`] as const,
];

/** Milliseconds; a sixth of that is usual. What is not charged takes seconds to hours. */
const mostTime = 1000;

test.each(calls)("%s ends soon on large values", (_, call) => {
  let worst = { took: 0, message: "", source: "" };
  for (const value of large)
    for (const args of given) {
      const source = call(value, args);
      let one = timed(kept(source));
      // On a busy machine a moment can take long; what is not charged takes long each time.
      for (let again = 0; again < 3 && one.took > mostTime; again++) one = timed(kept(source));
      if (one.took > worst.took) worst = { ...one, source };
    }
  if (process.env.TIMES) console.error(_, Math.round(worst.took), worst.source, worst.message.slice(0, 90));
  expect(worst).toMatchObject({ took: expect.any(Number) });
  expect(worst.took).toBeLessThan(mostTime);
});
