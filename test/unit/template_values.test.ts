/** What jinja2 3.1 as transformers sets it up gives for single expressions and statements: the same text, or an error of both. */
import { checkMessages } from "../../lib/template/chat_messages";
import { ChatTemplate } from "../../lib/template/chat_template";
import { strftime } from "../../lib/template/strftime";

const conversation = checkMessages([{ role: "user", content: "q" }], undefined);
const render = (source: string) => new ChatTemplate(source, {}).render(conversation).text;

test.each<[string, string]>([
  ["{% for x in [1] %}{% continue %}{% else %}E{% endfor %}", "E"],
  ["{% for x in [1, 2] %}{% break %}{% else %}E{% endfor %}", "E"],
  ["{% for x in [1, 2] %}{{ x }}{% if x == 2 %}{% break %}{% endif %}{% else %}E{% endfor %}", "12"],
  ["{% for x in [1, 2] %}{% if x == 1 %}{% continue %}{% endif %}{{ x }}{% else %}E{% endfor %}", "2"],
  ["{{ none[:5] }}{{ 'abc'['a':] }}{{ 5[1:] is defined }}", "False"],
  ["{{ 'abc'[none:2] }}{{ 'abc'[true:] }}", "abbc"],
  ["{{ none | int }}|{{ none | float }}|{{ [] | int }}|{{ {} | float }}", "0|0.0|0|0.0"],
  ["{{ [1] | groupby('missing') | list }}{{ [] | groupby('missing') }}", "[(Undefined, [1])][]"],
  ["{{ [1, 2] | sort(attribute='missing') }}", "[1, 2]"],
  ["{% filter first %}abc{% endfilter %}{% set x | length %}abc{% endset %}{{ x }}", "a3"],
  ["{{ ['ab'] | urlencode }}|{{ (('a', 'é'),) | urlencode }}|{{ 5 | urlencode }}|{{ none | urlencode }}", "a=b|a=%C3%A9|5|None"],
  ["{% for i in [1] %}{% with loop = 3 %}{{ loop }}{% endwith %}{% endfor %}{% set loop = 5 %}{{ loop }}", "35"],
  ["{{ [1] | truncate(5) }}{{ range(3) | truncate(5) }}{{ {'a': 1} | truncate(5) }}", "[1]range(0, 3){'a': 1}"],
  ["{{ nope | reverse | list }}{{ 'x' % nope }}{{ 'a' % range(3) }}{{ 'a' % [] }}", "[]xaa"],
  ["{{ range(5).count(1) }}{{ range(5).index(3) }}{{ range(5).count('a') }}{{ range(5).count(2.0) }}", "1301"],
  ["{{ (2 ** 14000) | string | length }}", "4215"],
  ["{{ 'ΑΣ ς' | capitalize }}|{{ 'ΑΣ ΣΑ ΑΣ'.title() }}|{{ 'aΣ'.capitalize() }}|{{ 'Σ Σ' | capitalize }}", "Ας ς|Ας Σα Ας|Aς|Σ σ"],
  ["{{ 'ﬁ'.casefold() }}|{{ 'Straße'.casefold() }}|{{ 'ΑΣς'.casefold() }}|{{ 'İIı'.casefold() }}|{{ 'ᏸꭰ'.casefold() }}|{{ 'ᾳᾼẞ'.casefold() }}", "fi|strasse|ασσ|i̇iı|ᏰᎠ|αιαιss"],
  ["{% macro f() %}{{ caller.name }}|{{ caller.arguments }}|{{ caller }}{% endmacro %}{% call(a) f() %}x{% endcall %}", "None|('a',)|<Macro anonymous>"],
  ["{{ ('a,b' | safe).split(',') }}{{ ('a,b' | safe).partition(',') }}", "[Markup('a'), Markup('b')](Markup('a'), Markup(','), Markup('b'))"],
  ["{% set d = {'a': 1, 'b': 2} %}{{ d.items() == {'b': 2, 'a': 1}.items() }}{{ ('a', 1) in d.items() }}{{ ('a', 2) in d.items() }}", "TrueTrueFalse"],
  ["{{ {('a', ('b', 1)): 'x'}[('a', ('b', true))] }}", "x"],
])("renders as jinja2: %s", (source, text) => {
  expect(render(source)).toBe(text);
}); // biome-ignore format: one line a case

test.each([
  "{% set x = none %}{{ x[:5] }}",
  "{% set d = {} %}{{ d[:5] }}",
  "{% set n = 5 %}{{ n[:5] }}{% set t = true %}",
  "{% set s = 'abc' %}{{ s['a':] }}",
  "{{ range(5)[:2.5] }}",
  "{{ nope | int }}",
  "{{ nope | float }}",
  "{{ nope | int(5) }}",
  "{{ [1, 2] | groupby('missing') }}",
  "{% filter length %}abc{% endfilter %}",
  "{% filter default(5, true) %}{% endfilter %}",
  "{{ range(5) | urlencode }}",
  "{{ ['é'] | urlencode }}",
  "{% for i in [1] %}{% set loop = 5 %}{% endfor %}",
  "{% for i in [1] %}{% if true %}{% set a, loop = 1, 2 %}{% endif %}{% endfor %}",
  "{% for i in [] %}{% else %}{% set loop %}x{% endset %}{% endfor %}",
  "{{ range(5).index(9) }}",
])("fails as jinja2: %s", (source) => {
  expect(() => render(source)).toThrow(expect.objectContaining({ code: "ERR_TEMPLATE" }));
});

test.each([
  "{{ raise_exception('x' * 1000000) }}",
  "{{ [1] | map('x' * 1000000) | list }}",
  "{% macro f() %}{% endmacro %}{{ f(**{'x' * 1000000: 1}) }}",
  "{{ ('{0.' ~ 'x' * 1000000 ~ '}').format({}) }}",
])("an error's message shows the beginning of a long text: %s", (source) => {
  let message = "";
  try {
    render(source);
  } catch (error) {
    message = (error as Error).message;
  }
  expect(message).toMatch(/xxx/);
  expect(message.length).toBeLessThan(600);
});

test("dates as Python's strftime", () => {
  const date = new Date(2024, 11, 29, 23, 5, 9); // a Sunday
  expect(strftime(date, "%U|%W|%w|%u|%C|%h|%D|%F|%T|%R|%r|%c|%f|%z|%Q")).toBe(
    "52|52|0|7|20|Dec|12/29/24|2024-12-29|23:05:09|23:05|11:05:09 PM|Sun Dec 29 23:05:09 2024|000000||%Q",
  );
});
