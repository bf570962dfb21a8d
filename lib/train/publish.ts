/** When a run's adapter becomes a version that an engine answers with. */
import type { Adapter } from "../adapter/adapter";
import { invalid, RubricateError } from "../errors";
import { integer } from "../option_kinds";
import { checkOptions, isMissing, isRecord, type OptionNames, readArgument } from "../options";
import type { RunHooks } from "./run_hooks";

/** What a run publishes into: an Engine. */
export interface Publisher {
  readonly adapters: {
    /** Makes a copy of the adapter's present values the current version of a name. */
    set(name: string, adapter: Adapter): Promise<unknown>;
  };
}

export interface PublishOptions {
  readonly engine: Publisher;
  /** The adapter's name in the engine. */
  readonly name: string;
  /**
   * "best": after each evaluation with the lowest loss so far; "end": after the last step, with `keepBest` the best's values;
   * or after every so many steps. Default: "end".
   */
  readonly when?: "best" | "end" | { readonly everySteps: number };
}

const names: OptionNames<PublishOptions> = { engine: true, name: true, when: true };
const everyNames: OptionNames<{ everySteps: number }> = { everySteps: true };
const steps = integer(1);

/**
 * The hooks of a run that publishes. The run makes no step until a version is made, so that it is of one update, and that
 * which was evaluated. An error of publishing ends the run.
 * @throws RubricateError ERR_ARGUMENT naming the option
 */
export function publishing(
  given: PublishOptions | null | undefined,
  adapter: Adapter,
  evaluates: boolean,
): RunHooks | undefined {
  if (isMissing(given)) return undefined;
  const { engine, name, when } = checkOptions(given, names, "publish");
  const what = "an Engine";
  const isEngine = readArgument("publish.engine", what, () => typeof engine?.adapters?.set === "function");
  if (!isEngine) throw invalid("publish.engine", what, engine);
  if (typeof name !== "string" || name === "") throw invalid("publish.name", "the name of an adapter", name);
  const publish = async () => void (await engine.adapters.set(name, adapter));
  if (isMissing(when) || when === "end") return { onEnd: publish };
  if (when === "best") {
    if (!evaluates) throw new RubricateError("ERR_ARGUMENT", 'publish.when "best" needs eval');
    return { onBest: publish };
  }
  if (!isRecord(when)) throw invalid("publish.when", '"best", "end" or { everySteps }', when);
  const { everySteps } = checkOptions(when, everyNames, "publish.when");
  const expected = steps.fault(everySteps);
  if (expected !== undefined) throw invalid("publish.when.everySteps", expected, everySteps);
  return { onStep: async (step) => (step % everySteps === 0 ? publish() : undefined) };
}
