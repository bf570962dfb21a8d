import { escaped, invalid, RubricateError } from "../errors";
import { limits } from "../limits";
import type { ChatMessage, Conversation } from "./chat_messages";
import { toValue } from "./convert";
import { type GeneratedText, parseProgram, runProgram } from "./interpreter";
import type { Program } from "./parser";
import type { Value } from "./values";

/** Rendered messages. */
export interface RenderedChat {
  readonly text: string;
  /** Spans [start, end) of `text`, in UTF-16 units, that stood between generation tags; in order. */
  readonly generated: readonly (readonly [number, number])[];
}

/** Matches at least each token of the parser, which takes some microseconds for each. */
const templateToken = /[\p{L}\p{N}_]+|[^\s\p{L}\p{N}_]/gu;

/**
 * A chat template, rendered as transformers renders it: Jinja with trim_blocks and lstrip_blocks, `raise_exception`,
 * `strftime_now`, and the special tokens by name (`bos_token`, `eos_token`, ...).
 */
export class ChatTemplate {
  private readonly program: Program;

  /**
   * @param specialTokens contents of the special tokens by name
   * @throws {RubricateError} ERR_TEMPLATE where the source is not a template that can be run
   */
  constructor(
    source: string,
    private readonly specialTokens: Readonly<Record<string, string>>,
  ) {
    if (source.length > limits.templateCharacters)
      throw invalid(
        "the length of the chat template",
        `at most ${limits.templateCharacters} characters`,
        source.length,
        "ERR_TEMPLATE",
      );
    if (new RegExp(`\\s{${limits.templateWhitespace + 1}}`).test(source))
      throw new RubricateError(
        "ERR_TEMPLATE",
        `Expected at most ${limits.templateWhitespace} characters of whitespace in a row in the chat template but received more`,
      );
    if ((source.match(templateToken)?.length ?? 0) > limits.templateTokens)
      throw new RubricateError(
        "ERR_TEMPLATE",
        `Expected at most ${limits.templateTokens} words and signs in the chat template but received more`,
      );
    try {
      this.program = parseProgram(source);
    } catch (error) {
      throw failure("cannot be parsed", error);
    }
  }

  /** Whether the template marks what the assistant says by `{% generation %}` ... `{% endgeneration %}`. */
  get marksGeneration(): boolean {
    return this.program.marksGeneration;
  }

  /** The string literals of its expressions. */
  get strings(): ReadonlySet<string> {
    return this.program.strings;
  }

  /**
   * @returns the conversation as text. The same arguments give the same text, `strftime_now` apart.
   * @throws {RubricateError} ERR_TEMPLATE where the template fails, raises an exception or does not end
   */
  render(
    conversation: Conversation,
    options: { readonly addGenerationPrompt?: boolean; readonly maxSteps?: number } = {},
  ): RenderedChat {
    const { values, characters: ofStrings, nameCharacters } = conversation.size;
    const characters = ofStrings + nameCharacters;
    try {
      const variables = this.variables(conversation, options.addGenerationPrompt ?? false);
      const { text, generated } = runProgram(this.program, variables, {
        steps: options.maxSteps ?? limits.templateSteps + 50 * values + characters / 8,
        elements: 100_000 + 8 * values,
        characters: Math.min((1 << 20) + 8 * characters, limits.renderedCharacters),
      });
      return {
        text,
        get generated() {
          return spansOf(text, generated);
        },
      };
    } catch (error) {
      throw failure("failed", error);
    }
  }

  /** Whether the template reads a variable or field of that name anywhere. */
  private mentions(name: string): boolean {
    return this.program.mentioned.has(name);
  }

  /** What a conversation has that the template does not write: "tools", or "tool_calls" of messages. */
  ignoredFields(messages: readonly ChatMessage[], tools: readonly object[] | undefined): string[] {
    const given = {
      tools: tools !== undefined && tools.length > 0,
      tool_calls: messages.some((message) => message.tool_calls),
    };
    return Object.entries(given).flatMap(([name, isGiven]) => (isGiven && !this.mentions(name) ? [name] : []));
  }

  private variables({ messages, tools }: Conversation, addGenerationPrompt: boolean): ReadonlyMap<string, Value> {
    const variables: Record<string, Value> = {
      ...this.specialTokens,
      messages: toValue(messages),
      tools: toValue(tools),
      documents: null,
      add_generation_prompt: addGenerationPrompt,
    };
    return new Map(Object.entries(variables));
  }
}

/** @throws RubricateError ERR_TEMPLATE where the text of a generation block is not at its block's place in the result */
function spansOf(text: string, generated: readonly GeneratedText[]): [number, number][] {
  const spans: [number, number][] = [];
  for (const { start, text: part } of generated) {
    if (!text.startsWith(part, start))
      throw new RubricateError(
        "ERR_TEMPLATE",
        "The chat template has {% generation %} where the place of its text is not known, as in a macro that writes something before it",
      );
    if (part !== "") spans.push([start, start + part.length]);
  }
  return spans;
}

/** Characters of a reason that are shown: templates make names and messages of any length. */
const shownReason = 500;

function failure(what: string, error: unknown): RubricateError {
  if (error instanceof RubricateError) return error;
  const message = error instanceof Error ? error.message : String(error);
  const reason = escaped(error instanceof RangeError ? `it grows without bound (${message})` : message, shownReason);
  return new RubricateError("ERR_TEMPLATE", `The chat template ${what}: ${reason}`, { cause: error });
}
