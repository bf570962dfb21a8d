/** What the steps of a plan compute with: the values of its parameters, its derived values and its constants. */
import { elementCount } from "./files";
import type { AdapterPlan, PlanValue } from "./plan";

/** A matrix or a vector, by rows, with its shape. */
export interface ShapedValue {
  readonly shape: readonly number[];
  readonly values: Float32Array;
}

/** Finds values by what stands for them in a plan. */
export class PlanValues {
  private readonly values: readonly ShapedValue[];

  /**
   * @param values the parameters, in the plan's order
   * @param derived the derived values, in the plan's order
   */
  constructor(
    private readonly plan: AdapterPlan,
    values: Float32Array,
    derived: Float32Array,
  ) {
    this.values = [...parts(plan.parameters, values), ...parts(plan.derived ?? [], derived)];
  }

  /** A parameter or a derived value. */
  of(value: PlanValue): ShapedValue {
    const index = typeof value === "number" ? value : this.plan.parameters.length + value.derived;
    return this.values[index]!;
  }

  constant(index: number): ShapedValue {
    const { shape, values } = this.plan.constants![index]!;
    return { shape, values: values! };
  }
}

function parts(list: readonly { readonly shape: readonly number[] }[], flat: Float32Array): ShapedValue[] {
  let end = 0;
  return list.map(({ shape }) => {
    const begin = end;
    end += elementCount(shape);
    return { shape, values: flat.subarray(begin, end) };
  });
}
