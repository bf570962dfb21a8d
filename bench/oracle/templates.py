"""Public chat templates, rendered here and by jinja2 as transformers uses it: prints where the two differ.

    python bench/oracle/templates.py                        fetches what templates.json lists into a folder of the temporary one
    python bench/oracle/templates.py --mirror DIR           takes it from clones, DIR/OWNER+NAME/repo
    python bench/oracle/templates.py --list DIR REPOSITORY... > bench/oracle/templates.json

Each template gets 16 conversations, with and without the generation prompt; where it has generation blocks, the spans are compared,
too. Needs dist/ (`npm run build:ts`) and transformers 5.18.
"""

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

from transformers.utils.chat_template_utils import _compile_jinja_template, _render_with_assistant_indices

HERE = Path(__file__).parent
SPECIAL = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}

TOOLS = r"""[{"type": "function", "function": {"name": "pay", "description": "Pays. <b>Now</b> & \"here\".", "parameters": {"type":
"object", "properties": {"amount": {"type": "number", "minimum": 0.0, "default": 1e-7, "description": "How much"}, "to": {"type":
["string", "null"], "enum": ["a", "b"]}, "list": {"type": "array", "items": {"type": "integer"}}, "10": {"type": "boolean", "nullable":
true}, "nested": {"type": "object", "properties": {"x": {"type": "string"}}, "required": []}}, "required": ["amount", "to"]}, "return":
{"type": "string"}}}, {"type": "function", "function": {"name": "now", "description": "", "parameters": {"type": "object", "properties": {}}}}]"""
CALL = r"""{"role": "assistant", "content": CONTENT, "tool_calls": [{"id": "abcdef012", "type": "function", "function": {"name": "pay",
"arguments": ARGUMENTS}}]}"""
OBJECT = r"""{"amount": 20.0, "account": 12345678901234567890, "rate": 1e-07, "to": "a", "flag": true, "none": null, "list": [1, 2.50],
"b": {"2": "x", "1": "é😀"}}"""
USER, ANSWER = '{"role": "user", "content": "Hi"}', '{"role": "assistant", "content": "Hello."}'
SYSTEM = '{"role": "system", "content": "Be brief."}'
RESULT = '{"role": "tool", "name": "pay", "tool_call_id": "abcdef012", "content": "{\\"ok\\": true}"}'


def call(content="null", arguments=OBJECT):
    return CALL.replace("CONTENT", content).replace("ARGUMENTS", arguments)


def rows(*messages, tools=None):
    return f'{{"messages": [{", ".join(messages)}]' + (f', "tools": {tools}}}' if tools else "}")


CONVERSATIONS = {
    "user": rows(USER),
    "answer": rows(USER, ANSWER),
    "system": rows(SYSTEM, USER, ANSWER),
    "turns": rows(SYSTEM, USER, ANSWER, '{"role": "user", "content": " And\\n\\n now? "}', '{"role": "assistant", "content": " Later. \\n"}'),
    "tools": rows(USER, tools=TOOLS),
    "call": rows(SYSTEM, USER, call(), RESULT, ANSWER, tools=TOOLS),
    "call and words": rows(USER, call('"I pay."'), RESULT, ANSWER, tools=TOOLS),
    "call in text": rows(USER, call('""', json.dumps('{"amount": 20.0}')), RESULT, ANSWER, tools=TOOLS),
    "two calls": rows(USER, call(), RESULT, call('""'), RESULT.replace('"{\\"ok\\": true}"', '{"ok": 1.0}'), ANSWER, tools=TOOLS),
    "empty": rows('{"role": "system", "content": ""}', '{"role": "user", "content": ""}', '{"role": "assistant", "content": ""}'),
    "thinking": rows(USER, '{"role": "assistant", "content": "<think>\\nhm\\n</think>\\n\\nDone."}', USER, '{"role": "assistant", "content": "Yes.", "reasoning_content": "so", "thinking": "so"}'),
    "line ends": rows('{"role": "user", "content": "a\\r\\nb\\rc\\u2028d\\u000be"}', '{"role": "assistant", "content": "\\r\\n x\\r\\n"}'),
    "emoji": rows('{"role": "user", "content": "😀 é \\ufeff"}', '{"role": "assistant", "content": "👩‍👩‍👧 \\u0085"}'),
    "parts": rows('{"role": "user", "content": [{"type": "text", "text": "see"}, {"type": "image"}, {"type": "text", "text": "?"}]}', '{"role": "assistant", "content": [{"type": "text", "text": "Yes."}]}'),
    "odd order": rows(USER, USER, ANSWER, ANSWER, SYSTEM),
    "other values": rows('{"role": "user", "content": "Hi", "count": 20.0, "flag": true, "none": null}', '{"role": "assistant", "content": {"a": [1, null, false, 1e22]}}', '{"role": "critic", "content": "So."}'),
}


