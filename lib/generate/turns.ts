/** Turns of the event loop, for the prompts that are encoded on its thread. */
import { limits } from "../limits";

interface Waiting {
  readonly characters: number;
  resolve(): void;
}

/** In the order of their calls. */
const waiting: Waiting[] = [];
/** Characters of the prompts that have this turn. */
let given = 0;
let nextIsDue = false;

/**
 * Prompts of `quickCharacters` together have a turn of the event loop, and at least one has: many calls at once would keep it as long
 * as a long prompt would.
 * @param characters of a prompt; or what takes as long
 * @returns undefined: this turn will do
 */
export function turnFor(characters: number): Promise<void> | undefined {
  if (!nextIsDue) setImmediate(nextTurn);
  nextIsDue = true;
  if (waiting.length > 0 || !fits(characters))
    return new Promise((resolve) => waiting.push({ characters, resolve: () => resolve() }));
  given += characters;
  return undefined;
}

function fits(characters: number): boolean {
  return given === 0 || given + characters <= limits.quickCharacters;
}

function nextTurn(): void {
  given = 0;
  let count = 0;
  while (count < waiting.length && fits(waiting[count]!.characters)) given += waiting[count++]!.characters;
  for (const { resolve } of waiting.splice(0, count)) resolve();
  nextIsDue = count > 0;
  if (nextIsDue) setImmediate(nextTurn);
}
