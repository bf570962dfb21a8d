"""Writes fixtures/templates.json: what jinja2, as transformers uses it, makes of templates written here.

    python test/parity/make_template_fixtures.py

Each line below is a template; one that jinja2 refuses is kept with the name of the exception. `conversation` is what they are
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

templates = r"""
{% for m in messages %}{% if m.role == 'system' %}[{{ m.content }}]{% continue %}{% endif %}{{ m.role }},{% endfor %}
{% for i in range(9) %}{{ i }}{% if i == 3 %}!{% break %}{% endif %},{% else %}none{% endfor %}
{% for i in [] %}{{ i }}{% else %}none{% endfor %}
{% for i in range(6) if i is odd %}{{ loop.index }}/{{ loop.length }}:{{ i }} {% endfor %}
{% for i in range(6) %}{% set x %}a{% if i == 2 %}{% continue %}{% endif %}b{% endset %}{{ x }}{{ i }}{% endfor %}
{% for i in range(3) %}{% for j in range(3) %}{% if j == 1 %}{% break %}{% endif %}{{ i }}{{ j }} {% endfor %}{% endfor %}
{% break %}
{% for i in [1] %}{% macro f() %}{% break %}{% endmacro %}{% endfor %}
{% for i in [1,2] %}{% for j in [] %}{% else %}{{ i }}{% break %}{% endfor %}{% endfor %}
{% for m in messages %}{{ loop.index }} {{ loop.index0 }} {{ loop.revindex }} {{ loop.revindex0 }} {{ loop.first }} {{ loop.last }} {{ loop.length }} {{ loop.depth }} {{ loop.previtem.role }} {{ loop.nextitem is defined }} {{ loop.cycle('a', 'b') }} {{ loop.changed(m.role) }};{% endfor %}
{% for m in messages %}{{ loop.previtem is defined }}{{ loop.nextitem.role if not loop.last }}{% endfor %}
{% for x in [[1, [2, [3]]], [4, []]] recursive %}{{ loop.depth }}{{ x[0] if x is not number else x }}({{ loop(x[1:]) if x is not number }}){% endfor %}
{% for n in [1, [2, [3, 4]], 5] recursive %}{% if n is iterable %}<{{ loop(n) }}>{% else %}{{ n }}{% endif %}{% endfor %}
{% for a, b in [(1, 2), [3, 4]] %}{{ a }}{{ b }} {% endfor %}{% for k, v in {'x': 1, 'y': [2]}.items() %}{{ k }}={{ v }};{% endfor %}
{% for a, (b, c) in [(1, (2, 3))] %}{{ a + b + c }}{% endfor %}
{% for a, b in [(1, 2, 3)] %}{% endfor %}
{% for a, b in [(1,)] %}{% endfor %}
{% for c in 'ab😀' %}{{ c }},{% endfor %}{% for k in {'p': 1, 'q': 2} %}{{ k }}{% endfor %}
{% for x in 5 %}{% endfor %}
{% for x in none %}{% endfor %}
{% for x in nothing %}{{ x }}{% else %}empty{% endfor %}
{% for loop in [1] %}{% endfor %}
{{ loop }}|{{ loop is defined }}
{% for i in [1,2] %}{{ loop }}{% endfor %}
{% set x = 1 %}{% for i in [1,2] %}{{ x }}{% set x = x + 1 %}{{ x }}{% endfor %}{{ x }}
{% set ns = namespace(a=1, b='x') %}{% for i in [1,2] %}{% set ns.a = ns.a + i %}{% endfor %}{{ ns.a }}{{ ns.b }}{{ ns.c is defined }}{{ ns }}
{% set ns = namespace({'a': 1}, b=2) %}{{ ns.a + ns.b }}
{% set x = {} %}{% set x.a = 1 %}
{% set a, b = 1, 'two' %}{{ a }}{{ b }}{% set (c, d) = [3, 4] %}{{ c }}{{ d }}
{% set a, b = [1] %}
{% set x = 1, %}{{ x }}
{% set x | upper | replace('A', 'b') %}a{{ 'c' }}{% endset %}{{ x }}
{% filter upper | trim %}  a{{ 'b' }} {% endfilter %}.
{% with a = 1, b = 2 %}{{ a + b }}{% endwith %}{{ a is defined }}
{% set a = 5 %}{% with a = 1, b = a %}{{ a }}{{ b }}{% endwith %}{{ a }}
{% if false %}{% set y = 1 %}{% endif %}{{ y is defined }}{% if true %}{% set z = 1 %}{% endif %}{{ z }}
{% macro f(a, b=2, c=a) %}{{ a }},{{ b }},{{ c }};{% endmacro %}{{ f(1) }}{{ f(1, c=3) }}{{ f(b=4, a=5) }}{{ f() }}
{% macro f(a) %}{{ a }}{{ varargs }}{{ kwargs }}{% endmacro %}{{ f(1, 2, 3, x=4) }}{{ f.name }}{{ f.arguments }}{{ f }}
{% macro f(a) %}{{ a }}{% endmacro %}{{ f(1, 2) }}
{% macro f(a) %}{{ a }}{% endmacro %}{{ f(1, b=2) }}
{% macro f(a, a) %}{% endmacro %}
{% macro f(a=1, b) %}{% endmacro %}
{% macro f(x) %}{{ x }}<{{ caller(x + 1) }}>{% endmacro %}{% call(y) f(1) %}{{ y * 2 }}{% endcall %}
{% macro f() %}{{ caller() }}{{ caller() }}{% endmacro %}{% set q = 'z' %}{% call f() %}{{ q }}{% endcall %}
{% macro f() %}a{% endmacro %}{% call f() %}b{% endcall %}
{% macro f() %}{{ caller is defined }}{% endmacro %}{{ f() }}
{% macro f(n) %}{{ n }}{% if n %}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(5) }}
{% macro f() %}{{ x }}{% endmacro %}{% set x = 3 %}{{ f() }}
{% macro f(*a) %}{% endmacro %}
{% macro f(a, b) %}{{ a }}{{ b }}{% endmacro %}{{ f(*[1, 2]) }}{{ f(**{'a': 3, 'b': 4}) }}{{ f(1, *[2]) }}
{{ f(a=1, a=2) }}
{% generation %}{% set g = 1 %}{{ g }}{% endgeneration %}{{ g is defined }}
{% block b %}in {{ messages|length }}{% endblock %}
{% include 'x' %}
{% do x %}
{% nonsense %}
{% endif %}
{% if true %}
{% if true %}a{% elif true %}b{% else %}c{% endif %}{% if none %}a{% elif 0.0 %}b{% elif '' %}c{% elif [] %}d{% elif {} %}e{% else %}f{% endif %}
{% print 'a', 1 %}
{{ '' == false }} {{ 0 == '' }} {{ '1' == 1 }} {{ [] == [] }} {{ {'a': 1} == {'a': 1.0} }} {{ 1 == true }} {{ 1.0 == 1 }} {{ (1,) == [1] }} {{ none == false }} {{ undefinedvar == none }} {{ undefinedvar == other }}
{{ 1 != 2 }} {{ 'a' != 'a' }} {{ [1, 'a'] == [1, 'a'] }} {{ {'a': 1, 'b': 2} == {'b': 2, 'a': 1} }} {{ range(3) == range(0, 3) }}
{{ 1 < 2 < 3 }} {{ 1 < 3 < 2 }} {{ 1 == 1 == 1 }} {{ 3 > 2 >= 2 != 1 }} {{ 1 < 2 in [2] }}
{{ 'a' < 'b' }} {{ 'Z' < 'a' }} {{ '😀' > '\uffff' }} {{ [1, 2] < [1, 3] }} {{ (1,) < (1, 2) }} {{ true < 2 }} {{ 1.5 >= 1 }}
{{ 'a' < 1 }}
{{ none < 1 }}
{{ undefinedvar < 1 }}
{{ {} < {} }}
{{ 1 in [1, 2] }} {{ 'a' in 'cab' }} {{ 'x' not in {'x': 1} }} {{ 1.0 in [1] }} {{ not 'a' in 'b' }} {{ '' in '' }} {{ 'a' in undefinedvar }} {{ 2 in range(3) }} {{ [1] in [[1]] }} {{ 'a' in {'a': 1}.keys() }}
{{ 1 in 'a' }}
{{ 1 in 5 }}
{{ undefinedvar in 'abc' }}
{{ true }} {{ false }} {{ none }} {{ None }} {{ True }} {{ messages[0].get('x') }} {{ messages[0].get('x', 'y') }}
{{ ['a', none, 1.0, "it's", 'q"', 'both\'"', '\n\t\\', 'é\x00\x7f\u200b😀'] }} {{ {'a': true, 1: (1,), none: ()} }}
{{ 'a' ~ {'b': 1} ~ ['c'] ~ true ~ none ~ 1.50 ~ undefinedvar ~ (1, 2) }}
{{ messages[2].tool_calls[0].function.arguments }}
{{ messages[2].tool_calls[0].function.arguments | tojson }}
{{ messages[2].tool_calls[0].function.arguments.account + 1 }} {{ messages[2].tool_calls[0].function.arguments.amount * 2 }}
{% for k, v in messages[2].tool_calls[0].function.arguments.items() %}{{ k }}={{ v }};{% endfor %}
{{ 'x' + messages[2].tool_calls[0].function.arguments }}
{{ 'x' + 1 }}
{{ 1 + 'x' }}
{{ [1] + (2,) }}
{{ 'x' + none }}
{{ 'x' + undefinedvar }}
{{ [1] + [2] }} {{ (1,) + (2,) }} {{ 'ab' * 2 }} {{ 2 * [1] }} {{ 'a' * -1 }} {{ true + true }} {{ 'a' 'b' }}
{{ -7 % 3 }} {{ 7 % -3 }} {{ -7 // 2 }} {{ 7 // -2 }} {{ 7 / 2 }} {{ 6 / 2 }} {{ -7.5 % 2 }} {{ 7.5 // 2 }} {{ -7.5 // 2 }} {{ 2 ** 10 }} {{ 2 ** -1 }} {{ 2 ** 0.5 }} {{ 10 ** 20 }} {{ 1 / 3 }} {{ -2 ** 2 }} {{ 2 ** 3 ** 2 }}
{{ 1 / 0 }}
{{ 1 // 0 }}
{{ 1 % 0 }}
{{ 1.0 / 0 }}
{{ 5 - 'a' }}
{{ -'a' }}
{{ +5 }} {{ -5 }} {{ - 5 + 3 }} {{ -true }} {{ not 1 }} {{ not none }} {{ 5|abs }} {{ -5|abs }} {{ (-5)|abs }}
{{ 1e3 }} {{ 1_000 }} {{ 0x1F }} {{ 0b101 }} {{ 0o17 }} {{ 1.5e-7 }} {{ 1e16 }} {{ 1e15 }} {{ 123456789.123 }} {{ 0.1 + 0.2 }} {{ 1e22 }} {{ 100000.0 }} {{ 1e-5 }} {{ 0.0001 }} {{ 12345678901234567890123 }} {{ 00 }} {{ 1_0.2_5 }}
{{ 1a }}
{{ 012 }}
{{ '\x41\u00e9\U0001F600\n\t\'\"\\\101\q' }}
{{ '\x4' }}
{{ 'a
b' }}
{{ 1 if false }}|{{ 'a' if true else 'b' }}|{{ 'a' if none else 'b' if 0 else 'c' }}|{{ (1 if false) is defined }}
{{ 1 if false else 2 if true }} {{ [1 if true else 2, 3] }}
{{ true and 'x' }} {{ 0 or 'y' }} {{ '' and 1 }} {{ none or [] }} {{ not true or true }} {{ 1 and 2 or 3 }}
{{ () }} {{ (1,) }} {{ (1, 2) }} {{ 1, 2 }} {{ [] }} {{ {} }} {{ [1, 2,] }} {{ {'a': 1,} }} {{ {1: 2, 1.0: 3, true: 4} }}
{{ {[1]: 2} }}
{{ messages[0] is mapping }} {{ messages is sequence }} {{ 'a' is string }} {{ 'a' is iterable }} {{ 1 is number }} {{ true is number }} {{ 1 is integer }} {{ true is integer }} {{ 1.0 is float }} {{ true is boolean }} {{ none is none }} {{ x is defined }} {{ x is undefined }} {{ {} is sequence }} {{ 'a' is sequence }} {{ 5 is iterable }} {{ none is iterable }} {{ (1,) is sequence }} {{ range(2) is sequence }} {{ range is callable }}
{{ 4 is divisibleby(2) }} {{ 4 is divisibleby 3 }} {{ 1 is eq 1 }} {{ 1 is ne(2) }} {{ 1 is lt 2 }} {{ 2 is ge 2 }} {{ 3 is odd }} {{ 3 is even }} {{ 'a' is in ['a'] }} {{ 'A' is upper }} {{ 'a' is lower }} {{ none is sameas none }} {{ 1 is sameas true }} {{ 1 is not none }} {{ 1 is equalto 1.0 }} {{ 'upper' is filter }} {{ 'odd' is test }} {{ true is true }} {{ 1 is true }} {{ false is false }} {{ 'a' is escaped }}
{{ 1 is nosuch }}
{% if false %}{{ 1 is nosuch }}{{ 1|nosuch }}{% endif %}ok
{% if true %}{{ 1|nosuch }}{% endif %}
{{ 'a'|nosuch if false else 'b' }}
{{ 1|nosuch }}
{{ 1 is none is none }}
{{ '😀'|length }} {{ ('😀ab')[1:] }} {{ '😀ab'[0] }} {{ '😀ab'[-1] }} {{ '😀ab'[::-1] }} {{ 'a😀b'.find('b') }} {{ '😀😀b'.index('b') }} {{ ['😀']|length }} {{ '😀'.center(5, '*') }} {{ 'a😀b'|reverse }}
{{ [1,2,3][-1] }} {{ [1,2,3][5] is defined }} {{ [1,2,3][1:] }} {{ [1,2,3][::-1] }} {{ [1,2,3][::2] }} {{ [1,2,3][-2:] }} {{ [1,2,3][:-1] }} {{ 'abcdef'[1:4] }} {{ 'abcdef'[-3:-1] }} {{ 'abcdef'[4:1:-1] }} {{ (1,2,3)[1:] }} {{ range(9)[2:5]|list }} {{ range(5)[1] }}
{{ [1,2][::0] }}
{{ {'a': 1}['a'] }} {{ {'a': 1}.a }} {{ {'a': 1}['b'] is defined }} {{ {1: 'x'}[1] }} {{ [1, 2].0 }} {{ none[0] is defined }} {{ 5['a'] is defined }} {{ {'items': 1}['items'] }} {{ {'items': 1}.items is callable }} {{ [1]['0'] is defined }} {{ [10, 20][true] }} {{ none[1:] is defined }}
{{ undefinedvar.x }}
{{ messages[0].a.b }}
{{ messages[9].role }}
{{ undefinedvar['x'] }}
{{ undefinedvar() }}
{{ messages() }}
{{ none() }}
{{ undefinedvar }}|{{ undefinedvar|length }}|{{ undefinedvar|list }}|{{ undefinedvar|trim }}|{{ undefinedvar|upper }}|{{ undefinedvar is defined }}|{{ not undefinedvar }}|{{ [undefinedvar] }}|{{ undefinedvar|string }}|{{ undefinedvar|join(',') }}
{{ undefinedvar + 1 }}
{{ undefinedvar|tojson }}
{{ -undefinedvar }}
{{ ''.__class__ }}
{{ ''.__class__.__mro__ }}
{{ messages.append(1) }}
{{ messages[0].update({'a': 1}) }}
{{ messages[0].pop }}|{{ messages[0].pop is defined }}
{{ raise_exception('no') }}
{{ '  a b '.strip() }}|{{ 'xxaxx'.strip('x') }}|{{ 'abcab'.lstrip('ab') }}|{{ 'a\n\n'.rstrip() }}|{{ 'a'.strip(none) }}|{{ '\x1fa\x85'|trim|length }}|{{ '\ufeffa'|trim|length }}
{{ 'a,b,,c'.split(',') }} {{ ' a  b '.split() }} {{ 'a,b,c'.split(',', 1) }} {{ 'a b c'.split(none, 1) }} {{ 'a,b,c'.rsplit(',', 1) }} {{ ' a b c '.rsplit(none, 1) }} {{ ''.split(',') }} {{ ''.split() }} {{ 'abc'.split('bc') }} {{ 'a-b'.split(sep='-', maxsplit=1) }}
{{ 'a'.split('') }}
{{ 'a\nb\r\nc\n'.splitlines() }} {{ 'a\nb'.splitlines(true) }} {{ ''.splitlines() }} {{ 'a\x0bb\u2028c\x1cd'.splitlines() }}
{{ 'aaa'.replace('a', 'b', 2) }} {{ 'abc'.replace('', '-') }} {{ 'aa'.replace('a', '$&') }} {{ 'a'|replace('a', 'b') }} {{ 'aaa'|replace('a', 'b', 1) }} {{ 5|replace('5', 6) }} {{ 'abc'.replace('', '-', 2) }} {{ '😀a'.replace('', '-') }}
{{ 'abc'.startswith('a') }} {{ 'abc'.startswith(('x', 'a')) }} {{ 'abc'.endswith(('c',)) }} {{ 'abc'.startswith('b', 1) }} {{ 'abc'.endswith('b', 0, 2) }} {{ 'abc'.startswith('') }} {{ 'abc'.endswith('') }}
{{ 'abc'.startswith(1) }}
{{ 'abc'.startswith(['a']) }}
{{ "they're bill's".title() }} {{ "they're o'neill-x (y) 3a"|title }} {{ 'aB cD'.capitalize() }} {{ 'aB cD'|capitalize }} {{ 'aB'.swapcase() }} {{ 'ß'.upper() }} {{ 'ÀÉ'.lower() }} {{ 'ǆ'.title() }} {{ 'ßa'.capitalize() }} {{ 'Straße'.casefold() }} {{ '1a b2c'.title() }}
{{ 'abc'.find('c') }} {{ 'abc'.find('x') }} {{ 'abcabc'.rfind('b') }} {{ 'abcabc'.count('bc') }} {{ 'aaa'.count('') }} {{ 'abc'.index('b') }} {{ 'abcabc'.find('a', 1) }} {{ 'aXbX'.find('X', 2, 4) }}
{{ 'abc'.index('x') }}
{{ '12'.isdigit() }} {{ '1.2'.isdigit() }} {{ 'ab'.isalpha() }} {{ 'a1'.isalnum() }} {{ ' '.isspace() }} {{ ''.isspace() }} {{ 'A1'.isupper() }} {{ 'a1'.islower() }} {{ 'Ab Cd'.istitle() }} {{ '²'.isdigit() }} {{ '½'.isnumeric() }} {{ '²'.isdecimal() }} {{ 'a b'.isidentifier() }} {{ 'é'.isascii() }} {{ 'a\n'.isprintable() }}
{{ ','.join(['x', 'y']) }} {{ '-'.join('abc') }} {{ 'x'.join({'a': 1, 'b': 2}) }}
{{ ','.join([1]) }}
{{ 'abc'.partition('b') }} {{ 'abc'.rpartition('x') }} {{ 'abc'.removeprefix('a') }} {{ 'abc'.removesuffix('c') }} {{ 'a'.center(4) }}| {{ 'ab'.center(5, '*') }} {{ 'a'.ljust(3) }}| {{ 'a'.rjust(3, '0') }} {{ '-5'.zfill(4) }} {{ 'a\tb'.expandtabs(4) }}
{{ 'abc'.nosuch() }}
{{ 'abc'.encode }}{{ 1 }}
{{ '%s-%d' % ('a', 3) }} {{ '%5.2f|%-5s|%05d|%x|%%' % (1.005, 'a', 42, 255) }} {{ '%(a)s' % {'a': 1} }} {{ '%s' % [1, 2] }} {{ '%r' % 'a' }} {{ '%s' % none }} {{ '%e %g %G' % (12345.678, 0.00001, 1e20) }} {{ '%+d % d' % (1, 2) }} {{ '%c' % 65 }} {{ '%o %X %#x' % (8, 255, 255) }} {{ '%.3s' % 'abcdef' }} {{ '%i' % 3.9 }} {{ '%*d' % (5, 1) }}
{{ '%d' % 'a' }}
{{ '%s %s' % 'a' }}
{{ 'a' % 1 }}
{{ '%' % 1 }}
{{ '{}'.format(1) }} {{ '{0}{1}{0}'.format('a', 'b') }} {{ '{x}'.format(x=1) }} {{ '{:>5}|{:<5}|{:^5}|{:05d}|{:.2f}|{:,}'.format('a', 'b', 'c', 42, 3.14159, 1234567) }} {{ '{{}}'.format() }} {{ '{0[a]}'.format({'a': 1}) }} {{ '{!r}'.format('a') }} {{ '{:x} {:b} {:e} {:%}'.format(255, 5, 1234.5, 0.25) }} {{ '{:+}'.format(3) }} {{ '{:*^7}'.format('ab') }} {{ '{:{}}'.format('a', 4) }}|
{{ '{}'.format() }}
{{ '{'.format(1) }}
{{ '%s %s'|format('a', 1) }} {{ '%(x)s'|format(x=2) }}
{{ [3,1,2]|sort }} {{ ['b','A','c']|sort }} {{ ['b','A']|sort(case_sensitive=true) }} {{ [3,1,2]|sort(reverse=true) }} {{ [{'a': 2}, {'a': 1}]|sort(attribute='a') }} {{ [{'a': 1, 'b': 2}, {'a': 1, 'b': 1}]|sort(attribute='a,b') }} {{ 'bca'|sort }} {{ {'b': 1, 'a': 2}|sort }} {{ [1, 0.5, true]|sort }}
{{ [1, 'a']|sort }}
{{ [none, 1]|sort }}
{{ {'b': 1, 'A': 2}|dictsort }} {{ {'b': 1, 'A': 2}|dictsort(true) }} {{ {'b': 1, 'a': 2}|dictsort(by='value') }} {{ {'b': 1, 'a': 2}|dictsort(reverse=true) }}
{{ {'b': 1, 'a': 2}|items|list }} {{ {'b': 1}.items() }} {{ {'b': 1}.keys() }} {{ {'b': 1}.values() }} {{ {'b': 1}.keys()|list }} {{ {'b': 1}.values()|first }} {{ undefinedvar|items|list }}
{{ [1]|items|list }}
{{ ['a', 'b']|join }} {{ [1, none, true]|join(', ') }} {{ messages|join(',', attribute='role') }} {{ 'abc'|join('-') }} {{ [{'a': 1}]|join(',', 'a') }}
{{ ['a']|map('upper')|list }} {{ messages|map(attribute='role')|list }} {{ [{'a': 1}, {}]|map(attribute='a', default='d')|list }} {{ ['a,b']|map('replace', ',', '-')|list }} {{ [[1, 2]]|map('first')|list }} {{ [{'a': {'b': 5}}]|map(attribute='a.b')|join }} {{ [[1, 2]]|map(attribute=1)|list }}
{{ ['a']|map|list }}
{{ ['a']|map('nosuch')|list }}
{{ messages|selectattr('role', '==', 'user')|list|length }} {{ messages|rejectattr('role', 'equalto', 'user')|map(attribute='role')|join(' ') }} {{ messages|selectattr('tool_calls', 'defined')|list|length }} {{ messages|selectattr('content')|list|length }} {{ [1,2,3,4]|select('odd')|list }} {{ [1,2,3]|reject('gt', 1)|list }} {{ [0, 1, '']|select|list }} {{ messages|selectattr('role', 'in', ['user', 'tool'])|list|length }} {{ messages|selectattr('nosuch', 'equalto', 1)|first is defined }}
{{ messages|selectattr('role', 'nosuch')|list }}
{{ ['a']|selectattr|list }}
{% set g = [1, 2]|map('string') %}{{ g|list }}{{ g|list }}{% if [1]|select('even') %}true{% endif %}
{{ ([1]|map('string'))|length }}
{{ none|selectattr('a', 'b')|list }}{{ 0|map('nosuch')|list }}{{ ''|reject|list }}{{ none|map|list }}
{{ 5|select|list }}
{{ {'a': none}.a }} {{ [none][0] }} {{ [none]|first }} {{ {'a': none}.get('a', 1) }} {% set n = none %}{{ n }} {% for x in [none, 1] %}{{ x }}{{ loop.previtem }};{% endfor %}{% macro f(a=1) %}{{ a }}{% endmacro %}{{ f(none) }}{{ f(a=none) }} {{ none|default('x') }} {{ [1]|join(none) }} {{ {'a': none}['a'] is none }} {% set ns = namespace(a=none) %}{{ ns.a }}{{ ns['a'] }}
{% for g in [{'k': 'b', 'v': 1}, {'k': 'A', 'v': 2}, {'k': 'B', 'v': 3}]|groupby('k') %}{{ g.grouper }}:{{ g.list|map(attribute='v')|list }}{{ g[0] }};{% endfor %}{% for k, v in [{'k': 2}, {'k': 1}]|groupby('k') %}{{ k }}{{ v }}{% endfor %}{{ [{}]|groupby('k', default=0) }}
{{ [1, 1, 2, 'a', 'A']|unique|list }} {{ ['a', 'A']|unique(case_sensitive=true)|list }} {{ [{'a': 1}, {'a': 1}]|unique(attribute='a')|list }}
{{ [[1]]|unique|list }}
{{ [1, 2, 3, 4, 5]|batch(2)|list }} {{ [1, 2, 3]|batch(2, 'x')|list }} {{ [1, 2, 3, 4, 5]|slice(2)|list }} {{ [1, 2, 3]|slice(2, 'x')|list }}
{{ [1, 2]|sum }} {{ [3, 1]|max }} {{ [3, 1]|min }} {{ ['b', 'A']|min }} {{ []|max }} {{ [{'a': 1}, {'a': 2}]|sum(attribute='a') }} {{ [0.5, 1]|sum(start=1) }} {{ [{'a': 1}, {'a': 3}]|max(attribute='a') }} {{ [[1], [2]]|sum(start=[]) }}
{{ ['a']|sum }}
{{ 'a'|default('b') }} {{ x|default('b') }} {{ ''|default('b') }} {{ ''|default('b', true) }} {{ none|default('b') }} {{ none|d('b', boolean=true) }} {{ x|default }}|{{ x.y|default('b') }}
{{ [1, 2]|first }} {{ [1, 2]|last }} {{ []|first }}|{{ 'abc'|first }} {{ 'abc'|last }} {{ {'a': 1}|first }} {{ {'a': 1, 'b': 2}|last }} {{ []|last is defined }}
{{ [1, 2]|reverse|list }} {{ 'ab'|reverse }} {{ range(3)|reverse|list }} {{ [1]|length }} {{ 'ab'|count }} {{ {'a': 1}|length }}
{{ 5|length }}
{{ none|length }}
{{ 'a\nb\n\nc'|indent }}|{{ 'a\nb'|indent(2, true) }}|{{ 'a\n\nb'|indent(2, blank=true) }}|{{ 'a\nb'|indent('> ') }}|{{ 'a\n'|indent }}|{{ 'a\nb'|indent(first=true, width=1) }}
{{ none|indent }}
{{ ' a '|trim }}|{{ 'xax'|trim('x') }}|{{ none|trim }}|{{ 5|trim }}|{{ none|upper }}|{{ none|string }} {{ {'a': 1}|string }} {{ 1.0|string }} {{ true|lower }}
{{ '5'|int }} {{ '5.7'|int }} {{ 'x'|int }} {{ 'x'|int(3) }} {{ '0x1A'|int(base=16) }} {{ 5.9|int }} {{ none|int }} {{ ' 12 '|int }} {{ '1_0'|int }} {{ '-3'|int }} {{ true|int }} {{ '1e2'|int }} {{ '101'|int(0, 2) }}
{{ '5'|float }} {{ 'x'|float }} {{ 'x'|float(1.5) }} {{ 5|float }} {{ '1e3'|float }} {{ 'inf'|float }} {{ none|float }} {{ true|float }} {{ ' 2 '|float }}
{{ 2.5|round }} {{ 3.5|round }} {{ 2.675|round(2) }} {{ 42.55|round(1, 'floor') }} {{ 42.55|round(1, 'ceil') }} {{ 5|round }} {{ 1234|round(-2) }} {{ 1250|round(-2) }} {{ 0.125|round(2) }} {{ -2.5|round }} {{ 1e300|round(2) }} {{ 1234.5|round(-2) }}
{{ 'a'|round }}
{{ 'foo bar baz'|truncate(7) }} {{ 'foo bar baz'|truncate(7, true) }} {{ 'foo bar baz qux'|truncate(9, leeway=0) }} {{ 'a b'|wordcount }} {{ 'a b&c/d'|urlencode }} {{ {'a': 'b c'}|urlencode }} {{ 'ab'|center(6) }}|
{{ '<a>'|e }} {{ '<a>'|escape|safe }} {{ ('<'|safe) + '<' }} {{ '<'|safe ~ '<' }} {{ '<'|e|upper }} {{ ('a'|safe).upper() + '<' }} {{ '<'|safe|replace('<', '>') }} {{ ['<'|safe] }} {{ '<%s>'|safe|string }}
{{ {'a': 1, 'b': [1, 2.0, none, true, 'x"\n\u2028é<>&\'']}|tojson }} {{ [1]|tojson(indent=2) }} {{ {'b': 1, 'a': []}|tojson(indent=4, sort_keys=true) }} {{ 'é'|tojson(ensure_ascii=true) }} {{ '😀'|tojson(true) }} {{ {}|tojson(indent=2) }} {{ [1, 2]|tojson(separators=(',', ':')) }} {{ {1: 1, none: 2, true: 3, 1.5: 4}|tojson }} {{ (1, 2)|tojson }} {{ 1e16|tojson }} {{ '\x7f\x00'|tojson }} {{ [[]]|tojson(indent=1) }} {{ [1, {'a': 2}]|tojson(indent='--') }}
{{ range(3)|tojson }}
{{ {(1, 2): 1}|tojson }}
{{ {'a': 1}.items()|tojson }}
{{ {'b': 1, 1: 2}|tojson(sort_keys=true) }}
{{ tools|tojson }} {{ tools|tojson(indent=4) }} {{ tools[0].function.parameters.properties }}
{{ dict(a=1, b=2) }} {{ dict([('a', 1)]) }} {{ dict({'x': 1}, y=2) }} {{ range(3) }} {{ range(1, 9, 3)|list }} {{ range(3, 0, -1)|list }} {{ range(0)|list }}
{{ range(1.5) }}
{{ range(1, 2, 0) }}
{{ range(10000000)|length }}
{% set c = cycler('a', 'b') %}{{ c.next() }}{{ c.next() }}{{ c.next() }}{{ c.current }}{% set j = joiner('|') %}{{ j() }}x{{ j() }}y
{{ [1, 2].index(2) }} {{ [1, 1].count(1) }} {{ {'a': 1}.copy() }} {{ (1).bit_length() }} {{ 1.0.is_integer() }} {{ (3).real }}
{{ messages[5].content.split('</think>')[-1].lstrip('\n') }} {{ messages[5].content.split('</think>')[0].split('<think>')[-1] }}
{{ messages[0].content }}|{{ messages[0].content|tojson }}|{{ messages[0].content.splitlines() }}
{{ messages[4].content|map(attribute='type')|join(',') }} {{ messages[4].content[1].text is defined }}
{{ messages[3].items }}|
{{ messages[3]['items'] }} {{ messages[3]['items'][1] + 1 }}
{{ 'a' is defined and 'b' }} {{ x is defined or 'c' }} {{ not x is defined }} {{ 1 + 2 ~ 'a' }} {{ 'a' ~ 1 + 2 }}
{{ 1 + 2 * 3 - 4 / 2 }} {{ (1 + 2) * 3 }} {{ 2 * 3 ~ 4 }} {{ 10 // 3 * 2 }} {{ 'a'|upper ~ 'b' }} {{ 'a' + 'b'|upper }} {{ -1|abs }} {{ 1|string + 'a' }} {{ [1, 2]|length > 1 }}
{{ 'a'.upper().lower()[0] }} {{ [[1, 2], [3]][0][1] }} {{ {'a': {'b': [1]}}.a.b[0] }} {{ ('a', 'b')[0] }} {{ messages[0]['role'] }} {{ messages[-1]['role'] }} {{ messages[0:1][0].role }}
{{ }}
{{ 1 + }}
{{ [1, 2 }}
{{ (1 }}
{{ 'a }}
{{ a b }}
{{ {'a' 1} }}
{{ 1 | }}
{{ a.'b' }}
{{ ! }}
{{ a = 1 }}
{% set true = 1 %}
{% set 1 = 1 %}
{% set x %}
{% for x %}{% endfor %}
{% for x in [1] %}
{% raw %}{{ x }}{% if %}{% endraw %}|{%- raw -%}  {{ y }}  {%- endraw -%}  z
{% raw %}x
{# a #}b{#- c -#} d {#+ e #}f
{# a
x{{ '{{' }}{{ '}}' }}{{ {'a': {'b': 1}}['a'] }}
{{- ' a ' -}}  b  {{- 'c' }} d
{{ messages|length ~ 'x' }} {{ messages|map(attribute='content')|first }}
{{ messages|map(attribute='role')|unique|join('/') }}
{{ (messages|selectattr('role','equalto','user')|list)[-1].content }}
{% set last = (messages|last) %}{{ last.role }}
{{ messages | rejectattr('role','in',['user'])|list|length }}
{{ 'a' if x else 'b' }}{{ x ~ 'c' }}
{% set ns = namespace(found=false) %}{% for m in messages|reverse %}{% if not ns.found and m.role=='user' %}{{ m.content }}{% set ns.found=true %}{% endif %}{% endfor %}
{{ '%02d:%02d'|format(3,7) }} {{ '{:02d}'.format(3) }} {{ '{:.3g}'.format(1234.5678) }} {{ '{:>8.2f}|{:<8}|{:^8}'.format(3.14159, 'ab', 1) }} {{ '{:08.3f}'.format(-3.14159) }} {{ '{:,.2f}'.format(1234567.891) }} {{ '{:_}'.format(1234567) }} {{ '{:#x}'.format(255) }} {{ '{:010}'.format(5) }} {{ '{:g}'.format(1e10) }} {{ '{:e}'.format(0) }}
{{ '%s' % true }} {{ '%d' % true }} {{ '%5s|%-5s|' % ('é', '😀') }} {{ '%.2e' % 12345 }} {{ '%g' % 100000 }} {{ '%g' % 1000000 }} {{ '%g' % 0.0001 }} {{ '%#o' % 8 }} {{ '%05.1f' % -2.55 }} {{ '%x' % -255 }} {{ '%r' % {'a': 1} }}
{{ '%f' % 2.5 }} {{ '%.0f' % 2.5 }} {{ '%.0f' % 3.5 }} {{ '%.1f' % 0.25 }} {{ '%.1f' % 0.35 }} {{ '%.20f' % 0.1 }} {{ '%f' % 1e22 }}
{{ [1,2,3]|join }} {{ [[1,2],[3]]|sum(start=[]) }} {{ [1,2]|string }} {{ {'a':1}|string|length }}
{{ 3 is odd and 4 is even }} {{ not (1 is none) }} {{ 1 is not defined }} {{ x is not defined and y is not defined }} {{ [] is iterable and [] is not string }}
{{ 5 is number and 5 is not float }} {{ true is integer }} {{ 'x' is not mapping }} {{ 1 is in [1] and 2 is not in [1] }}
{% if messages and messages[0].role == 'system' %}S{% endif %}{% if not x %}N{% endif %}{% if x is not none %}U{% endif %}
{% for m in messages if m.role != 'system' %}{{ loop.index0 }}{{ '-' if not loop.last }}{% endfor %}
{% for a in [1,2,3] %}{% for b in [1,2] if b != a %}{{ a }}{{ b }}{{ loop.first }}{{ ',' if not loop.last }}{% endfor %};{% endfor %}
{% for k in {'a':1,'b':2}|dictsort %}{{ k }}{{ k[0] }}{% endfor %}{% for k,v in {'b':2,'a':1}|dictsort(reverse=true) %}{{ k }}{% endfor %}
{% for k, v in {'a': {'b': 1}}.items() recursive %}{{ k }}{% if v is mapping %}({{ loop(v.items()) }}){% else %}={{ v }}{% endif %}{% endfor %}
{% macro render(d, depth=0) %}{% for k, v in d.items() %}{{ '  ' * depth }}{{ k }}:{% if v is mapping %}
{{ render(v, depth + 1) }}{% elif v is iterable and v is not string %}[{% for i in v %}{{ i }}{{ ', ' if not loop.last }}{% endfor %}]{% else %}{{ v }}{% endif %};{% endfor %}{% endmacro %}{{ render({'a': 1, 'b': {'c': [1, 2], 'd': none}}) }}
{%- macro f(x) -%}  {{ x }}  {%- endmacro -%} [{{ f('a') }}] {{ f('b')|trim|upper }}
{% set m = messages[0] %}{% set m2 = dict(m, role='x') %}{{ m2.role }}{{ m.role }}{{ m2 }}
{% set x = [] %}{% set x = x + [1] %}{% set x = x + [[2]] %}{{ x }} {% set d = {} %}{% set d = dict(d, **{'a': 1}) %}{{ d }}
{% set content = messages[1].content %}{% if '</think>' in content %}y{% else %}{{ content.split('?')[0].strip() }}{% endif %}
{{ messages[0].content.replace('\r\n', '|').replace('.', '', 1) }} {{ 'a.b.c'.replace('.', '') }} {{ 'abc'[1] }}{{ 'abc'[-2:] }}{{ 'abc'[:2] }}{{ 'abc'[5:] }}|{{ 'abc'[:-5] }}|
{{ 'Hello World'.lower().split() }} {{ 'a=b=c'.partition('=')[2] }} {{ 'x'.join(['1','2']) }} {{ 'abc' * 0 }}| {{ 'ab\tc'|replace('\t', ' ') }}
{{ 10|string|length }} {{ 1.0 }} {{ 1.10 }} {{ 100 * 1.1 }} {{ 1e100 }} {{ 2**63 }} {{ 2**0.5 }} {{ 7 // 2.0 }} {{ -7 // 2.0 }} {{ 7 % 2.5 }} {{ 1/3|round(2) }} {{ (1/3)|round(2) }} {{ 0.1 + 0.7 }} {{ 3 * 0.1 }} {{ -0.0 }} {{ 0.0 == -0.0 }} {{ 5 // 0.3 }} {{ 1e308 * 10 }} {{ 10 % -3.5 }}
{{ [3,1,2]|sort|first }} {{ ['a','B','c']|sort|join }} {{ ['a','B']|sort(case_sensitive=True)|join }} {{ [{'n':'b'},{'n':'A'}]|sort(attribute='n')|map(attribute='n')|join }} {{ [(2,'a'),(1,'b')]|sort }} {{ {'b':1}|sort }}
{{ messages|groupby('role')|map(attribute=0)|list }} {{ messages|groupby('role')|map(attribute='grouper')|join(',') }} {% for r, ms in messages|groupby('role') %}{{ r }}{{ ms|length }}{% endfor %}
{{ [1,2,3,4,5,6,7]|batch(3)|map('join', '-')|join(' ') }} {{ range(10)|slice(3)|map('list')|list }}
{{ 'text'|center(10)|length }} {{ 'a b c'|wordcount }} {{ 'hello'|first }}{{ 'hello'|last }} {{ 'hello'|list }} {{ 'hello world'|title }} {{ 'HELLO'|capitalize }} {{ 'foo'|upper|lower }} {{ 'abc'|reverse }}
{{ '<b>'|striptags if false else '' }}
{{ [none, 1, none]|select|list }} {{ [none, 1]|reject('none')|list }} {{ [1,none]|map('default', 0)|list }} {{ [x, 1]|map('default', 0)|list }} {{ [0]|map('default', 5, true)|list }}
{{ messages|map('tojson')|list|length }} {{ [[1,2],[3,4]]|map('sum')|list }} {{ ['1','2']|map('int')|sum }} {{ [1.5, 2.5]|map('round')|list }} {{ [1,2]|map('string')|join('+') }}
{{ {'a': [1, {'b': none}], 'c': 'é'}|tojson(indent=2) }}|{{ []|tojson(indent=2) }}|{{ ''|tojson }}|{{ 'a\u2028/</script>'|tojson }}|{{ true|tojson }}{{ none|tojson }}{{ 1.0|tojson }}|{{ [1,2]|tojson(separators=[',',':']) }}
{{ x|tojson }}
{{ {'a': x}|tojson }}
{{ messages[0]|tojson|length }} {{ messages[0].items()|list|length }} {{ messages[0].keys()|list }} {% for v in messages[0].values() %}{{ v|length }}{% endfor %} {{ 'role' in messages[0] }} {{ 'x' in messages[0].keys() }} {{ messages[0]|list }} {{ messages[0]|length }}
{{ messages[0].items()[0] }}|
{{ messages[0].values() + [1] }}
{{ (1, 2) == (1, 2) }} {{ [1] != (1,) }} {{ 'a' == 'a' 'b' }} {{ {'a'} }}
{{ {1, 2} }}
{{ lambda }}
{{ 1 if }}
{{ 'a' is }}
{{ a.b.c is defined }}
{{ a.b is defined }} {{ a['b'] is defined if a is defined }}
{{ messages[0].foo is defined }} {{ messages[0].foo }} {{ messages[0]['foo'] }} {{ messages[0].foo|default('x') }} {{ messages[0].foo.bar|default('x') }}
{{ messages[0].foo.bar }}
{{ messages|attr('x') }}| {{ 'abc'|attr('upper')() }} {{ messages[0]|attr('role') }}|
{{ caller }}|{{ varargs }}|{{ kwargs }}
{% call f() %}{% endcall %}
{% set f = 'abc'.upper %}{{ f() }} {{ f }}
{% set x = 1 if false %}{{ x is defined }}{{ x }}
{% set x = y %}{{ x is defined }}
{% set x = none %}{{ x is defined }}{{ x is none }}{% set x %}{% endset %}{{ x == '' }}
{% for i in range(3) %}{% set j = i %}{% endfor %}{{ j is defined }} {% for i in range(3) %}{% if i == 0 %}{% set k = 5 %}{% endif %}{{ k is defined }}{% endfor %}
{% if true %}{% for i in [1] %}{% set q = 1 %}{% endfor %}{% endif %}{{ q }}|
{% macro a() %}{{ b() }}{% endmacro %}{% macro b() %}B{% endmacro %}{{ a() }}
{% macro a() %}{% set z = 9 %}{{ z }}{% endmacro %}{{ a() }}{{ z is defined }} {% set z = 1 %}{{ a() }}{{ z }}
{% macro a(x, y=x ~ '!') %}{{ y }}{% endmacro %}{{ a('k') }}{{ a(y='p') }}
{% macro a() %}{{ kwargs.items()|list }}{{ varargs|join(',') }}{% endmacro %}{{ a(1, 2, k=3) }}
{% macro outer() %}{{ caller('x', y=2) }}{% endmacro %}{% call(a, y=1, z=3) outer() %}{{ a }}{{ y }}{{ z }}{% endcall %}
{% macro w() %}<{{ caller() }}>{% endmacro %}{% call w() %}{% call w() %}in{% endcall %}{% endcall %}
{% for i in [1,2] %}{% macro g() %}{{ i }}{% endmacro %}{{ g() }}{% endfor %}
{% filter indent(2) %}a
b{% endfilter %}{% filter replace('a', 'b')|upper %}banana{% endfilter %}
{% set s | trim %}  x {% endset %}[{{ s }}]{% set s | join('-') %}abc{% endset %}{{ s }}
{% with %}{% set a = 1 %}{{ a }}{% endwith %}{{ a is defined }}{% with a=2 %}{% with b=a %}{{ b }}{% endwith %}{% endwith %}
{% raw %}{% if %}{{ {# #}{% endraw %} {{ '{% x %}' }} {{ "{{" }}
{{ 'it''s' }} {{ "a" 'b' }} {{ 'a\'b' }} {{ "\"" }} {{ '\\n' }} {{ '\u4e2d' }} {{ '\0' == '\x00' }}
{{ true == 1 }} {{ 'True' == true }} {{ none == none }} {{ [1,[2]] == [1,[2]] }} {{ 1 == 1.0 == true }} {{ 'a' < 'B' }} {{ '' < 'a' }} {{ 'é' > 'z' }}
{{ 1 <  none }}
{{ [] < {} }}
{{ 'a' in none }}
{{ none + 1 }}
{{ {} + {} }}
{{ 'a' - 'b' }}
{{ 'a' / 2 }}
{{ [1] * 'a' }}
{{ 'a' * 1.5 }}
{{ ['a'] + 'b' }}
{{ 'x'.foo }}|{{ 'x'['foo'] }}|{{ [].foo }}|{{ (5).foo }}|{{ none.foo }}|{{ true.foo }}
{{ 'x'.foo.bar }}
{{ none.foo.bar }}
{{ messages.0.role }} {{ messages[0]['content']|length }} {{ messages[-1].role }} {{ messages[100] is defined }} {{ messages['a'] is defined }} {{ messages[none] is defined }} {{ messages[1.0] is defined }}
{{ namespace() }} {{ namespace(a=1).a }} {{ namespace(a=1) is mapping }}
{{ loop.index }}
{% for i in [1] %}{{ loop.foo }}|{{ loop.foo is defined }}{% endfor %}
{% for i in 'a b'.split() %}{{ loop.revindex }}{% endfor %}{% for i in messages|map(attribute='role') %}{{ loop.last }}{{ loop.length }}{% endfor %}
{% for i in messages|map(attribute='role') %}{{ loop.index }}/{{ loop.length }}{{ loop.revindex }} {% endfor %}
{% for i in [] %}{% else %}{% for j in [] %}{% else %}x{% endfor %}{% endfor %}
{%for i in[1,2]%}{{i}}{%endfor%}{%if 1==1%}a{%endif%}{{1if 1else 2}}
{{1}}{{-1}}{{- 1}}{{1-1}}{{ 1 -1 }}{{ [1,-1] }}{{ 2--1 }}
{{ 'a'.upper }}
{{ messages[0].get }}
{{ 'ﬁ'.upper() }} {{ 'İ'.lower()|length }} {{ 'ΑΣ'.lower() }} {{ 'ŉ'.capitalize() }} {{ 'ﬁx'.title() }} {{ 'ﬁx'|title }} {{ 'éa'|capitalize }} {{ 'ß'|title }}
{{ '%s' % '😀' }} {{ '%-3s|' % '😀' }} {{ '{:>3}'.format('😀') }} {{ '😀bc'|truncate(2, true, '', 0) }} {{ 'a😀'|center(5) }}| {{ '😀a'.zfill(4) }} {{ '😀\ta'.expandtabs(4) }}
{{ 'a,b;c'.split(',')[1].split(';')|last }} {{ ' x '.strip(' x') }}| {{ 'xyx'.strip('x').strip('y') }}| {{ 'aXbXc'.rsplit('X', 1) }} {{ 'a\n\nb'.split('\n') }} {{ 'a\n\nb'.splitlines() }} {{ '\n'.splitlines() }} {{ 'a\r'.splitlines(keepends=true) }}
{{ 'abc'.startswith('ab', 0, 1) }} {{ 'abc'.find('', 3) }} {{ 'abc'.find('', 4) }} {{ ''.find('') }} {{ 'abc'.count('', 1) }} {{ 'abc'.rfind('') }} {{ 'aaa'.replace('aa', 'b') }} {{ 'abc'.replace('b', '') }} {{ 'aaa'.replace('a', 'b', 0) }} {{ 'aaa'.replace('a', 'b', -1) }}
{{ 'abc'.join('-') }} {{ ''.join([]) }}| {{ 'A-B'.swapcase() }} {{ 'abc'.islower() }} {{ ''.islower() }} {{ '1'.isupper() }} {{ 'ABC'.isalpha() }} {{ '1.5'.replace('.', '').isdigit() }} {{ 'a1_'.isidentifier() }} {{ '１'.isdigit() }} {{ 'Ⅷ'.isnumeric() }} {{ 'ª'.isalpha() }} {{ 'ʰ'.islower() }}
{{ 'x'|string is string }} {{ 'x'|safe is string }} {{ ('<'|e) ~ '>' }} {{ ('a'|safe) == 'a' }} {{ {'a'|safe: 1}['a'] }} {{ ['a'|safe]|join('<') }} {{ 'a<b'|e|length }} {{ ('%s'|safe) % '<' }} {{ ('<'|safe)|tojson }} {{ ('a'|safe) in 'cab' }} {{ ('a'|safe)|replace('a','<') }} {{ '<' + ('b'|safe) }}
{{ {'a':1} is mapping }} {{ {'a':1}.items() is mapping }} {{ {'a':1}.items() is sequence }} {{ {'a':1}.keys() is iterable }} {{ ([1]|map('int')) is iterable }} {{ ([1]|map('int')) is sequence }} {{ x is iterable }} {{ x is sequence }} {{ x is string }} {{ x is number }} {{ x is mapping }} {{ none is string }} {{ x is callable }}
{{ 1 is sameas 1 }} {{ true is sameas true }} {{ none is sameas none }} {{ [] is sameas [] }} {{ 'a' is sameas 'a' }}
{{ (x is defined) ~ (1 is defined) }} {{ x == y }} {{ x != 1 }} {{ x == '' }} {{ x in [x] }} {{ [x] == [y] }} {{ x|default(none) is none }} {{ x or 'z' }} {{ (x and 1) is undefined }}
{{ 'abc'|batch(2)|list }} {{ {'a':1,'b':2}|batch(1)|list }} {{ {'a':1}|map('upper')|list }} {{ 'abc'|map('upper')|join }} {{ {'b':1,'a':2}|min }} {{ 'bca'|max }} {{ [[1,2],[1]]|min }} {{ [1, 2.5]|max }} {{ ['a', 'B']|max }} {{ ['a','B']|min(case_sensitive=true) }}
{{ [1]|first(2) }}
{{ 'a'|upper('b') }}
{{ 'a'|replace('a') }}
{{ 'a'|join(x=1) }}
{{ 'a'|trim(chars='a') }}| {{ 'a'|default(default_value='b') }} {{ [1,2]|join(d='-') }} {{ 3.14159|round(precision=2) }} {{ 'abc'|truncate(length=3) }} {{ 'a b'|replace(old=' ', new='') }} {{ [2,1]|sort(reverse=True) }} {{ '7'|int(default=1) }}
{{ 5|string(1) }}
{{ range(3, 10, 4)|list }} {{ range(-3)|list }} {{ range(true)|list }} {{ range(2)|reverse|list }} {{ range(3)|map('string')|join }}
{{ dict([['a', 1]]) }} {{ dict(a=1)|length }} {{ dict() }} {{ dict(**{'x': 1}) }}
{{ cycler('a')|string|length > 5 }}
{{ messages is defined and messages|length > 0 and messages[0].role == 'system' }} {{ (messages|length - 1) % 2 == 0 }} {{ (messages[0].role == 'user') != (0 % 2 == 0) }} {{ loop is defined }}
""".strip("\n").split("\n")

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
