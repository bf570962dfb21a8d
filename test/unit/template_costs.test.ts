/** Hostile templates, one for each operation whose cost depends on sizes: all end soon, by the budget or on their own. */
import { readFileSync } from "node:fs";
import path from "node:path";
import { type ChatMessage, checkMessages } from "../../lib/template/chat_messages";
import { ChatTemplate } from "../../lib/template/chat_template";

/** Makes `name` a text of 2^doublings times `text`. */
const long = (name: string, text: string, doublings: number) =>
  `{%- set ${name} = '${text}' -%}${`{%- set ${name} = ${name} ~ ${name} -%}`.repeat(doublings)}`;
const list = (name: string, item: string, doublings: number) =>
  `{%- set ${name} = [${item}] -%}${`{%- set ${name} = ${name} + ${name} -%}`.repeat(doublings)}`;
const always = (body: string) => `{% for i in range(2000) %}${body}{% endfor %}`;
const few = (body: string) => always(body).replace("range(2000)", "range(100)");
const texts = long("t", "a", 19) + long("p", "a", 15);
const lists = list("l", "1", 15) + list("s", "'ab'", 14);
const wide = `{%- set d = {${Array.from({ length: 500 }, (_, at) => `'k${at}':${at}`).join()}} -%}`;
const macros = `{% macro f(x) %}{% macro g() %}${"{{ 1 }}".repeat(2000)}{% endmacro %}{% endmacro %}`;

