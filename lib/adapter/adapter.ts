/** What the adapters of all methods share. */
import { resolve } from "node:path";
import { adapterBrand, requireModel } from "../brands";
import { invalid, RubricateError } from "../errors";
import { type FileContents, writeInto } from "../files/atomic";
import { requireNoModel } from "../files/model_folder";
import { readTogether } from "../files/read_together";
import { isClaimed } from "../in_use";
import type { BaseFingerprint, LanguageModel } from "../model/model";
import type { ModelAdapter } from "../model_arguments";
import { type NativeAdapter, type NativeModel, native } from "../native";
import { type Notice, reportNotices } from "../notices";
import { booleanOf, checkOptions, functionOf, lengthOf, type OptionNames, pathOf, readArgument } from "../options";
import type { RedAdapterConfig, RedSite } from "./config";
import { configFile, elementCount, tensorFile } from "./files";
import type { Ia3AdapterConfig } from "./ia3_config";
import type { LoraAdapterConfig } from "./lora_config";
import type { AdapterPlan, PlanEntries } from "./plan";

export interface LoadAdapterOptions {
  /** Accept an adapter that was trained on another base if its parameters fit. Default: false. */
  readonly allowBaseMismatch?: boolean;
  /**
   * Called with each difference from the model that it was trained with; see the adapter's `notices`. Default:
   * `process.emitWarning`.
   */
  readonly onNotice?: (notice: Notice) => void;
}

/** What an adapter of another method than RED, LoRA and (IA)3 has: its options, checked, with their defaults. */
export type MethodConfig = Readonly<Record<string, unknown>>;

/** What an adapter changes: of a `RedAdapter`, a `LoraAdapter`, an `Ia3Adapter`, or a `MethodAdapter`. */
export type AdapterConfig = RedAdapterConfig | LoraAdapterConfig | Ia3AdapterConfig | MethodConfig;

/** How an adapter changes its base: the kind of its method. */
export type AdapterMethod = "red" | "lora" | "ia3" | OtherMethod;

/** The kind of another method. It is a string; the mark only keeps comparisons with the three others exact in TypeScript. */
export type OtherMethod = string & { readonly [otherMethod]: true };
declare const otherMethod: unique symbol;

/**
 * An adapter of a model: a `RedAdapter`, a `LoraAdapter`, an `Ia3Adapter`, or a `MethodAdapter`. Its parameters and their gradients are fp32,
 * independent of the base's dtype.
 */
export abstract class Adapter implements ModelAdapter {
  /** @internal */
  readonly [adapterBrand] = true;
  private disposed = false;

  /** How it changes its base. */
  abstract readonly method: AdapterMethod;
  /** What it changes, as its folder records it. */
  abstract readonly config: AdapterConfig;
  /** The linear layers that it changes. @internal */
  abstract readonly sites: readonly RedSite[];

  /** @internal */
  protected constructor(
    protected readonly model: LanguageModel,
    private readonly handle: NativeAdapter,
    /** Differences between the model that it was loaded for and the one that it was trained with; empty for a new adapter. */
    readonly notices: readonly Notice[],
  ) {}

  /** What the core runs. @internal */
  abstract plan(): AdapterPlan;

  /** What loads its folder, for messages. @internal */
  abstract readonly loader: string;

  /** The default learning rate of its method for narrow models; undefined: lib/train/learning_rates.ts has it. @internal */
  readonly usualRate: number | undefined = undefined;

  /** The files of its folder. @internal */
  abstract files(): Promise<FileContents[]>;

  /** The base that it belongs to. @internal */
  base(): Promise<BaseFingerprint> {
    return this.model.fingerprint();
  }

  /** The folder of its base. @internal */
  get baseDir(): string {
    return this.model.dir;
  }

  /**
   * Writes the adapter into a folder, which is created if needed; other files in it stay. Atomic: after a crash or with a
   * full disk the earlier adapter is still there.
   * @throws RubricateError ERR_FILE, also if the folder has a model; ERR_NOT_FINITE, ERR_DISPOSED
   */
  async savePretrained(dir: string): Promise<void> {
    const folder = resolve(pathOf("dir", dir));
    await writeInto(folder, await this.files(), async () => {
      await requireNoModel(folder);
      return [];
    });
  }

