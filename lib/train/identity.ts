/** A run's identity, stored in its checkpoints: the options that option_table.ts declares as part of it. */
import { optionEntries } from "./option_table";
import type { TrainerSettings } from "./options";

/** The identity of a run: a run that resumes it must have equal fields. */
export type RunIdentity = Readonly<Record<string, unknown>>;

/**
 * The settings that a run must share with the one that it resumes. That its learning rate was found by a sweep is said too: a
 * run with "sweep" resumes with that rate.
 */
export function identityOf(settings: TrainerSettings): RunIdentity {
  const fields = optionEntries.flatMap(([name, { identity }]) => {
    if (identity === false) return [];
    const replaced = identity !== true && settings[identity.unless] !== undefined;
    return [[name, replaced ? null : (settings[name] ?? null)]];
  });
  const { method, ...others } = Object.fromEntries(fields) as Record<string, unknown>;
  const swept = settings.learningRateFrom === "sweep" ? { learningRateFrom: "sweep" } : {};
  return { method, adapter: settings.adapter?.config ?? null, ...others, ...swept };
}
