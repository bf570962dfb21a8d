/** The flags of `rubricate train` that set options of `Trainer`, made from the table of options, and the options from flags. */
import { type Kind, noValue } from "../option_kinds";
import type { Option, OptionFlag } from "../train/option";
import { type OptionName, optionEntries, type TrainingFlagName, type TrainingOptions } from "../train/option_table";
import type { Flag } from "./flag";

/** Objects and lists are not the value of one flag: `trainingOptionsOf` assembles them. */
type Plain<T> = Extract<T, object> extends never ? NonNullable<T> : unknown;

type ValueOf<F> = F extends OptionName ? Plain<TrainingOptions[F]> : F extends "out" ? string : unknown;

type TrainingFlags = { readonly [F in TrainingFlagName]: Flag<ValueOf<F>> };

const declared = optionEntries.flatMap(([option, declaration]) =>
  (Object.entries(declaration.flags) as [TrainingFlagName, OptionFlag][]).map(([name, flag]) => ({
    name,
    flag,
    option,
    declaration,
  })),
);

/** In the order of the table. */
export const trainingFlagNames: readonly TrainingFlagName[] = declared.map(({ name }) => name);

export const trainingFlags = Object.fromEntries(
  declared.map(({ name, flag, declaration }) => [name, flagOf(flag, declaration)]),
) as TrainingFlags;

function flagOf(flag: OptionFlag, { kind, default: fallback }: Option<unknown, undefined>): Flag<unknown> {
  const { help, alone, placeholder, field } = flag;
  const shown = flag.default ?? (field === undefined ? inWords(fallback) : undefined);
  const own = field === undefined ? kind : kind.fields![field]!;
  const takes: Kind<unknown> = own.placeholder === undefined ? noValue : own;
  return { kind: { ...takes, placeholder: placeholder ?? takes.placeholder }, help, alone, default: shown };
}

/** A default for --help; undefined if it depends on the run or means that the flag is missing. */
function inWords(value: unknown): string | undefined {
  if (typeof value === "number") return value > 0 && value < 0.01 ? value.toExponential() : `${value}`;
  return typeof value === "string" ? value : undefined;
}

/** The flag that sets an option, or a field of it; undefined if there is none. */
export function flagNameOf(option: string, field?: string): TrainingFlagName | undefined {
  const all = declared.filter((one) => one.option === option);
  return (all.find(({ flag }) => flag.field === field) ?? all[0])?.name;
}

/** The options that the given flags set. */
export function trainingOptionsOf(values: { readonly [F in TrainingFlagName]?: unknown }): TrainingOptions {
  const options: Record<string, unknown> = {};
  for (const { name, option, flag } of declared) {
    const value = values[name];
    if (value === undefined) continue;
    const isField = flag.field !== undefined && typeof value !== "boolean";
    options[option] = isField ? { ...(options[option] as object), [flag.field]: value } : value;
  }
  return options;
}
