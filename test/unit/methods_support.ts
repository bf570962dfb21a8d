/** A method of a test's own. */
import { defineMethod, type Method } from "../../lib/adapter/method";
import { PlanBuilder } from "../../lib/adapter/plan";

export interface ShiftOptions {
  readonly size?: number;
  readonly sites?: readonly ("q" | "ffn")[];
  readonly layers?: readonly number[] | "all";
}

/** A bias at some sites, whose first values are numbers up to `size`. */
export const shiftMethod: Method<ShiftOptions, Required<ShiftOptions>> = {
  kind: "shift",
  options: ["size", "sites", "layers"],
  learningRate: 0.02,
  check: ({ size = 1, sites = ["ffn"], layers = "all" }, base) => ({
    size,
    sites: base.sites(sites) as ("q" | "ffn")[],
    layers: base.layers(layers),
  }),
  plan({ sites, layers }, base) {
    const builder = new PlanBuilder();
    for (const layer of layers as readonly number[])
      for (const site of sites) {
        const { name, outputs, at } = base.linear(layer, site);
        builder.site({ ...at, bias: builder.parameter(`${name}.shift`, [outputs], 0) });
      }
    return builder.plan;
  },
  *start({ parameters }, { size }, seed) {
    for (const { name, shape } of parameters)
      yield [name, Float32Array.from({ length: shape[0]! }, (_, at) => (size * ((at + seed) % 7)) / 7)];
  },
};
export const shift = defineMethod(shiftMethod);
