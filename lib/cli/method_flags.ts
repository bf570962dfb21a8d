/** The flags of adapters' methods: which there are, and which a method takes, from the list of methods. */
import { usualTargets } from "../adapter/ia3_config";
import type { MethodCall } from "../adapter/method";
import { type MethodKind, methodFunctionOf, methodOf, methods } from "../adapter/methods";
import { kebab } from "./arguments";
import { UsageError } from "./command";
import { type FlagName, flags, type Values } from "./flags";

/** Each once, in the order of --help. A test checks that each option of a method is a flag. */
export const methodFlags: readonly FlagName[] = [...new Set(methods.flatMap(({ options }) => options))].filter(
  (name): name is FlagName => Object.hasOwn(flags, name),
);

/** @throws UsageError for a flag that the method ("full" takes none) does not take, or one that contradicts another */
export function checkMethodFlags(method: string, values: Values): void {
  const own: readonly string[] = methodOf(method)?.options ?? [];
  for (const name of methodFlags)
    if (values[name] !== undefined && !own.includes(name))
      throw new UsageError(`Expected no --${kebab(name)} with --method ${method}`);
  const { feedforwardModules, targetModules = usualTargets } = values;
  const other =
    targetModules === "all-linear" ? undefined : feedforwardModules?.find((name) => !targetModules.includes(name));
  if (other !== undefined)
    throw new UsageError(
      `Expected some of --target-modules (${targetModules}) for --feedforward-modules but received ${other}`,
    );
}

/** For a command that trains. @throws UsageError if the method's choice of weights lacks a number of them */
export function requireBudget(method: string, { budget }: Values): void {
  if (methodOf(method)?.needsData && budget === undefined)
    throw new UsageError(`Expected --budget with --method ${method}: how many weights to mark`);
}

/** The options of a method among the flags. */
export function methodOptions(method: string, values: Values): Readonly<Record<string, unknown>> {
  const own: readonly string[] = methodOf(method)?.options ?? [];
  return Object.fromEntries(
    own.map((name) => [name, values[name as FlagName]]).filter(([, value]) => value !== undefined),
  );
}

/**
 * A method with the options among the flags, for `createAdapter`.
 * @param more options that no flag gives
 */
export function methodCall(method: MethodKind, values: Values, more: object = {}): MethodCall {
  return methodFunctionOf(method)({ ...methodOptions(method, values), ...more });
}
