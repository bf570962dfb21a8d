import { randomBytes } from "node:crypto";
import { invalid, RubricateError } from "../errors";
import { limits } from "../limits";
import { type ChatMessage, conversationSize } from "./chat_messages";
import { parseProgram, runProgram, type TemplateNode } from "./interpreter";

/** Rendered messages. */
export interface RenderedChat {
  readonly text: string;
  /** Spans [start, end) of `text`, in UTF-16 units, that stood between generation tags; in order. */
  readonly generated: readonly (readonly [number, number])[];
}

/** What the parser takes as a token or more than that; it takes some microseconds for each. */
const templateToken = /[\p{L}\p{N}_]+|[^\s\p{L}\p{N}_]/gu;
const generationTag = /\{%(-?|\+?)\s*(end)?generation\s*(-?)%\}/g;

/**
 * A chat template, rendered as transformers renders it: Jinja with trim_blocks and lstrip_blocks, `raise_exception`,
 * `strftime_now`, and the special tokens by name (`bos_token`, `eos_token`, ...).
 */
export class ChatTemplate {
  /** Whether the template marks what the assistant says by `{% generation %}` ... `{% endgeneration %}`. */
  readonly marksGeneration: boolean;
  private readonly program: TemplateNode;

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
    this.marksGeneration = marksGeneration(source);
    try {
      this.program = parseProgram(preprocessed(source));
    } catch (error) {
      throw failure("cannot be parsed", error);
    }
  }

  /**
   * @returns the conversation as text. The same arguments give the same text, `strftime_now` apart.
   * @throws {RubricateError} ERR_TEMPLATE where the template fails, raises an exception or does not end
   */
  render(
    messages: readonly ChatMessage[],
    options: {
      readonly addGenerationPrompt?: boolean;
      readonly tools?: readonly object[];
      readonly maxSteps?: number;
    } = {},
  ): RenderedChat {
    if (!Array.isArray(messages)) throw invalid("messages", "an array of {role, content}", messages);
    // Markers of a run are secret, so that no message can hold one.
    const marker = `\uFDD0${randomBytes(12).toString("hex")}`;
    const variables = {
      ...this.specialTokens,
      messages,
      tools: options.tools ?? null,
      documents: null,
      add_generation_prompt: options.addGenerationPrompt ?? false,
      raise_exception: (message: unknown) => {
        throw new RaisedException(typeof message === "string" ? message : "it raised an exception");
      },
      strftime_now: (format: unknown) => {
        if (typeof format !== "string" || format.length > 256) throw new Error("strftime_now() takes a short string");
        return strftime(new Date(), format);
      },
      [generationStart]: `${marker}<`,
      [generationEnd]: `${marker}>`,
    };
    let marked: string;
    try {
      const { elements, characters } = conversationSize(messages, options.tools);
      marked = runProgram(this.program, variables, {
        steps: options.maxSteps ?? limits.templateSteps + 50 * elements + characters / 8,
        elements: 100_000 + 8 * elements,
        characters: Math.min((1 << 20) + 8 * characters, limits.renderedCharacters),
        markers: {
          names: new Set([generationStart, generationEnd]),
          characters: 2 * limits.chatMessages * (marker.length + 1),
        },
      });
    } catch (error) {
      throw failure("failed", error);
    }
    return unmarked(marked, marker);
  }
}

const generationStart = "__generation_start";
const generationEnd = "__generation_end";

class RaisedException extends Error {}

function failure(what: string, error: unknown): RubricateError {
  if (error instanceof RubricateError) return error;
  const message = error instanceof Error ? error.message : String(error);
  const reason = error instanceof RangeError ? `it grows without bound (${message})` : message;
  return new RubricateError("ERR_TEMPLATE", `The chat template ${what}: ${reason}`, { cause: error });
}

export function marksGeneration(source: string): boolean {
  return /\{%[-+]?\s*generation\s*-?%\}/.test(source);
}

/**
 * Applies lstrip_blocks and trim_blocks, and then makes generation tags expressions, which these no longer touch. Of the
 * newlines at the end Jinja drops one; the parser drops one too, so another takes its place.
 */
function preprocessed(source: string): string {
  const text = (source.endsWith("\n") ? source.slice(0, -1) : source)
    .replace(/^[ \t]+(?=\{[%#](?!\+))/gm, "")
    .replace(/([%#]\})\n/g, "$1")
    .replace(/\{%\+/g, "{%")
    .replace(generationTag, (_, before: string, end: string | undefined, after: string) => {
      const strip = before === "-" ? "-" : "";
      return `{{${strip} ${end ? generationEnd : generationStart} ${after}}}`;
    });
  return text.endsWith("\n") ? `${text}\n` : text;
}

function unmarked(marked: string, marker: string): RenderedChat {
  const parts = marked.split(marker);
  let text = parts[0]!;
  const generated: [number, number][] = [];
  let start = -1;
  for (const part of parts.slice(1)) {
    if (part[0] === "<") start = text.length;
    else if (start >= 0) {
      if (text.length > start) generated.push([start, text.length]);
      start = -1;
    }
    text += part.slice(1);
  }
  return { text, generated };
}

const months = "January February March April May June July August September October November December".split(" ");
const days = "Sunday Monday Tuesday Wednesday Thursday Friday Saturday".split(" ");

/** Python's strftime in the C locale, local time; directives that it lacks stay as they are. */
export function strftime(date: Date, format: string): string {
  const two = (value: number) => String(value).padStart(2, "0");
  const dayOfYear =
    Math.round(
      (Date.UTC(date.getFullYear(), date.getMonth(), date.getDate()) - Date.UTC(date.getFullYear(), 0, 1)) / 86_400_000,
    ) + 1;
  const directives: Record<string, () => string> = {
    Y: () => String(date.getFullYear()),
    y: () => two(date.getFullYear() % 100),
    m: () => two(date.getMonth() + 1),
    B: () => months[date.getMonth()]!,
    b: () => months[date.getMonth()]!.slice(0, 3),
    d: () => two(date.getDate()),
    e: () => String(date.getDate()).padStart(2, " "),
    j: () => String(dayOfYear).padStart(3, "0"),
    A: () => days[date.getDay()]!,
    a: () => days[date.getDay()]!.slice(0, 3),
    H: () => two(date.getHours()),
    I: () => two(date.getHours() % 12 || 12),
    M: () => two(date.getMinutes()),
    S: () => two(date.getSeconds()),
    p: () => (date.getHours() < 12 ? "AM" : "PM"),
    "%": () => "%",
  };
  return format.replace(/%-?([A-Za-z%])/g, (whole, letter: string) => {
    const value = directives[letter]?.();
    if (value === undefined) return whole;
    return whole[1] === "-" ? value.replace(/^[0 ]+(?=.)/, "") : value;
  });
}
