/** Arguments of filters, tests and functions, by place and by name. */
import { TemplateFault } from "./budget";
import { isInteger, type Named, textOf, typeName, type Value } from "./values";

export interface CallArguments {
  readonly args: readonly Value[];
  readonly named: Named;
}

/**
 * @param parameters names in order; one that ends in "!" has to be given
 * @returns values in that order; undefined for what was not given
 */
export function bindArguments(
  name: string,
  parameters: readonly string[],
  { args, named }: CallArguments,
): (Value | undefined)[] {
  if (args.length > parameters.length)
    throw new TemplateFault(`${name}() takes ${parameters.length} arguments but ${args.length} were given`);
  const plain = parameters.map((parameter) => parameter.replace("!", ""));
  for (const key of named.keys()) {
    const at = plain.indexOf(key);
    if (at < 0) throw new TemplateFault(`${name}() got an unexpected keyword argument '${key}'`);
    if (at < args.length) throw new TemplateFault(`${name}() got multiple values for argument '${key}'`);
  }
  return plain.map((parameter, at) => {
    const value = at < args.length ? args[at] : named.get(parameter);
    if (value === undefined && parameters[at]!.endsWith("!"))
      throw new TemplateFault(`${name}() missing 1 required positional argument: '${parameter}'`);
    return value;
  });
}

export function integerOf(value: Value | undefined, otherwise: number): number {
  return value === undefined ? otherwise : Number(requireInteger(value));
}

export function requireInteger(value: Value): bigint {
  if (!isInteger(value)) throw new TemplateFault(`'${typeName(value)}' object cannot be interpreted as an integer`);
  return BigInt(value);
}

export function requireText(value: Value): string {
  const text = textOf(value);
  if (text === undefined) throw new TemplateFault(`Expected a str but received a ${typeName(value)}`);
  return text;
}
