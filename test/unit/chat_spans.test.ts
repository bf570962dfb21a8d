/** The masks of long conversations are those that rendering the conversation up to each turn gives. */
import { readFileSync } from "node:fs";
import path from "node:path";
import { assistantSpans, type ChatText } from "../../lib/data/chat_spans";
import { tokensInSpans } from "../../lib/data/token_spans";
import { embeddedModelDir } from "../../lib/embedded";
import { limits } from "../../lib/limits";
import { ChatTemplate } from "../../lib/template/chat_template";
import { type ChatMessage, Tokenizer } from "../../lib/tokenizer/tokenizer";

const fixtures = path.join(__dirname, "..", "parity", "fixtures", "tokenizer");
const source = (name: string) => readFileSync(path.join(fixtures, name), "utf8");

/** Tokens in spans as encoding the text up to each border from its start gives them. */
function tokensByPrefixes(tokenizer: Tokenizer, ids: Int32Array, { text, exactSpans }: ChatText): Uint8Array {
  const marked = new Uint8Array(ids.length);
  const border = (at: number) => {
    if (at === text.length) return { tokens: ids.length, exact: true };
    const part = tokenizer.encodeStart(text.slice(0, at), ids.length);
    let tokens = 0;
    while (tokens < part.length && part[tokens] === ids[tokens]) tokens++;
    return { tokens, exact: tokens === part.length };
  };
  for (const [start, end] of exactSpans) {
    const first = border(start).tokens;
    if (first === ids.length) break;
    const last = border(end);
    marked.fill(1, first, last.exact ? last.tokens : last.tokens + 1);
  }
  return marked;
}

