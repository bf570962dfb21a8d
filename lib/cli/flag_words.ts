/** Flags as words again, for the command line of a child. */
import { kebab } from "./arguments";
import type { Flag } from "./flag";
import { type FlagName, flags, type Values } from "./flags";

/** The words of those flags that are given. */
export function flagWords(values: Values, names: readonly FlagName[]): string[] {
  return names.flatMap((name) => {
    const value = values[name];
    if (value === undefined) return [];
    const { alone, multiple }: Flag<unknown> = flags[name];
    const written = `--${kebab(name)}`;
    if (alone !== undefined && value === alone) return [written];
    if (multiple) return (value as readonly unknown[]).map((one) => `${written}=${one}`);
    return [`${written}=${Array.isArray(value) ? value.join(",") : value}`];
  });
}
