import { join } from "node:path";
import type { InspectedToken } from "../data/dataset";
import type { Invocation } from "./command";
import { UsageError } from "./command";
import { loadData, loadModel, reportRows } from "./load";
import type { Terminal } from "./terminal";
import { count } from "./text";

const shownByDefault = 3;

/** Shows rows token by token, with the learned ones marked, then figures and reports of all rows. */
export async function inspectData(invocation: Invocation, path: string): Promise<void> {
  const { values, terminal } = invocation;
  if (values.model === undefined)
    throw new UsageError("Expected --model DIR with data: the model's tokenizer makes the tokens");
  const model = await loadModel(invocation);
  try {
    await using data = await loadData(invocation, model, path);
    reportRows(invocation, join(path, ""), data);
    const shown = Math.min(data.length, values.rows ?? shownByDefault);
    for (let index = 0; index < shown; index++) {
      const [{ line } = { line: 0 }] = await data.examples([index]);
      const tokens = await data.inspect(index);
      const supervised = tokens.filter((token) => token.supervised).length;
      terminal.event({ type: "row", line, tokens });
      terminal.print(`line ${line}: ${count(tokens.length)} tokens, ${count(supervised)} learned`);
      showTokens(terminal, tokens);
    }
    const longest = data.lengths.reduce((most, length) => Math.max(most, length), 0);
    terminal.print(
      `${count(data.length)} rows, ${count(data.tokenCount)} tokens, ${count(data.supervisedTokenCount)} of them learned; ` +
        `the longest row has ${count(longest)}`,
    );
  } finally {
    model.dispose();
  }
}

/** Shows the row as text, with learned tokens in green or in brackets, then one line per token. */
function showTokens(terminal: Terminal, tokens: readonly InspectedToken[]): void {
  const coloured = terminal.styled("", "green") !== "";
  const [open, close] = coloured ? ["", ""] : ["[[", "]]"];
  let text = "";
  for (let at = 0; at < tokens.length; ) {
    const { supervised } = tokens[at]!;
    let run = "";
    for (; at < tokens.length && tokens[at]!.supervised === supervised; at++) run += tokens[at]!.text;
    text += supervised ? open + terminal.styled(run, "green") + close : terminal.styled(run, "dim");
  }
  terminal.printStyled(text);
  for (const { id, piece, supervised } of tokens) {
    const line = `  ${supervised ? "*" : " "} ${String(id).padStart(7)}  ${JSON.stringify(piece)}`;
    terminal.printStyled(terminal.styled(line, supervised ? "green" : "dim"));
  }
  terminal.print();
}