const hostile: [string, string][] = [
  ["in, for texts", `${long("t", "a", 17)}${long("p", "a", 10)}{%- set p = 'ab' ~ p -%}${always("{{ p in t }}")}`],
  ["not in, for short texts", `${texts}${always("{{ 'aab' not in t }}")}`],
  ["in, for lists", `${lists}${always("{{ 2 in l }}")}`],
  ["in, for lists of texts", `${texts}{%- set q = t ~ 'b' -%}{%- set l = [q ~ 'c', q ~ 'd', q ~ 'e'] -%}${always("{{ (q ~ 'f') in l }}")}`],
  ["in, for objects", `${wide}${always("{{ 'x' in d }}")}`],
  ["equality", `${texts}{%- set a = t ~ 'b' -%}{%- set b = t ~ 'c' -%}${always("{{ a == b }}")}`],
  ["equality of lists and texts", `${lists}${always("{{ l == 'x' }}")}`],
  ["concatenation", `${texts}${always("{%- set x = t ~ i -%}{{ 'b' in x }}")}`],
  ["concatenation of lists", `${lists}${always("{%- set x = l ~ i -%}")}`],
  ["addition of lists", `${lists}${always("{%- set x = l + l -%}")}`],
  ["addition of lists and texts", `${lists}${always("{%- set x = s + 'x' -%}")}`],
  ["replace", `${texts}${always("{{ t.replace('a', 'b') | length }}")}`],
  ["replace of nothing", `${texts}${always("{{ t.replace('', 'b') | length }}")}`],
  ["replace that searches", `${texts}{%- set p = 'ab' ~ p -%}${always("{{ t.replace(p, 'b') | length }}")}`],
  ["replace as a filter", `${texts}${always("{{ t | replace('a', 'b') | length }}")}`],
  ["replace by a variable", `${texts}{% set r = t.replace %}${few("{{ r('a', 'b') | length }}")}`],
  ["replace by a call", `${texts}{% set r = t.replace %}${few("{% call r('a', 'b') %}{% endcall %}")}`],
  ["replace by index", `${texts}${always("{{ t['replace']('a', 'bb') | length }}")}`],
  ["replace by spread", `${texts}${always("{{ t.replace(*['a', 'bb']) | length }}")}`],
  ["split", `${texts}${always("{{ t.split('a') | length }}")}`],
  ["split at spaces", `${long("t", "a ", 18)}${always("{{ t.split() | length }}")}`],
  ["split that searches", `${texts}{%- set p = 'ab' ~ p -%}${always("{{ t.split(p) | length }}")}`],
  ["join", `${lists}${always("{{ s | join(',') | length }}")}`],
  ["join of a text", `${texts}${always("{{ t | join(',') | length }}")}`],
  ["join by a long text", `${texts}${lists}${always("{{ s | join(t) | length }}")}`],
  ["join of lists", `${lists}${always("{{ [s, s] | join(',') | length }}")}`],
  ["sort", `${lists}${always("{{ s | sort | length }}")}`],
  ["sort of long texts", `${texts}{%- set q = [t ~ 'b', t ~ 'c', t ~ 'd', t ~ 'e', t ~ 'f'] -%}${always("{{ q | sort | length }}")}`],
  ["sort by a long path", `${texts}{%- set l = [{'a': 1}, {'a': 2}, {'a': 3}] -%}{%- set q = t.replace('a', 'a.') -%}${always("{{ l | sort(attribute=q) | length }}")}`],
  ["sort of objects", `${wide}${always("{{ d | dictsort | length }}")}`],
  ["unique", `${lists}${always("{{ s | unique | length }}")}`],
  ["reverse", `${lists}${always("{{ l | reverse | length }}")}`],
  ["list slices", `${lists}${always("{{ l[::-1] | length }}")}`],
  ["text slices", `${texts}${always("{{ t[::2] | length }}")}`],
  ["empty text slices", `${texts}${always("{{ t[:0] }}")}`],
  ["tojson", `${lists}${always("{{ l | tojson | length }}")}`],
  ["tojson of texts", `${texts}${always("{{ t | tojson | length }}")}`],
  ["tojson beyond ASCII", `${long("t", "é", 18)}${always("{{ t | tojson(ensure_ascii=true) | length }}")}`],
  ["tojson with indentation", `${lists}${always("{{ s | tojson(indent=1000000) | length }}")}`],
  ["tojson with long separators", `${texts}${lists}${always("{{ s | tojson(separators=[t, t]) | length }}")}`],
  ["tojson, sorted", `${wide}${always("{{ d | tojson(sort_keys=true) | length }}")}`],
  ["tojson of long names", `${texts}${always("{{ {t: 1} | tojson | length }}")}`],
  ["string", `${lists}${always("{{ l | string | length }}")}`],
  ["writing lists", `${lists}${always("{% set x %}{{ l }}{% endset %}")}`],
  ["upper", `${texts}${always("{{ t.upper() | length }}")}`],
  ["lower beyond ASCII", `${long("t", "É", 18)}${always("{{ t | lower | length }}")}`],
  ["title", `${long("t", "a ", 18)}${always("{{ t | title | length }}")}`],
  ["capitalize", `${texts}${always("{{ t | capitalize | length }}")}`],
  ["trim", `${long("t", " ", 19)}${always("{{ t | trim | length }}")}`],
  ["strip with characters", `${texts}${always("{{ t.strip('a') | length }}")}`],
  ["indent", `${long("t", "\\n", 18)}${always("{{ t | indent(9) | length }}")}`],
  ["wide indent", `${long("t", "x\\n", 10)}${always("{{ t | indent(100000000) | length }}")}`],
  ["is upper", `${long("t", "A", 19)}${always("{{ t is upper }}")}`],
  ["int", `${long("t", "1", 19)}${always("{{ t | int }}")}`],
  ["startswith", `${texts}{%- set a = t ~ 'b' -%}{%- set b = t ~ 'b' -%}${always("{{ a.startswith(b) }}")}`],
  ["endswith, for lists", `${lists}${always("{{ 'x'.endswith(s) }}")}`],
  ["map", `${texts}{%- set l = [{'a': 1}, {'a': 2}, {'a': 3}] -%}{%- set q = t.replace('a', 'a.') -%}${always("{{ l | map(attribute=q) | list | length }}")}`],
  ["selectattr", `${list("l", "{'a': 1}", 12)}${always("{{ l | selectattr('a', 'odd') | list | length }}")}`],
  ["items", `${wide}${always("{{ d.items() | length }}")}`],
  ["keys of a loop", `${wide}${always("{% for k in d %}{% endfor %}")}`],
  ["spread", `${list("l", "1", 12)}{% macro f() %}{{ varargs | length }}{% endmacro %}${always("{{ f(*l) }}")}`],
  ["spread of names", `${wide}{% macro f() %}{{ kwargs | length }}{% endmacro %}${always("{{ f(**d) }}")}`],
  ["namespaces", `${wide}${always("{% set n = namespace(d) %}")}`],
  ["writes to a namespace", `${wide}{% set n = namespace(d) %}${always("{% set n.k1 = i %}{{ n.k1 }}")}`],
  ["macros in macros", `${macros}${always("{{ f(1) }}")}`],
  ["calls of macros", `{% macro f() %}{% endmacro %}${always(`{% call f() %}${"{{ 1 }}".repeat(2000)}{% endcall %}`)}`],
  ["unknown names", always("{{ x }}{{ y }}{{ z }}")],
  ["unknown names in deep scopes", `{% macro f(n) %}{{ x }}{{ y }}{% if n > 0 %}{{ f(n - 1) }}{% endif %}{% endmacro %}${always("{{ f(200) }}")}`],
  ["continue", always("{% continue %}")],
  ["break", always("{% for j in range(2) %}{% break %}{% endfor %}")],
  ["range", always("{{ range(100000) | length }}")],
  ["loops that do nothing", always("{% for j in range(50000) %}{% endfor %}")],
  ["filtered loops", always("{% for j in range(50000) if false %}{% endfor %}")],
  ["dates", always("{{ strftime_now('%A'  ~ '%A%A%A%A%A%A%A%A') }}")],
  ["methods", always("{{ ('a' ~ i).upper }}")],
  ["numbers", always("{{ 2 ** 1000 }}{{ 1 / 3 }}")],
  ["filter blocks", `${texts}${always("{% filter upper %}{{ t }}{% endfilter %}")}`],
  ["float of what is nearly one", `${long("t", "1", 19)}{%- set t = t ~ 'x' -%}${always("{{ t | float }}{{ t | int }}")}`],
  ["wide numbers", always("{{ '%999999999d' % i }}")],
  ["wide fields", always("{{ '{:>999999999}'.format(i) }}")],
  ["many places", always("{{ '%.99f' % (1 / 3) }}{{ '{:.99f}'.format(1 / 3) }}")],
  ["precision of texts", `${texts}${always("{{ '%.3s' % t }}{{ '{:.3}'.format(t) }}")}`],
  ["format of a long text", `${long("t", "{}", 16)}${always("{{ t.format(*range(65536)) | length }}")}`],
  ["format that never ends", `${long("t", "{", 19)}${always("{{ (t ~ 'x').format(1) }}")}`],
  ["percent signs", `${long("t", "%s", 16)}${always("{{ t % (range(65536) | list) }}{{ t.count('%') }}")}`],
  ["justified", always("{{ 'a'.ljust(1000000) | length }}{{ 'a'.zfill(1000000) | length }}")],
  ["tabs", `${long("t", "\\t", 15)}${always("{{ t.expandtabs(1000) | length }}")}`],
  ["repetition of a text", always("{{ ('ab' * 400000) | length }}")],
  ["repetition of a list", always("{{ ([1, 2] * 40000) | length }}")],
  ["powers", always("{{ 3 ** 9000 > 1 }}{{ 10 ** 10 ** 10 }}")],
  ["products", `{% set n = namespace(x=3) %}${always("{% set n.x = n.x * n.x %}")}`],
  ["tuples as keys", `{% set n = namespace(t=(1, 2)) %}${"{% set n.t = (n.t, n.t) %}".repeat(40)}${always("{{ {n.t: 1} }}")}`],
  ["long tuples as keys", `${texts}{% set k = (${Array(95).fill("t").join()}) %}${always("{% if k in {} %}{% endif %}")}`],
  ["long tuples as keys that are kept", `${texts}{% set k = (t, t) %}{% set n = namespace(a=0) %}${always("{% set n.a = [n.a, {(k, i): 1}] %}")}`],
  ["keys of dicts", `{% set d = dict(range(60000) | batch(2)) %}{% set e = dict(d) %}${always("{{ d.keys() == e.keys() }}")}`],
  ["pairs of dicts", `{% set d = dict(range(20000) | batch(2)) %}{% set e = dict(d) %}${always("{{ d.items() == e.items() }}")}`],
  ["sort by many paths", `{% set t = ',' * 1000000 %}${always("{% set x = [] | sort(attribute=t) %}")}`],
  ["removed affixes", `${texts}{% set u = 'b' ~ t %}${always("{% for j in range(2000) %}{% set x = u.removesuffix(t) %}{% endfor %}")}`],
  ["copies that are kept", "{% set l = [0] * 100000 %}{% set n = namespace(a=0) %}{% for i in range(99999) %}{% set n.a = [n.a, l.copy()] %}{% endfor %}"],
  ["a marked text formatted with tuples in tuples", `{% set n = namespace(t=('<', '<')) %}${"{% set n.t = (n.t, n.t) %}".repeat(40)}${always("{{ ('%s%s' | safe) % n.t }}")}`],
  ["lists in lists", `{% set n = namespace(t=[1]) %}${"{% set n.t = [n.t, n.t] %}".repeat(40)}${always("{{ n.t == [n.t[0], n.t[1]] }}{{ n.t }}")}`],
  ["many elements for one", always("{{ [1] | batch(90000, 0) | list | length }}{{ [1] | slice(90000) | list | length }}")],
  ["groups", `${lists}${always("{{ s | groupby(0) | length }}")}`],
  ["sums of lists", `${list("l", "[1]", 12)}${always("{{ l | sum(start=[]) | length }}")}`],
  ["quotation marks as JSON", `${long("t", '"', 19)}${always("{{ t | tojson | length }}")}`],
  ["a loop that calls itself", "{% for i in [1] recursive %}{{ loop([1]) }}{% endfor %}"],
  ["astral slices", `${long("t", "😀", 18)}${always("{{ t[1:] | length }}{{ t[5] }}{{ t.find('x', 3) }}")}`],
  ["names of variables", `${texts}${always("{{ '{0[a]}{x.a}'.format({'a': t}, x={'a': t}) | length }}")}`],
]; // biome-ignore format: one line a case

