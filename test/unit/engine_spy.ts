/** Looks at what a model's engine hands to JavaScript. */
import type { LanguageModel } from "../../lib/model/model";
import type { NativeModel, NativeOutputs } from "../../lib/native";

/** Calls back for each call into JavaScript, with its rows of (request, kind, value, position). */
export function spyOnEngine(model: LanguageModel, onCall: (rows: readonly (readonly number[])[]) => void): () => void {
  const { native } = model;
  const createEngine: NativeModel["createEngine"] = (options, onOutputs) => {
    const spied: NativeOutputs = (rows, numbers, failures) => {
      onCall(Array.from({ length: rows.length / 4 }, (_, at) => [...rows.subarray(4 * at, 4 * at + 4)]));
      onOutputs(rows, numbers, failures);
    };
    return Object.getPrototypeOf(native).createEngine.call(native, options, spied);
  };
  Object.defineProperty(native, "createEngine", { value: createEngine, configurable: true });
  return () => {
    delete (native as Partial<NativeModel>).createEngine;
  };
}