  /** The handle of the native core. @internal */
  get native(): NativeAdapter {
    if (this.disposed) throw new RubricateError("ERR_DISPOSED", "Expected an adapter in use but it was disposed of");
    return this.handle;
  }

  /**
   * The handle, for a call of `model`. Values trained on one model are meaningless for another model of the same shape.
   * @throws RubricateError ERR_FOREIGN, ERR_DISPOSED
   * @internal
   */
  nativeFor(model: { readonly dir: string; readonly native: NativeModel }): NativeAdapter {
    if (this.model !== model && !haveSameCore(this.model, model))
      throw new RubricateError(
        "ERR_FOREIGN",
        `Expected an adapter of this model (${model.dir}) but received one that was created or loaded for another model ` +
          `object (${this.model.dir}); load it for this model: ${this.loader}(dir, model)`,
      );
    return this.native;
  }

  /** The name of each parameter in a folder, in the order of the handle's names. @internal */
  storedNames(): readonly string[] {
    return [...this.native.names];
  }

  /** The shape of each parameter in a folder, in the order of the handle's names. @internal */
  storedShapes(): readonly (readonly number[])[] {
    return this.native.shapes;
  }

  /** The entries of its sparse updates by the name of their index in a folder; none for most methods. @internal */
  storedEntries(): ReadonlyMap<string, Int32Array> {
    const { indices = [] } = this.plan();
    if (indices.length === 0) return new Map();
    const entries = this.native.indices();
    return new Map(indices.map(({ name }, at) => [name, entries[at]!]));
  }

  /** Trainable numbers. */
  get parameterCount(): number {
    return this.native.shapes.reduce((sum, shape) => sum + elementCount(shape), 0);
  }

  /** Copies of the parameters by name, fp32; a matrix by rows. The subclass says what there is. */
  vectors(): Map<string, Float32Array> {
    return this.byName(this.native.values());
  }

  /** Gradients of the last backward, before clipping, by the same names. */
  gradients(): Map<string, Float32Array> {
    return this.byName(this.native.gradients());
  }

  /**
   * Overwrites parameters by name; the others stay. If one is refused, none is written.
   * @throws RubricateError ERR_ARGUMENT for an unknown name, ERR_SHAPE, ERR_NOT_FINITE, ERR_BUSY while a job or a training
   * run uses the adapter
   */
  setVectors(vectors: ReadonlyMap<string, Float32Array>): void {
    if (isClaimed(this.native))
      throw new RubricateError("ERR_BUSY", "The adapter is in use by a training run that has not ended");
    const values = this.native.values(takeSpare(this.parameterCount));
    const places = this.byName(values, true);
    readArgument("vectors", "a Map of names and numbers", () => {
      if (Object.prototype.toString.call(vectors) !== "[object Map]")
        throw invalid("vectors", "a Map of names and numbers", vectors);
      for (const [name, given] of vectors) {
        const place = places.get(name);
        if (!place) throw invalid("vectors", `names among ${this.native.names[0]}, ...`, name);
        setVector(name, place, given);
      }
    });
    this.native.setValues(values);
    spare = new WeakRef(values);
  }

