import { invalid, RubricateError } from "../../errors";
import { integer } from "../../option_kinds";
import { elementCount } from "../files";
import { defineMethod, type MethodFunction } from "../method";
import type { MethodBase } from "../method_base";
import { aboveZero, checkedOption, rankKind } from "../method_options";
import { normsOf } from "../norm_sites";
import { PlanBuilder, type SitePlan } from "../plan";
import { type Sensitivities, sensitiveMatrices, sensitiveVectors } from "../sensitivities";
import { uniform } from "../start";

export interface SptOptions {
  /** What `sensitivities` found for this model. */
  readonly sensitivities?: Sensitivities;
  /** How many weights are marked: `sensitivities.budget`, which is the default. */
  readonly budget?: number;
  /** Rank of the low-rank updates, 1 to 8,192. Default: 8. */
  readonly rank?: number;
  /** A matrix has a low-rank update if at least rank * (inputs + outputs) / alpha of its weights are marked; above 0. Default: 10. */
  readonly alpha?: number;
  /** A vector is trained, as a whole, if at least its length / beta of its numbers are marked; above 0. Default: 5. */
  readonly beta?: number;
}

/** What an adapter of it has: the options, and what is trained of which tensors of the base. */
export interface SptConfig {
  readonly budget: number;
  readonly rank: number;
  readonly alpha: number;
  readonly beta: number;
  /** Matrices whose marked weights are trained, and how many these are. */
  readonly sparse: readonly { readonly name: string; readonly count: number }[];
  /** Matrices with a low-rank update. */
  readonly lowRank: readonly string[];
  /** Vectors that are trained. */
  readonly vectors: readonly string[];
}

type Parts = Pick<SptConfig, "sparse" | "lowRank" | "vectors">;

const budgetKind = integer(1);
/** Distinguishes these numbers from others of the same seed. */
const stream = 0x53505400;

const missing = () =>
  new RubricateError(
    "ERR_ARGUMENT",
    "Expected sensitivities for the method spt, which trains what data is most sensitive to: give what sensitivities(model, { train, budget }) returns; " +
      "rubricate train finds them itself",
  );

/** Which tensors have which part, by the marks. @throws RubricateError ERR_ARGUMENT */
function partsOf(
  { marked, budget }: Sensitivities,
  { rank, alpha, beta }: Pick<SptConfig, "rank" | "alpha" | "beta">,
  base: MethodBase,
): Parts {
  const left = new Set(marked.keys());
  const countOf = (name: string, shape: readonly number[]) => {
    left.delete(name);
    const count = marked.get(name)?.length ?? 0;
    if (count > elementCount(shape))
      throw invalid(`sensitivities of ${name}`, `at most ${elementCount(shape)} places`, count);
    return count;
  };
  const parts = { sparse: [] as { name: string; count: number }[], lowRank: [] as string[], vectors: [] as string[] };
  let all = 0;
  for (const { name, shape } of sensitiveMatrices(base)) {
    const count = countOf(name, shape);
    all += count;
    if (count === 0) continue;
    if (count >= (rank * (shape[0] + shape[1])) / alpha) parts.lowRank.push(name);
    else parts.sparse.push({ name, count });
  }
  for (const { name, shape } of sensitiveVectors(base)) {
    const count = countOf(name, shape);
    all += count;
    if (count > 0 && count >= shape[0]! / beta) parts.vectors.push(name);
  }
  for (const name of left) throw invalid("sensitivities", "those of this model", `some of a tensor ${name}`);
  if (all !== budget) throw invalid("sensitivities", `${budget} marked weights`, all);
  return parts;
}

/** The parts that a folder's configuration has. @throws RubricateError ERR_ARGUMENT */
function storedParts(given: Partial<Parts>, base: MethodBase): Parts {
  const { sparse, lowRank, vectors } = given;
  if (![sparse, lowRank, vectors].every(Array.isArray)) throw missing();
  const matrices = sensitiveMatrices(base);
  const inOrder = (what: string, names: readonly unknown[], known: readonly string[]) => {
    const places = names.map((name) => known.indexOf(name as string));
    const isAscending = places.every((place, at) => place > (at === 0 ? -1 : places[at - 1]!));
    if (!isAscending) throw invalid(what, "tensors of the base in the order of the model, each once,", names);
  };
  const names = matrices.map(({ name }) => name);
  inOrder("lowRank", lowRank!, names);
  const known = sensitiveVectors(base).map(({ name }) => name);
  inOrder("vectors", vectors!, known);
  const own = sparse!.map((one) => ({ name: one?.name, count: one?.count }));
  const owners = own.map(({ name }) => name);
  inOrder("sparse", owners, names);
  for (const { name, count } of own) {
    const most = elementCount(matrices.find((one) => one.name === name)!.shape);
    if (!(Number.isSafeInteger(count) && count > 0 && count <= most) || lowRank!.includes(name))
      throw invalid(`sparse of ${name}`, `1 to ${most} weights of a matrix that is not in lowRank,`, count);
  }
  return { sparse: own, lowRank: lowRank!, vectors: vectors! };
}

