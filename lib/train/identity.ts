/** What a checkpoint stores of a run's options: those that option_table.ts declares to be part of the run's identity. */
import { optionEntries } from "./option_table";
import type { Settings } from "./options";

/** What a run is: one that resumes it must agree in every field. */
export type RunIdentity = Readonly<Record<string, unknown>>;

/** What of the settings a run must share with the one that it resumes. */
export function identityOf(settings: Settings): RunIdentity {
  const fields = optionEntries.flatMap(([name, { identity }]) => {
    if (identity === false) return [];
    const replaced = identity !== true && settings[identity.unless] !== undefined;
    return [[name, replaced ? null : (settings[name] ?? null)]];
  });
  const { method, ...others } = Object.fromEntries(fields) as Record<string, unknown>;
  return { method, adapter: settings.adapter?.config ?? null, ...others };
}