  /** Frees its memory. Further calls throw ERR_DISPOSED. */
  dispose(): void {
    if (this.disposed) return;
    this.disposed = true;
    this.handle.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  private byName(flat: Float32Array, shared = false): Map<string, Float32Array> {
    const { names, shapes } = this.native;
    const vectors = new Map<string, Float32Array>();
    let start = 0;
    for (const [at, name] of names.entries()) {
      const end = start + elementCount(shapes[at]!);
      vectors.set(name, shared ? flat.subarray(start, end) : flat.slice(start, end));
      start = end;
    }
    return vectors;
  }
}

/** The handle of a new adapter of a model. @param entries of the plan's indices */
export function newHandle(model: LanguageModel, plan: AdapterPlan, entries: PlanEntries = []): NativeAdapter {
  const { constants = [], indices = [], freeze, nuclear_norm, ...own } = plan; // the last two are a run's
  const text = JSON.stringify({
    ...own,
    parameters: plan.parameters.map(({ ofBase, entriesOf, ...rest }) => rest), // the core does not set first values
    ...(constants.length > 0 && { constants: constants.map(({ name, shape }) => ({ name, shape })) }),
    ...(indices.length > 0 && {
      indices: indices.map(({ name, shape }, at) => ({ name, shape, count: entries[at]!.length })),
    }),
  });
  const values = constants.map((constant) => constant.values!);
  return new (native().Adapter)(
    JSON.stringify(model.architecture),
    text,
    constants.length > 0 ? joined(values, Float32Array) : undefined,
    indices.length > 0 ? joined(entries, Int32Array) : undefined,
  );
}

function joined<T extends Float32Array | Int32Array>(parts: readonly T[], Kind: new (length: number) => T): T {
  const all = new Kind(parts.reduce((sum, { length }) => sum + length, 0));
  let begin = 0;
  for (const part of parts) {
    all.set(part, begin);
    begin += part.length;
  }
  return all;
}

/**
 * The numbers of the last `setVectors`, for the next one: garbage of the size of an adapter at each call would come to a
 * large part of the memory of many adapters before it is collected.
 */
let spare: WeakRef<Float32Array> | undefined;

/** Takes it, since a getter of what was given may call `setVectors` too. */
function takeSpare(count: number): Float32Array | undefined {
  const taken = spare?.deref();
  if (taken?.length !== count) return undefined;
  spare = undefined;
  return taken;
}

/** Whether two objects are the same model, as a proxy and its target are. */
function haveSameCore(one: { readonly native: NativeModel }, other: { readonly native: NativeModel }): boolean {
  try {
    return one.native === other.native;
  } catch {
    return false; // one of them was disposed of
  }
}

const loadOptionNames: OptionNames<LoadAdapterOptions> = { allowBaseMismatch: true, onNotice: true };

/**
 * What `fromPretrained` of all methods does: reads a folder's two files together, which may be replaced meanwhile, and reports
 * the adapter's notices.
 * @param what `fromPretrained` of the method's class, for messages
 * @param load loads the method's adapter; takesAny: of any base that it fits
 * @throws RubricateError ERR_ARGUMENT, ERR_FILE, ERR_DISPOSED, and what `load` throws
 */
export async function loadFolder<T extends Adapter>(
  dir: string,
  model: LanguageModel,
  options: LoadAdapterOptions,
  what: string,
  load: (folder: string, takesAny: boolean) => Promise<T>,
): Promise<T> {
  const folder = resolve(pathOf("dir", dir)); // before the working directory can change
  requireModel(model);
  const { allowBaseMismatch, onNotice } = checkOptions(options, loadOptionNames, what);
  const takesAny = booleanOf("allowBaseMismatch", allowBaseMismatch, false);
  const listener = functionOf("onNotice", onNotice);
  requireInUse(model);
  const adapter = await readTogether(
    folder,
    [configFile, tensorFile],
    () => load(folder, takesAny),
    (replaced) => replaced.dispose(),
  );
  try {
    reportNotices(adapter.notices, listener);
  } catch (error) {
    adapter.dispose();
    throw error;
  }
  return adapter;
}

/** @throws RubricateError ERR_DISPOSED */
export function requireInUse(model: LanguageModel): void {
  void model.native;
}

/** Copies numbers as float32 into the vector `place`. */
function setVector(name: string, place: Float32Array, given: ArrayLike<number>): void {
  const length = lengthOf(name, `${place.length} numbers`, given);
  if (length !== place.length) throw invalid(name, `${place.length} numbers`, given, "ERR_SHAPE");
  for (let at = 0; at < length; at++) {
    const value = given[at]!;
    if (typeof value !== "number") throw invalid(`${name}[${at}]`, "a number", value);
    place[at] = value;
    if (!Number.isFinite(place[at]))
      throw invalid(`${name}[${at}]`, "a finite float32 number", value, "ERR_NOT_FINITE");
  }
}