const chat: ChatMessage[] = [{ role: "user", content: "q" }];

test.each(hostile)("ends soon: %s", (_, source) => {
  const template = new ChatTemplate(source, {});
  const started = process.cpuUsage();
  let message = "";
  try {
    template.render(checkMessages(chat, undefined));
  } catch (error) {
    expect(error).toMatchObject({ code: "ERR_TEMPLATE" });
    message = (error as Error).message;
  }
  const { user, system } = process.cpuUsage(started);
  const took = (user + system) / 1000; // of this process: others may keep the processor
  if (process.env.TIMES) console.error(Math.round(took), _, message.slice(0, 90));
  // A quarter of that is usual; without their charges, these take seconds to hours.
  expect(took).toBeLessThan(2000);
});

test.each([
  ["captured texts", "{% set x %}{{ t }}{{ i }}{% endset %}{% set n.a = [n.a, x] %}"],
  ["results of macros", "{% set n.a = [n.a, f()] %}"],
  ["copies of lists", "{% set n.a = [n.a, l.copy()] %}"],
  ["copies of dicts", "{% set n.a = [n.a, d.copy()] %}"],
])("%s that are kept are charged for their memory", (_, body) => {
  const start = `${long("t", "→", 19)}{% macro f() %}{{ t }}1{% endmacro %}{% set n = namespace(a=0) %}{% set l = [0] * 90000 %}{% set d = dict(range(9000) | batch(2)) %}`;
  const kept = `${start}{% for i in range(600) %}${body}{% endfor %}`;
  // 600 of them are 100 to 600 MB; a step is 1024 characters that are kept, or 8 elements, at most.
  expect(() => new ChatTemplate(kept, {}).render(checkMessages(chat, undefined))).toThrow(
    /did not end within \d+ steps/,
  );
});

const fixtures = path.join(__dirname, "..", "parity", "fixtures", "tokenizer");

test.each(["chatml", "llama-2", "llama-3", "zephyr", "mistral"])("300 turns of %s are within the budget", (name) => {
  const turns = Array.from({ length: 600 }, (_, at) => ({
    role: at % 2 ? "assistant" : "user",
    content: at % 7 ? "Some words, and some more of them. ".repeat(20) : "Short.",
  }));
  const source = readFileSync(path.join(fixtures, `${name}.jinja`), "utf8");
  const { text } = new ChatTemplate(source, { bos_token: "<s>", eos_token: "</s>" }).render(
    checkMessages(turns, undefined),
  );
  expect(text.length).toBeGreaterThan(300_000);
});
