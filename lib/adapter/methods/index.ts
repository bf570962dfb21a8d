/**
 * The methods of this package: the one list, from which the command line, `inspect --method`, the names of `Trainer`'s option
 * `method` and `loadAdapter` have theirs.
 */
import type { AnyMethod, MethodFunction } from "../method";
import { bitfit } from "./bitfit";
import { bottleneck } from "./bottleneck";
import { ether, etherPlus } from "./ether";
import { gift } from "./gift";
import { hiwi } from "./hiwi";
import { ia3 } from "./ia3";
import { lora } from "./lora";
import { lorettaAdp, lorettaRep } from "./loretta";
import { lorta } from "./lorta";
import { melora } from "./melora";
import { norms } from "./norms";
import { pafi } from "./pafi";
import { red } from "./red";
import { sara } from "./sara";
import { sibo } from "./sibo";
import { spt } from "./spt";

/** By their names, in the order of --help. */
const functions = {
  ...{ red, lora, ia3, bitfit, norms, bottleneck, melora, sibo, gift, pafi, sara, spt },
  ...{ ether, "ether+": etherPlus, hiwi, lorta, loretta_rep: lorettaRep, loretta_adp: lorettaAdp },
};

/** The name of a method of this package. */
export type MethodKind = keyof typeof functions;

export const methodKinds = Object.keys(functions) as readonly MethodKind[];

export const methods: readonly AnyMethod[] = Object.values(functions).map(({ method }) => method);

/** The method of a name; undefined if there is none. */
export const methodOf = (kind: string): AnyMethod | undefined => methods.find((method) => method.kind === kind);

/** The same as the function of its options. */
export const methodFunctionOf = (kind: MethodKind): MethodFunction => functions[kind] as MethodFunction;
