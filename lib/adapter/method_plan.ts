/** What a method's functions return, checked before anything is made of it: a method may be a user's, in JavaScript. */
import { isDeepStrictEqual } from "node:util";
import { formatJson, invalid } from "../errors";
import { isObject } from "../files/json";
import { limits } from "../limits";
import { elementCount } from "./files";
import type { AnyMethod } from "./method";
import type { MethodBase } from "./method_base";
import type { AdapterPlan, PlanIndex } from "./plan";

const mostDepth = 64;
const isFloat32 = (value: unknown): value is Float32Array =>
  Object.prototype.toString.call(value) === "[object Float32Array]";
const isShape = (value: unknown): value is readonly number[] =>
  Array.isArray(value) && value.every((size) => Number.isSafeInteger(size) && size > 0);
/** A name that a safetensors file can have. */
const isName = (value: unknown): value is string =>
  typeof value === "string" && /^[^\0]{1,256}$/.test(value) && value !== "__metadata__";

/**
 * The method's plan. The core checks sites, steps and shapes; this checks what the core does not see.
 * @throws RubricateError ERR_PLAN
 */
export function planOf(method: AnyMethod, config: object, base: MethodBase): AdapterPlan {
  const whose = `of method ${method.kind}`;
  const plan: unknown = method.plan(config, base);
  const given = (isObject(plan) ? plan : {}) as Partial<AdapterPlan>;
  const { parameters, sites, constants = [], derived = [], indices = [] } = given;
  if (!Array.isArray(parameters) || !Array.isArray(sites) || ![constants, derived, indices].every(Array.isArray))
    throw invalid(`the plan ${whose}`, "an object with lists of parameters and sites", plan, "ERR_PLAN");
  requireJson({ ...(plan as AdapterPlan), constants: undefined }, `the plan ${whose}`, "ERR_PLAN");
  const names = new Set<string>();
  for (const parameter of [...parameters!, ...indices] as readonly unknown[]) {
    const name = isObject(parameter) ? parameter.name : undefined;
    const what = 'a string of 1 to 256 characters, not "__metadata__"';
    if (!isName(name)) throw invalid(`the name of a parameter ${whose}`, what, name, "ERR_PLAN");
    if (names.has(name)) throw invalid(`the parameters ${whose}`, "a name of its own for each", name, "ERR_PLAN");
    names.add(name);
  }
  for (const constant of constants as readonly unknown[]) {
    const { name, shape, values, ofBase } = isObject(constant) ? constant : {};
    if (!isName(name) || !isShape(shape))
      throw invalid(`a constant ${whose}`, "a name and a shape", constant, "ERR_PLAN");
    if (ofBase === true) {
      if (values !== undefined || shape.length !== 1)
        throw invalid(
          `the constant ${name} ${whose}`,
          "a vector without values, since it is the base's,",
          constant,
          "ERR_PLAN",
        );
    } else if (!isFloat32(values) || values.length !== elementCount(shape))
      throw invalid(`the constant ${name} ${whose}`, `a Float32Array of ${elementCount(shape)}`, values, "ERR_PLAN");
  }
  requireTraining(method, given);
  requireIndices(method, parameters as AdapterPlan["parameters"], indices);
  return plan as AdapterPlan;
}

function requireTraining({ kind }: AnyMethod, { freeze, nuclear_norm, indices = [] }: Partial<AdapterPlan>): void {
  const isFactor = typeof nuclear_norm === "number" && nuclear_norm > 0 && nuclear_norm <= limits.maxPositive;
  if (nuclear_norm !== undefined && (!isFactor || indices.length === 0))
    throw invalid(
      `nuclear_norm of the plan of method ${kind}`,
      "a positive number, in a plan with indices,",
      nuclear_norm,
      "ERR_PLAN",
    );
  if (freeze === undefined) return;
  const { at, magnitude } = isObject(freeze) ? freeze : {};
  const isShare = typeof at === "number" && at > 0 && at < 1;
  if (!isShare || !(magnitude === null || (typeof magnitude === "number" && magnitude > 0)) || indices.length === 0)
    throw invalid(
      `freeze of the plan of method ${kind}`,
      "a share between 0 and 1 for at and a positive number or null for magnitude, in a plan with indices,",
      freeze,
      "ERR_PLAN",
    );
}

function requireIndices(
  method: AnyMethod,
  parameters: AdapterPlan["parameters"],
  indices: readonly Partial<PlanIndex>[],
): void {
  const whose = `of method ${method.kind}`;
  for (const { name, of, shape, count } of indices) {
    if (!isName(of) || !isShape(shape) || shape.length !== 2)
      throw invalid(`the index ${name} ${whose}`, "the name and the two sizes of a matrix", { of, shape }, "ERR_PLAN");
    if (count !== undefined && !(Number.isSafeInteger(count) && count > 0 && count <= elementCount(shape)))
      throw invalid(`the count of ${name} ${whose}`, `an integer from 1 to ${elementCount(shape)}`, count, "ERR_PLAN");
  }
  for (const { name, entriesOf } of parameters)
    if (entriesOf !== undefined && indices[entriesOf] === undefined)
      throw invalid(`entriesOf of ${name} ${whose}`, `a place among ${indices.length} indices`, entriesOf, "ERR_PLAN");
  if (indices.length > 0 && !method.choose)
    throw invalid(`the method ${method.kind}, whose plan has indices,`, "a function choose", undefined, "ERR_PLAN");
}

/**
 * Whether a value is what JSON can hold: it is written into a folder, or given to the core.
 * @throws RubricateError naming the field
 */
export function requireJson(value: unknown, where: string, code: "ERR_ARGUMENT" | "ERR_PLAN", depth = 0): void {
  const what = "null, true, false, a finite number, a string, or a list or object of these";
  if (value === null || typeof value === "boolean" || typeof value === "string") return;
  if (typeof value === "number" && Number.isFinite(value)) return;
  if (typeof value !== "object" || depth > mostDepth || !isPlain(value)) throw invalid(where, what, value, code);
  for (const [name, own] of Object.entries(value))
    if (own !== undefined || Array.isArray(value)) requireJson(own, `${where}, ${name}`, code, depth + 1);
}

function isPlain(value: object): boolean {
  const prototype: unknown = Object.getPrototypeOf(value);
  return Array.isArray(value) || prototype === null || Object.getPrototypeOf(prototype) === null;
}

/**
 * Whether checking a configuration again leaves it as it is, as loading a folder needs.
 * @throws RubricateError ERR_ARGUMENT
 */
export function requireStable(kind: string, config: object, again: object): void {
  if (!isDeepStrictEqual(again, config))
    throw invalid(`the configuration that ${kind} checked`, `${formatJson(config)} if it is checked again`, again);
}