const isSensitivities = (value: unknown): value is Sensitivities => {
  const { marked, budget } = (value ?? {}) as Partial<Sensitivities>;
  return Object.prototype.toString.call(marked) === "[object Map]" && budgetKind.fault(budget) === undefined;
};

/**
 * SPT (He et al., arXiv 2303.08566): of all weights of the base's layers the `budget` are marked to which the loss of the training data is most
 * sensitive. A matrix with many of them has a low-rank update, of another the marked weights alone are trained; vectors with many are
 * trained as a whole.
 */
export const spt: MethodFunction<SptOptions> = defineMethod<SptOptions & Partial<Parts>, SptConfig>({
  kind: "spt",
  options: ["budget", "rank", "alpha", "beta"],
  otherOptions: ["sensitivities", "sparse", "lowRank", "vectors"],
  needsData: true,
  check({ sensitivities, budget, rank = 8, alpha = 10, beta = 5, ...stored }, base) {
    const settings = {
      rank: checkedOption("rank", rankKind, rank),
      alpha: checkedOption("alpha", aboveZero, alpha),
      beta: checkedOption("beta", aboveZero, beta),
    };
    if (sensitivities === undefined) {
      const parts = storedParts(stored, base);
      return { budget: checkedOption("budget", budgetKind, budget!), ...settings, ...parts };
    }
    if (!isSensitivities(sensitivities))
      throw invalid("sensitivities", "what sensitivities(model, { train, budget }) returns", sensitivities);
    if (Object.values(stored).some((part) => part !== undefined))
      throw invalid("sensitivities", "none beside sparse, lowRank and vectors, which follow from them,", sensitivities);
    if (budget !== undefined && budget !== sensitivities.budget)
      throw invalid("budget", `${sensitivities.budget}, that of the sensitivities,`, budget);
    const parts = partsOf(sensitivities, settings, base);
    if (parts.sparse.length + parts.lowRank.length + parts.vectors.length === 0)
      throw invalid(
        "budget",
        "one that marks a weight of a matrix, or enough numbers of a vector,",
        sensitivities.budget,
      );
    return { budget: sensitivities.budget, ...settings, ...parts };
  },
  plan({ rank, sparse, lowRank, vectors }, base) {
    const builder = new PlanBuilder();
    const counts = new Map(sparse.map(({ name, count }) => [name, count]));
    const wanted = new Set([...lowRank, ...vectors]);
    for (let layer = 0; layer < base.layerCount; layer++)
      for (const site of base.siteNames) {
        const linear = base.linear(layer, site);
        const { name, inputs, outputs, at } = linear;
        const own: Partial<Omit<{ -readonly [part in keyof SitePlan]: SitePlan[part] }, "layer" | "site">> = {};
        const count = counts.get(`${name}.weight`);
        if (wanted.has(`${name}.weight`)) {
          const a = builder.parameter(`${name}.spt_A`, [rank, inputs], 0);
          own.low_rank = { a, b: builder.parameter(`${name}.spt_B`, [outputs, rank], 0), factor: 1 };
        } else if (count !== undefined) own.sparse = builder.sparse(linear, count);
        if (wanted.has(`${name}.bias`)) own.bias = builder.undecayed(`${name}.bias_change`, [outputs], 0);
        if (Object.keys(own).length > 0) builder.site({ ...at, ...own });
      }
    for (const { name, at } of normsOf(base.architecture)) {
      const own: { weight?: number; bias?: number } = {};
      for (const part of ["weight", "bias"] as const)
        if (wanted.has(`${name}.${part}`)) own[part] = builder.ofBase(`${name}.${part}`, base.architecture.hidden);
      if (Object.keys(own).length > 0) builder.site({ ...at, own });
    }
    return builder.plan;
  },
  choose: (_weight, { of }, _config, { sensitivities }) => sensitivities!.marked.get(of)!,
  *start({ parameters }, { rank }, seed) {
    for (const [index, { name, shape }] of parameters.entries())
      if (name.endsWith(".spt_A"))
        yield [name, uniform(rank * shape[1]!, 1 / Math.sqrt(shape[1]!), seed, [stream, index])];
  },
});
