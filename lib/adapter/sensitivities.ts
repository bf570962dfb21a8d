/** Which weights of a base matter most for some data: what spt chooses its parameters by. */
import type { MethodBase } from "./method_base";
import { normsHaveBias, normsOf } from "./norm_sites";

/** The weights of a model that data is most sensitive to, of all that `spt` can train; `sensitivities` finds them. */
export interface Sensitivities {
  /** How many are marked. */
  readonly budget: number;
  /** The places of the marked ones, ascending, by rows, of each tensor that has some, by its canonical name. */
  readonly marked: ReadonlyMap<string, Int32Array>;
}

/** A tensor of a base that has sensitivities. */
export interface SensitiveTensor {
  readonly name: string;
  /** [outputs, inputs] of a linear layer's matrix, [width] of a bias or of a norm's weight or bias. */
  readonly shape: readonly number[];
}

/** The matrices of linear layers, in the order of the model. */
export function sensitiveMatrices(base: MethodBase) {
  return Array.from({ length: base.layerCount }, (_, layer) =>
    base.siteNames.map((site) => {
      const { name, outputs, inputs, at } = base.linear(layer, site);
      return { name: `${name}.weight`, shape: [outputs, inputs] as const, at };
    }),
  ).flat();
}

/** Biases of linear layers, and weights and biases of norms, in this order. */
export function sensitiveVectors(base: MethodBase): SensitiveTensor[] {
  const present = new Set(base.tensors);
  const biases = sensitiveMatrices(base).map(({ name, shape }) => ({
    name: name.replace(/weight$/, "bias"),
    shape: [shape[0]],
  }));
  const width = base.architecture.hidden;
  const norms = normsOf(base.architecture).flatMap(({ name }) =>
    (normsHaveBias(base.architecture) ? ["weight", "bias"] : ["weight"]).map((part) => ({
      name: `${name}.${part}`,
      shape: [width],
    })),
  );
  return [...biases.filter(({ name }) => present.has(name)), ...norms];
}
