/**
 * The assistant's turns of a long conversation in time that grows with its length, not with its square. A template writes most turns
 * the same way. So each message is put in the place of a mark to see where the template writes it; the first turn of a kind is
 * found by rendering the conversation up to it, and further ones by what stands before and behind the first. Now and then one
 * of them is rendered as well, to compare.
 */
import { randomBytes } from "node:crypto";
import type { ChatMessage } from "../tokenizer/tokenizer";
import type { Span } from "./types";

/** The template does not write the turns of this conversation in the same way. */
export class IrregularChat extends Error {}

/** A conversation without generation tags. */
interface RenderedConversation {
  readonly messages: readonly ChatMessage[];
  /** Places of the assistant's messages that are wanted, ascending. */
  readonly turns: readonly number[];
  readonly text: string;
  /** String literals of the template. */
  readonly strings: Iterable<string>;
  render(messages: readonly ChatMessage[]): string;
  /** The span of one turn, by rendering what goes before. */
  exact(at: number): Span;
}

/** Fewer turns are rendered each: that takes no longer. */
const fewTurns = 8;

/** Turns whose neighbours have the same roles and fields. */
interface Kind {
  /** What stands between the message before and the turn. */
  readonly head: string;
  /** What stands between the turn and the message behind. */
  readonly foot: string;
  turns: number;
  /** The turn that is rendered to compare. */
  compared: number;
}

/**
 * Spans of the turns, in order.
 * @throws {IrregularChat} where a turn is elsewhere than others of its kind; spans before may be wrong, too
 */
export function* regularSpans(conversation: RenderedConversation): Generator<Span, void, void> {
  const { messages, turns, text, exact } = conversation;
  const literals = turns.length > fewTurns ? searchedTexts(conversation.strings) : [];
  const ordinary = messages.map((message) => isOrdinary(message, literals));
  const places = turns.length > fewTurns ? placesOf(conversation, ordinary) : undefined;
  const shapes = places && messages.map(shapeOf);
  const kinds = new Map<string, Kind>();
  for (const at of turns) {
    const before = places?.[at - 1];
    const behind = places?.[at + 1];
    if (!before || !behind || !ordinary[at]) {
      yield exact(at);
      continue;
    }
    const key = [shapes![at - 1], shapes![at], shapes![at + 1]].join();
    const kind = kinds.get(key);
    if (!kind) {
      const [start, end] = exact(at);
      const [head, foot] = [text.slice(before[1], start), text.slice(end, behind[0])];
      kinds.set(key, { head, foot, turns: 1, compared: 2 });
      yield [start, end];
      continue;
    }
    const span: Span = [before[1] + kind.head.length, behind[0] - kind.foot.length];
    const alike = text.startsWith(kind.head, before[1]) && text.endsWith(kind.foot, behind[0]) && span[0] <= span[1];
    if (alike && ++kind.turns < kind.compared) {
      yield span;
      continue;
    }
    const [start, end] = exact(at);
    if (alike && (start !== span[0] || end !== span[1])) throw new IrregularChat();
    if (alike) kind.compared *= 4;
    yield [start, end];
  }
}

/**
 * Where the template writes each message's content: known where the text with marks in place of the contents becomes the
 * conversation's, once each mark is replaced by its content again.
 * @returns undefined otherwise
 */
function placesOf(conversation: RenderedConversation, ordinary: readonly boolean[]): (Span | undefined)[] | undefined {
  const { messages, text } = conversation;
  const name = `x${randomBytes(12).toString("hex")}`; // no message can hold it
  const marked = messages.map((message, at) => {
    const { content } = message;
    const last = at + 1 === messages.length; // templates treat it in its own way, which no mark should change
    const isText = typeof content === "string" && content.trim() !== "";
    return isText && ordinary[at] && !last ? { ...message, content: `${name}${at}x` } : message;
  });
  let parts: string[];
  try {
    parts = conversation.render(marked).split(new RegExp(`${name}(\\d+)x`)); // text, number, text, number, ..., text
  } catch {
    return undefined;
  }
  const numbers = parts.filter((_, at) => at % 2 === 1).map(Number);
  if (numbers.length !== marked.filter((message, at) => message !== messages[at]).length) return undefined;
  if (numbers.some((number, at) => at > 0 && number <= numbers[at - 1]!)) return undefined;
  const content = (at: number) => messages[at]!.content as string;
  const between = parts.filter((_, at) => at % 2 === 0);
  return (
    placesIn(text, between, numbers, messages.length, content) ??
    placesIn(text, between, numbers, messages.length, (at) => content(at).trim())
  );
}

function placesIn(
  text: string,
  between: readonly string[],
  numbers: readonly number[],
  count: number,
  contentOf: (at: number) => string,
): (Span | undefined)[] | undefined {
  const places: (Span | undefined)[] = Array.from({ length: count });
  let end = 0;
  for (const [at, part] of between.entries()) {
    if (!text.startsWith(part, end)) return undefined;
    end += part.length;
    if (at === numbers.length) break;
    const content = contentOf(numbers[at]!);
    if (!text.startsWith(content, end)) return undefined;
    places[numbers[at]!] = [end, end + content.length];
    end += content.length;
  }
  return end === text.length ? places : undefined;
}

/** Texts that a template may look for in a message, such as `</think>`: its literals, names of roles and fields apart. */
function searchedTexts(strings: Iterable<string>): string[] {
  const parts = [...strings].flatMap((text) => text.split(/\s/));
  return [...new Set(parts.filter((part) => part.length > 1 && !/^\w+$/.test(part)))];
}

/** Whether a template has nothing to look for in a message. */
function isOrdinary(value: unknown, literals: readonly string[]): boolean {
  if (typeof value === "string") return !literals.some((literal) => value.includes(literal));
  if (typeof value !== "object" || value === null) return true;
  return Object.values(value).every((part) => isOrdinary(part, literals));
}

/** A message's role, and which of its fields hold something. */
function shapeOf(message: ChatMessage): string {
  const shape = Object.entries(message).map(([name, value]) => {
    if (name === "role") return value;
    const empty = typeof value === "string" ? value.trim() === "" : !value;
    return [name, empty ? "" : typeof value];
  });
  return JSON.stringify(shape);
}
