/** Tensors, tapes and ops. */
import * as api from "../../../lib/index";
import { missing, none, noOptions, type PublicCall, type Subjects, withoutNull } from "./support";

const square = (s: Subjects) => s.tensor(2, 2);
const pair = (s: Subjects) => s.tensor(2);
const rows = () => ({ starts: Int32Array.of(0, 2), slots: Int32Array.of(1) });
const loss = () => ({ rows: Int32Array.of(0), targets: Int32Array.of(1), weights: Float32Array.of(1) });

export const tensors: Record<string, PublicCall> = {
  "Tensor.from": {
    args: () => [[1, 2], [2], "float32", {}],
    call: (_, args) => api.Tensor.from(...(args as never as Parameters<typeof api.Tensor.from>)),
    options: () => ({ requiresGrad: true }),
    takes: { 2: withoutNull, 3: noOptions, requiresGrad: `${missing} true false` },
    codes: ["ERR_SHAPE", "ERR_DTYPE"],
  },
  "Tensor#data": { args: none, call: (s) => pair(s).data() },
  "Tensor#grad": { args: none, call: (s) => pair(s).grad() },
  "Tensor#zeroGrad": { args: none, call: (s) => pair(s).zeroGrad() },
  "Tensor#set": {
    args: () => [[3, 4]],
    call: (s, [data]) => pair(s).set(data!),
    codes: ["ERR_SHAPE"],
  },
  "new Tape": { args: none, call: () => new api.Tape() },
  "Tape#backward": {
    args: (s) => [api.ops.sum(s.tape, square(s)), s.tensor(1)],
    call: (s, args) => s.tape.backward(...(args as never as [api.Tensor])),
    takes: { 1: missing },
    codes: ["ERR_FOREIGN"],
  },
  "Tape#clear": { args: none, call: (s) => s.tape.clear() },
};

type OpName = keyof typeof api.ops;

/** Arguments after the tape. */
const args: Record<Exclude<OpName, "adamwStep" | "gradientNorm">, (s: Subjects) => unknown[]> = {
  linear: (s) => [square(s), square(s), pair(s)],
  rmsNorm: (s) => [square(s), pair(s), 1e-5],
  redEdit: (s) => [square(s), [pair(s)], [null], rows()],
  layerNorm: (s) => [square(s), pair(s), pair(s), 1e-5],
  editAddNorm: (s) => [square(s), square(s), { scales: [null], biases: [pair(s)] }, { weight: pair(s) }],
  swiglu: (s) => [square(s), square(s)],
  rope: (s) => [square(s), 1, Int32Array.of(0, 1), Float32Array.of(1)],
  attention: (s) => [square(s), square(s), square(s), { heads: 1 }],
  embedding: (s) => [Int32Array.of(0, 1), square(s)],
  headCrossEntropy: (s) => [square(s), square(s), loss()],
  crossEntropy: (s) => [square(s), Int32Array.of(0, 1)],
  add: (s) => [square(s), square(s)],
  multiply: (s) => [square(s), square(s)],
  scaleBy: (s) => [square(s), 2],
  silu: (s) => [square(s)],
  sum: (s) => [square(s)],
  meanSquaredError: (s) => [square(s), square(s)],
  cast: (s) => [square(s), "bfloat16"],
};

/** Odd values that an op accepts, by the argument's number (the tape is 0) or the option's name. */
const takes: Partial<Record<OpName, Record<string, string>>> = {
  linear: { 3: missing },
  rmsNorm: { 3: "undefined zero one half" },
  redEdit: { 4: missing },
  layerNorm: { 4: "undefined zero one half" },
  editAddNorm: { 4: missing },
  rope: { 2: "one" },
  attention: { heads: "one", kvHeads: "undefined one", scale: "undefined zero one half minus", starts: missing },
  embedding: { 1: "detached" },
  scaleBy: { 2: "zero one half minus" },
};

/** Options of the argument that has them, which is moved to the end. */
const options: Partial<Record<OpName, (s: Subjects) => Record<string, unknown>>> = {
  attention: () => ({ heads: 1, kvHeads: 1, scale: 0.5, starts: Int32Array.of(0, 2) }),
  headCrossEntropy: loss,
  redEdit: rows,
};

const shapes: readonly api.ErrorCode[] = ["ERR_SHAPE", "ERR_DTYPE", "ERR_FOREIGN"];
const run = (name: OpName) => (_: Subjects, all: never[]) =>
  (api.ops as unknown as Record<string, (...all: unknown[]) => unknown>)[name]!(...all);

export const operations: Record<string, PublicCall> = Object.fromEntries(
  Object.entries(args).map(([key, rest]) => {
    const name = key as OpName;
    const withTape = (s: Subjects) => [s.tape, ...rest(s)];
    return [
      `ops.${name}`,
      { args: withTape, call: run(name), options: options[name], takes: takes[name], codes: shapes },
    ];
  }),
);

operations["ops.editAddNorm by its edit"] = {
  args: (s) => [{ scales: [null], biases: [pair(s)] }],
  call: (s, [edit]) => api.ops.editAddNorm(s.tape, square(s), square(s), edit!),
  options: (s) => ({ scales: [null], biases: [pair(s)], rows: rows() }),
  takes: { rows: missing },
  codes: shapes,
};
operations["ops.adamwStep"] = {
  args: (s) => [square(s), square(s), square(s), square(s), 1, { learningRate: 1 }],
  call: run("adamwStep"),
  options: () => ({
    learningRate: 0.1,
    beta1: 0.8,
    beta2: 0.9,
    epsilon: 1e-6,
    weightDecay: 0.1,
    decayTarget: 1,
    gradScale: 0.5,
  }),
  takes: {
    4: "one",
    learningRate: "zero one half",
    beta1: "undefined zero half",
    beta2: "undefined zero half",
    epsilon: "undefined zero one half",
    weightDecay: "undefined zero one half",
    decayTarget: `${missing} zero one half minus`,
    gradScale: `${missing} zero one half minus`,
  },
  codes: shapes,
};
operations["ops.gradientNorm"] = {
  args: (s) => [[square(s)]],
  call: run("gradientNorm"),
  takes: { 0: "array" },
  codes: shapes,
};