def template_text(entry, mirror, cache):
    name = f"{entry['repository'].replace('/', '+')}"
    if mirror:
        command = ["git", "-C", str(Path(mirror) / name / "repo"), "show", f"{entry['commit']}:{entry['path']}"]
        data = subprocess.run(command, capture_output=True, check=True).stdout
    else:
        kept = cache / entry["sha256"]
        if not kept.exists():
            address = f"https://raw.githubusercontent.com/{entry['repository']}/{entry['commit']}/{entry['path']}"
            with urllib.request.urlopen(address) as answer:
                kept.write_bytes(answer.read())
        data = kept.read_bytes()
    if hashlib.sha256(data).hexdigest() != entry["sha256"]:
        sys.exit(f"{entry['repository']} {entry['path']} is not the file that is listed")
    return data.decode("utf-8")


def listed(mirror, repositories):
    entries, seen = [], set()
    for repository in repositories:
        git = ["git", "-C", str(Path(mirror) / repository.replace("/", "+") / "repo")]
        run = lambda *command: subprocess.run([*git, *command], capture_output=True, check=True).stdout  # noqa: B023, E731
        commit = run("rev-parse", "HEAD").decode().strip()
        for path in run("ls-tree", "-r", "--name-only", "HEAD").decode().splitlines():
            if not path.endswith((".jinja", ".jinja2", ".j2")):
                continue
            data = run("show", f"HEAD:{path}")
            digest = hashlib.sha256(data).hexdigest()
            if digest in seen or b"messages" not in data:
                continue
            seen.add(digest)
            entries.append({"repository": repository, "commit": commit, "path": path, "sha256": digest})
    return entries


def expected(template, conversation, prompt):
    given = json.loads(conversation)
    try:
        compiled = _compile_jinja_template(template)
        text, spans = _render_with_assistant_indices(
            compiled, given["messages"], given.get("tools"), None, prompt, **SPECIAL
        )
    except Exception as error:  # whatever jinja2 and Python raise
        return {"error": f"{type(error).__name__}: {error}"}
    units = lambda at: len(text[:at].encode("utf-16-le")) // 2  # noqa: E731
    return {"text": text, "spans": [[units(a), units(b)] for a, b in spans if b > a]}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--mirror")
    parser.add_argument("--list", nargs="+")
    parser.add_argument("--show", type=int, default=20, help="differences that are printed in full")
    options = parser.parse_args()
    if options.list:
        print(json.dumps(listed(options.list[0], options.list[1:]), indent=1))
        return
    cache = Path(tempfile.gettempdir()) / "rubricate-templates"
    cache.mkdir(exist_ok=True)
    entries = json.loads((HERE / "templates.json").read_text())
    cases = []
    for entry in entries:
        template = template_text(entry, options.mirror, cache)
        for name, conversation in CONVERSATIONS.items():
            for prompt in (False, True):
                case = {"template": template, "conversation": conversation, "prompt": prompt, "special": SPECIAL}
                case["where"] = f"{entry['repository']} {entry['path']}, {name}{', prompt' if prompt else ''}"
                case["expected"] = expected(template, conversation, prompt)
                cases.append(case)
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump({"cases": cases, "show": options.show}, file)
        file.flush()
        done = subprocess.run(["node", str(HERE / "templates.mjs"), file.name], check=False)
    sys.exit(done.returncode)


if __name__ == "__main__":
    main()