/** Numbers from 0 to below 2^32, the same each time. */
function randomNumbers(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

const words = [
  "the",
  " cat",
  "s",
  "\n",
  "  ",
  "\n\n",
  "é",
  "日本",
  "<",
  "</s>",
  "[INST]",
  "user",
  "<|im_end|>",
  "12",
  "'",
  "ab",
];

function randomChat(random: (below: number) => number, turns: number, system: boolean): ChatMessage[] {
  const content = () => {
    const plain = random(4) > 0; // most messages hold nothing odd
    const pool = plain ? words.slice(0, 8) : words;
    return Array.from({ length: 1 + random(6) }, () => pool[random(pool.length)]).join("") + (random(3) ? "x" : "");
  };
  const chat: ChatMessage[] = system ? [{ role: "system", content: content() }] : [];
  for (let at = 0; at < turns; at++) chat.push({ role: at % 2 ? "assistant" : "user", content: content() });
  return chat;
}

const tools =
  "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content or '' }}{% for c in m.tool_calls or [] %}\n<call>{{ c.function.name }} {{ c.function.arguments | tojson }}</call>{% endfor %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";
const plainText =
  "{% for m in messages %}{{ m.role }}: {{ m.content | trim }}\n{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}";
const untrimmed = "{{ bos_token }}{% for m in messages %}{{ m.role }}:{{ m.content }}{{ eos_token }}{% endfor %}";

describe.each<[string, string, () => string | undefined]>([
  ["byte_level", "chatml", () => source("chatml.jinja")],
  ["byte_level", "llama 3", () => source("llama-3.jinja")],
  ["byte_level", "tools", () => tools],
  ["byte_level", "text without special tokens", () => plainText],
  ["byte_level", "eos alone", () => untrimmed],
  ["llama", "llama 2", () => source("llama-2.jinja")],
  ["llama", "mistral", () => source("mistral.jinja")],
  ["llama", "zephyr", () => source("zephyr.jinja")],
  ["llama", "text without special tokens", () => plainText],
  ["llama", "eos alone", () => untrimmed],
  ["embedded", "its own", () => undefined],
])("%s with the template %s", (folder, _, template) => {
  let tokenizer: Tokenizer;
  let renders = 0;
  let characters = 0;
  beforeAll(async () => {
    const dir = folder === "embedded" ? embeddedModelDir() : path.join(fixtures, folder);
    const { files } = await Tokenizer.fromPretrained(dir);
    tokenizer = new Tokenizer(template() === undefined ? files : { ...files, chatTemplate: template()! });
    const render = tokenizer.renderChat.bind(tokenizer);
    tokenizer.renderChat = (...given) => {
      renders++;
      return render(...given);
    };
    const encode = tokenizer.encodeStart.bind(tokenizer);
    tokenizer.encodeStart = (text, most) => {
      characters += text.length;
      return encode(text, most);
    };
  });

  test("masks of random conversations, whole and truncated", () => {
    let compared = 0;
    for (let seed = 0; seed < 24; seed++) {
      const random = randomNumbers(seed);
      const system = folder !== "llama" && random(2) === 1;
      const turns = 2 * (1 + random(18)) + random(2);
      const messages = randomChat(random, turns, system);
      const given = random(4) === 0 ? 2 * random(3) : 0;
      if (given >= messages.length) continue;
      let chat: ChatText;
      let expected: Uint8Array;
      const most = random(3) === 0 ? 40 + random(200) : Number.POSITIVE_INFINITY;
      try {
        chat = assistantSpans(tokenizer, messages, given);
        const ids = tokenizer.encodeStart(chat.text, most);
        expected = tokensByPrefixes(tokenizer, ids, chat);
        expect(Buffer.from(tokensInSpans(tokenizer, ids, chat))).toEqual(Buffer.from(expected));
        compared++;
      } catch (error) {
        if ((error as { code?: string }).code !== "ERR_TEMPLATE") throw error;
      }
    }
    expect(compared).toBeGreaterThan(12);
  });

  test("a conversation of four times the length takes few more renderings, and four times the encoding", () => {
    const rendered = (turns: number) => {
      const messages = Array.from({ length: turns }, (_, at) => ({
        role: at % 2 ? "assistant" : "user",
        content: `The fox ${at} jumps.`,
      }));
      renders = 0;
      const chat = assistantSpans(tokenizer, messages, 0);
      const ids = tokenizer.encodeStart(chat.text, 1e6);
      characters = 0;
      const mask = tokensInSpans(tokenizer, ids, chat);
      const counted = { renders, characters };
      expect(Buffer.from(mask)).toEqual(Buffer.from(tokensByPrefixes(tokenizer, ids, chat)));
      return counted;
    };
    const [few, many] = [rendered(40), rendered(160)];
    expect(many.renders).toBeLessThanOrEqual(few.renders + 4);
    expect(many.renders).toBeLessThan(30);
    expect(many.characters).toBeLessThan(5 * few.characters);
  });
});

test.each([
  ["in a comment", `{# {% generation %} #}${tools}`],
  ["in a string", `{% if messages[0].content == "{% generation %}" %}{% endif %}${tools}`],
])("a generation tag %s marks nothing: turns are found by prefixes", async (_, chatTemplate) => {
  const { files } = await Tokenizer.fromPretrained(path.join(fixtures, "byte_level"));
  const spansOf = (template: string) =>
    assistantSpans(
      new Tokenizer({ ...files, chatTemplate: template }),
      [
        { role: "user", content: "q" },
        { role: "assistant", content: "a" },
      ],
      0,
    );
  const chat = spansOf(chatTemplate);
  expect([...chat.spans].map(([start, end]) => chat.text.slice(start, end))).toEqual(["a<|im_end|>\n"]);
});

test("a template's literals are known although they hold the end of a tag", async () => {
  const { files } = await Tokenizer.fromPretrained(path.join(fixtures, "byte_level"));
  const cut =
    "{% for m in messages %}{{ m.role }}:{{ m.content.split('%}x<cut>')[0] }};{% endfor %}" +
    "{% if add_generation_prompt %}assistant:{% endif %}";
  const tokenizer = new Tokenizer({ ...files, chatTemplate: cut });
  const messages = Array.from({ length: 80 }, (_, at) => ({
    role: at % 2 ? "assistant" : "user",
    content: at % 8 === 5 ? `answer ${at} %}x<cut> rest` : `words ${at}`,
  }));
  const chat = assistantSpans(tokenizer, messages, 0);
  let renders = 0;
  const render = tokenizer.renderChat.bind(tokenizer);
  tokenizer.renderChat = (...given) => {
    renders++;
    return render(...given);
  };
  const spans = [...chat.spans];
  // One rendering finds the messages' places; what looks like text that the template searches is rendered each.
  expect(renders).toBeLessThan(60);
  expect(spans).toEqual([...chat.exactSpans]);
});

test("calls of tools, with results in between", async () => {
  const { files } = await Tokenizer.fromPretrained(path.join(fixtures, "byte_level"));
  const tokenizer = new Tokenizer({ ...files, chatTemplate: tools });
  const messages: ChatMessage[] = [];
  for (let at = 0; at < 40; at++)
    messages.push(
      { role: "user", content: `question ${at}` },
      {
        role: "assistant",
        content: null,
        tool_calls: [{ type: "function", function: { name: `f${at % 3}`, arguments: { a: at, b: "x y" } } }],
      },
      { role: "tool", content: `result ${at}` },
      { role: "assistant", content: `answer ${at}` },
    );
  const chat = assistantSpans(tokenizer, messages, 0);
  const ids = tokenizer.encodeStart(chat.text, 1e6);
  expect([...chat.spans]).toEqual([...chat.exactSpans]);
  expect(Buffer.from(tokensInSpans(tokenizer, ids, chat))).toEqual(Buffer.from(tokensByPrefixes(tokenizer, ids, chat)));
});

test("what comes after the kept tokens is not looked at", async () => {
  const { files } = await Tokenizer.fromPretrained(path.join(fixtures, "byte_level"));
  const tokenizer = new Tokenizer({ ...files, chatTemplate: tools });
  const messages = randomChat(randomNumbers(3), 400, false);
  const chat = assistantSpans(tokenizer, messages, 0);
  const longest: number[] = [];
  const render = tokenizer.renderChat.bind(tokenizer);
  tokenizer.renderChat = (given, options) => {
    longest.push(given.length);
    return render(given, options);
  };
  tokensInSpans(tokenizer, tokenizer.encodeStart(chat.text, 100), chat);
  // The whole once, to see where the template writes the messages.
  expect(longest.filter((length) => length > 40)).toEqual([400]);
});

test("a template that counts the turns is refused, as by rendering up to each", async () => {
  const { files } = await Tokenizer.fromPretrained(path.join(fixtures, "byte_level"));
  const counting = `{{ messages | length if messages | length > 30 else '' }}${tools}`;
  const tokenizer = new Tokenizer({ ...files, chatTemplate: counting });
  const chat = assistantSpans(tokenizer, randomChat(randomNumbers(5), 64, false), 0);
  const ids = tokenizer.encodeStart(chat.text, 1e6);
  expect(() => tokensByPrefixes(tokenizer, ids, chat)).toThrow(/differently when more follow/);
  expect(() => tokensInSpans(tokenizer, ids, chat)).toThrow(/differently when more follow/);
});

test("a template that writes some turns in another way has them compared, and then all rendered", async () => {
  const { files } = await Tokenizer.fromPretrained(path.join(fixtures, "byte_level"));
  // From the twelfth message on the question for an answer is longer, which the text itself does not show.
  const moved =
    "{% for m in messages %}{{ m.role }}: >> {{ m.content }}\n{% endfor %}{% if add_generation_prompt %}assistant:{% if messages | length > 12 %} >>{% endif %}{% endif %}";
  const tokenizer = new Tokenizer({ ...files, chatTemplate: moved });
  const messages = Array.from({ length: 64 }, (_, at) => ({
    role: at % 2 ? "assistant" : "user",
    content: `say ${at}`,
  }));
  const chat = assistantSpans(tokenizer, messages, 0);
  const ids = tokenizer.encodeStart(chat.text, 1e6);
  expect(() => [...chat.spans]).toThrow();
  expect(Buffer.from(tokensInSpans(tokenizer, ids, chat))).toEqual(Buffer.from(tokensByPrefixes(tokenizer, ids, chat)));
});

test("turns that are all different are rendered up to a limit", async () => {
  const { files } = await Tokenizer.fromPretrained(path.join(fixtures, "byte_level"));
  const chatTemplate =
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}\n{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}";
  const tokenizer = new Tokenizer({ ...files, chatTemplate });
  const chatOf = (count: number) => {
    const messages = Array.from({ length: count }, (_, at) => ({
      role: at % 2 ? "assistant" : `user${at}`,
      content: `say ${at}`,
    }));
    return assistantSpans(tokenizer, messages, 0);
  };
  const render = jest.spyOn(ChatTemplate.prototype, "render");
  const work = () => render.mock.calls.reduce((sum, [{ messages }]) => sum + messages.length, 0);
  const given = limits.turnMessages;
  Object.assign(limits, { turnMessages: 100 * 99 });
  try {
    // The 100 messages have 1 + 2 + ... + 99 = 4950 before and within their turns; the 200 have 19,900.
    expect([...chatOf(100).spans]).toHaveLength(50);
    expect(() => [...chatOf(200).spans]).toThrow(
      expect.objectContaining({ code: "ERR_TEMPLATE", message: expect.stringContaining("at most 9900 messages") }),
    );
    render.mockClear();
    expect(() => [...chatOf(2000).exactSpans]).toThrow(/at most 9900 messages/);
    expect(work()).toBeLessThan(9900 + 2000);
  } finally {
    Object.assign(limits, { turnMessages: given });
    render.mockRestore();
  }
});
