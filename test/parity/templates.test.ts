/** Chat templates against what jinja2 makes of them, as transformers uses it: each construct, and each error. */
import { readFileSync } from "node:fs";
import path from "node:path";
import { parseExact } from "../../lib/files/exact_json";
import { type ChatMessage, checkMessages } from "../../lib/template/chat_messages";
import { ChatTemplate } from "../../lib/template/chat_template";

interface Fixture {
  readonly conversation: string;
  readonly cases: readonly { readonly template: string; readonly text?: string; readonly error?: string }[];
}
const file = path.join(__dirname, "fixtures", "templates.json");
const { conversation, cases }: Fixture = JSON.parse(readFileSync(file, "utf8"));
const { messages, tools } = parseExact(conversation) as { messages: ChatMessage[]; tools: object[] };
const special = { bos_token: "<s>", eos_token: "</s>" };

test.each(cases)("$template", ({ template, text, error }) => {
  const render = () => new ChatTemplate(template, special).render(checkMessages(messages, tools)).text;
  if (error === undefined) expect(render()).toBe(text);
  else expect(render).toThrow(expect.objectContaining({ code: "ERR_TEMPLATE" }));
});
