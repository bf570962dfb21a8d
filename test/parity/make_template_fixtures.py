"""Writes fixtures/templates.json: what jinja2, as transformers uses it, makes of templates written here.

    python test/parity/make_template_fixtures.py

Each line of templates.txt is a template, and so are the texts below, which have line ends; one that jinja2 refuses is kept with the name of the exception. `conversation` is what they are
rendered with, as the text of its JSON, since JavaScript reads some numbers otherwise.
"""

import json
from pathlib import Path

from transformers.utils.chat_template_utils import _compile_jinja_template

conversation = r"""{"messages": [
 {"role": "system", "content": "Be brief.\r\nPlease."},
 {"role": "user", "content": "Wie geht's? 😀"},
 {"role": "assistant", "content": null, "tool_calls": [{"type": "function", "function": {"name": "pay", "arguments":
   {"amount": 20.0, "account": 12345678901234567890, "rate": 1e-07, "none": null, "yes": true, "zero": -0.0, "big": 1E+22,
    "b": 1, "2": "x", "1": "y", "text": "it's \"so\"\n"}}}]},
 {"role": "tool", "content": "", "items": [1, 2.5, [3]]},
 {"role": "user", "content": [{"type": "text", "text": "part"}, {"type": "image"}]},
 {"role": "assistant", "content": "<think>hm</think>\n\nDone."}],
"tools": [{"type": "function", "function": {"name": "pay", "parameters": {"type": "object",
  "properties": {"amount": {"type": "number", "minimum": 0.0, "default": 1e5}, "to": {"enum": ["a", "b"]}}}}}]}"""

templates = Path(__file__).with_name("templates.txt").read_text("utf-8").rstrip("\n").split("\n")

multiline = [
    "a\n", "a\n\n", "a\r\n", "a\r\n\r\nb\r", "a\rb", "{{ 'a\r\nb' }}", "{% if true %}\r\nx\r\n{% endif %}\r\ny",
    "{% if true %}\nx\n{% endif %}\ny", "x\n   {% if true %}y{% endif %}", "x\n  {%+ if true %}y{% endif %}",
    "x\n  {# no #}\ny", "  {{ 'x' }}\ny", "{% if true %}\n\n\nx{% endif %}", "  {% if true %}  {% endif %}  \n  x",
    "a  {%- if true -%}  b  {%- endif -%}  c", "a\n\n{%- if true %}\n\nb\n{%- endif %}\n\nc", "a {% if true +%}\nb{% endif %}",
    "a\n  {%- if true +%}\n  b\n  {%+ endif %}\nc", "{% set x = 1 -%}\n\n  y", "  {%- set x = 1 %}\n  y", "\t {% if true %}\n\t x\n\t {% endif %}\n",
    "\n  {% for i in [1, 2] %}\n    {{ i }}\n  {% endfor %}\nend\n", "{{ 'a' }}\n{{ 'b' }}\n", "{{ 'a' -}}\n{{ 'b' }}", "{{ 'a' }}  {{- 'b' }}",
    "x{% raw %}\n {{ a }}\n {% endraw %}\ny", "x\n  {% raw %}  a  {% endraw %}  \ny", "{#- a -#}\n b", "a {#- b #} c", "a\n {# b #} \nc", "{# a +#}\nb",
    "{% if true %}a{% endif %}\n{% if true %}b{% endif %}", "a{{ 1 }}\n{% if true %}{% endif %}\n\nb", "{{+ 1 }}", "{{ 1 +}}", "{%\nif\ntrue\n%}a{%\nendif\n%}",
    "{{ [1,\n 2] }}", "a\x0b{%- if true %}b{% endif %}", "a\u00a0{{- 'b' }}", "a\ufeff{{- 'b' }}", "a\x85\n {%- if true %}b{% endif %}", "x \t\n \t{% if true %}y{% endif %}",
    "{% for m in messages %}\n  {% generation %}\n{{ m.role }}\n{% endgeneration %}\n{% endfor %}", "x {%- generation -%} yy {%- endgeneration -%} z",
    "{{ 'a\\\nb' }}", "{{ \"a'b\" ~ 'c\"d' }}", "{%- for m in messages -%}\n  {{ m.role }}\n{%- endfor -%}\n", "", "\n", "\n\n", " ", "{{ '' }}\n", "\ufeffa",
]

extra = [
    "{% for m in messages %}{% if m.role == 'system' %}{{ m.content }}{% elif m.content is string %}<{{ m.role }}>{{ m.content | trim }}{% else %}{{ m.content }}{% endif %}\n{% endfor %}",
]


def rendered(template):
    given = json.loads(conversation)
    try:
        text = _compile_jinja_template(template).render(
            **given, documents=None, add_generation_prompt=False, bos_token="<s>", eos_token="</s>"
        )
    except Exception as error:  # whatever jinja2 and Python raise
        return {"template": template, "error": type(error).__name__}
    return {"template": template, "text": text}


cases = [rendered(one) for one in [*templates, *multiline, *extra]]
# Addresses differ each time; what writes them is not compared.
cases = [case for case in cases if " at 0x" not in case.get("text", "")]
target = Path(__file__).parent / "fixtures" / "templates.json"
target.write_text(json.dumps({"conversation": conversation, "cases": cases}, ensure_ascii=True, indent=1) + "\n")
print(f"{len(cases)} templates, {sum('error' in case for case in cases)} of them errors, in {target}")
