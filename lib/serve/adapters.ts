/** The adapters of an engine, by name and version. */
import type { Adapter, AdapterConfig } from "../adapter/adapter";
import { requireAdapter } from "../brands";
import { invalid, quoted, RubricateError } from "../errors";
import type { ChosenAdapter, Work } from "../generate/served";
import { runJob } from "../job";
import type { LanguageModel } from "../model/model";
import { nameOf } from "./engine_options";
import { requireSameBase } from "./fitting";
import { Loads } from "./loads";
import { NamedAdapter, Version } from "./versions";

/** A name, and the number of one of its versions. */
export interface AdapterVersion {
  readonly name: string;
  /** From 1 on, for each name; never used again, also not after `delete`. */
  readonly version: number;
}

export interface AdapterInfo extends AdapterVersion {
  /** Versions that are kept, oldest first; `version` is the current one. */
  readonly versions: readonly number[];
  /** Of these versions together. */
  readonly bytes: number;
  /** What the current version edits; null if it is not in memory. */
  readonly config: AdapterConfig | null;
  readonly pinned: boolean;
  /** false: it gave up its memory, and is loaded again when a request names it. */
  readonly resident: boolean;
  /** Requests under way. */
  readonly requests: number;
  /** null: no request has named it. */
  readonly lastUsed: Date | null;
}

interface Settings {
  readonly model: LanguageModel;
  readonly maxAdapterBytes: number;
  readonly keepVersions: number;
  readonly loadAdapter:
    | ((name: string, signal: AbortSignal) => Adapter | undefined | Promise<Adapter | undefined>)
    | undefined;
}

/** Adapters by name: `engine.adapters`. */
export class AdapterRegistry {
  /** Those in memory, by when they were last used or set, the latest last. */
  private readonly named = new Map<string, NamedAdapter>();
  /** Those that gave up their memory, and can be loaded again. */
  private readonly away = new Map<string, NamedAdapter>();
  /** The last version's number of names that were deleted. */
  private readonly deleted = new Map<string, number>();
  private readonly loads: Loads;
  private total = 0;
  private closed = false;

  /** @internal */
  constructor(private readonly settings: Settings) {
    this.loads = new Loads((name, signal) => this.load(name, signal));
  }

  /**
   * Copies an adapter's present vectors into a new version of a name, and makes it current. Requests under way keep the
   * version that they began with; if this fails, nothing has changed. While a run of the engine's model trains the adapter,
   * the vectors are those between two updates.
   * @returns the name and the new version's number
   * @throws RubricateError ERR_ARGUMENT, ERR_BASE_MISMATCH, ERR_NOT_FINITE, ERR_CACHE_FULL, ERR_BUSY, ERR_DISPOSED
   */
  async set(name: string, adapter: Adapter): Promise<AdapterVersion> {
    this.requireOpen();
    nameOf("name", name);
    requireAdapter(adapter);
    return this.add(name, adapter);
  }

  /** undefined: there is no adapter of this name. */
  get(name: string): AdapterInfo | undefined {
    const adapter = this.named.get(name) ?? this.away.get(name);
    return adapter && infoOf(adapter);
  }

  list(): AdapterInfo[] {
    return [...this.named.values(), ...this.away.values()].map(infoOf);
  }

  /** Makes a version current that is kept. @throws RubricateError ERR_ADAPTER_UNKNOWN */
  async rollback(name: string, version: number): Promise<AdapterVersion> {
    const adapter = this.known(name);
    adapter.current = versionOf(adapter, version);
    return { name, version };
  }

  /** Keeps an adapter in memory. @throws RubricateError ERR_ADAPTER_UNKNOWN */
  pin(name: string): void {
    this.known(name).pinned = true;
  }

  /** @throws RubricateError ERR_ADAPTER_UNKNOWN */
  unpin(name: string): void {
    this.known(name).pinned = false;
  }

  /** Forgets an adapter and its versions; requests under way end by theirs. @throws RubricateError ERR_ADAPTER_UNKNOWN */
  async delete(name: string): Promise<void> {
    const adapter = this.known(name);
    this.change(adapter, () => adapter.dropAll());
    this.named.delete(name);
    this.away.delete(name);
    this.deleted.set(name, adapter.lastNumber);
  }

  /** Bytes of all versions in memory. */
  get bytes(): number {
    return this.total;
  }

  /**
   * The version for a request that names "NAME" or "NAME@VERSION". It counts as used until `over`.
   * @throws RubricateError ERR_ADAPTER_UNKNOWN; what `loadAdapter` throws
   * @internal
   */
  async choose(
    spec: AdapterSpec,
    signal: AbortSignal | undefined,
    work: Work,
  ): Promise<{ chosen: ChosenAdapter; over: () => void }> {
    const { name } = spec;
    while (!this.named.get(name)?.current) {
      if (!this.settings.loadAdapter) throw unknown(name);
      await this.loads.wait(name, signal, work);
      work.check();
      this.requireOpen();
    }
    const adapter = this.named.get(name)!;
    const version = spec.version === undefined ? adapter.current! : versionOf(adapter, spec.version);
    this.used(adapter);
    adapter.lastUsed = new Date();
    const named = { name, version: version.number };
    return { chosen: { version: version.handle, named, release: () => {} }, over: version.use() };
  }

  /** @internal */
  close(): void {
    this.closed = true;
    this.loads.abort();
    for (const adapter of this.named.values()) adapter.dropAll();
    this.total = 0;
    this.named.clear();
    this.away.clear();
    this.deleted.clear();
  }

  private async add(name: string, adapter: Adapter, signal?: AbortSignal): Promise<AdapterVersion> {
    const { model, keepVersions } = this.settings;
    const { config } = adapter;
    await requireSameBase(model, adapter);
    const handle = await runJob(() => model.native.publish(adapter.native), signal);
    try {
      handle.requireFinite();
      this.requireOpen();
      this.makeRoom(name, handle.bytes);
    } catch (error) {
      handle.dispose();
      throw error;
    }
    const known = this.named.get(name) ?? this.away.get(name);
    const named = known ?? new NamedAdapter(name, this.deleted.get(name) ?? 0);
    this.deleted.delete(name);
    this.away.delete(name);
    const version = new Version(named.lastNumber + 1, handle, config);
    this.change(named, () => named.add(version, keepVersions));
    this.used(named);
    return { name, version: version.number };
  }

  private async load(name: string, signal: AbortSignal): Promise<void> {
    const adapter = await this.settings.loadAdapter!(name, signal);
    if (adapter === undefined || adapter === null) throw unknown(name);
    requireAdapter(adapter);
    await this.add(name, adapter, signal);
  }

  /** Puts an adapter behind all others: it is the last to give up its memory. */
  private used(adapter: NamedAdapter): void {
    this.named.delete(adapter.name);
    this.named.set(adapter.name, adapter);
  }

  /** Changes the versions of an adapter. */
  private change(adapter: NamedAdapter, work: () => void): void {
    const before = adapter.bytes;
    work();
    this.total += adapter.bytes - before;
  }

  /**
   * Makes room for a version, or changes nothing. What was not used for longest goes first: an adapter's earlier versions,
   * then, if it can be loaded again and is in no use, the adapter; those of the same name are the last.
   */
  private makeRoom(name: string, bytes: number): void {
    const { maxAdapterBytes, keepVersions, loadAdapter } = this.settings;
    const own = this.named.get(name);
    const drops: (() => void)[] = [];
    let lacking = this.total + bytes - (own?.leaving(keepVersions) ?? 0) - maxAdapterBytes;
    const dropSome = (adapter: NamedAdapter, versions: readonly Version[]) => {
      for (const version of versions) {
        if (lacking <= 0) return;
        lacking -= version.bytes;
        drops.push(() => this.change(adapter, () => adapter.drop(version)));
      }
    };
    for (const adapter of this.named.values()) {
      if (lacking <= 0) break;
      if (adapter === own || adapter.pinned) continue;
      dropSome(adapter, adapter.earlier());
      if (lacking <= 0 || !loadAdapter || adapter.requests > 0) continue;
      lacking -= adapter.current!.bytes;
      drops.push(() => this.sendAway(adapter));
    }
    if (lacking > 0 && own) {
      lacking += own.leaving(keepVersions); // once one of them is dropped, the new version replaces none
      dropSome(own, [...own.earlier(), own.current!]);
    }
    if (lacking > 0)
      throw new RubricateError(
        "ERR_CACHE_FULL",
        `Expected room for an adapter of ${bytes} bytes but those in memory have ${this.total} of ${maxAdapterBytes} (maxAdapterBytes)`,
      );
    for (const drop of drops) drop();
  }

  private sendAway(adapter: NamedAdapter): void {
    this.change(adapter, () => adapter.dropAll());
    this.named.delete(adapter.name);
    this.away.set(adapter.name, adapter);
  }

  private known(name: string): NamedAdapter {
    this.requireOpen();
    const adapter = this.named.get(name) ?? this.away.get(name);
    if (!adapter) throw unknown(name);
    return adapter;
  }

  private requireOpen(): void {
    if (this.closed) throw new RubricateError("ERR_DISPOSED", "Expected an Engine in use but it was closed");
  }
}

export interface AdapterSpec {
  readonly name: string;
  readonly version?: number;
}

/** "support", or "support@6". @throws RubricateError ERR_ARGUMENT */
export function adapterSpec(text: string): AdapterSpec {
  const match = /^([^@]*)@([1-9]\d{0,14})$/.exec(text);
  if (!match) return { name: nameOf("adapter", text) };
  return { name: nameOf("adapter", match[1]!), version: Number(match[2]) };
}

function infoOf(adapter: NamedAdapter): AdapterInfo {
  const { name, current, versions, bytes, pinned, requests, lastUsed, lastNumber } = adapter;
  return {
    name,
    version: current?.number ?? lastNumber,
    versions: versions.map(({ number }) => number),
    bytes,
    config: current?.config ?? null,
    pinned,
    resident: current !== undefined,
    requests,
    lastUsed,
  };
}

function unknown(name: unknown): RubricateError {
  const shown = typeof name === "string" ? quoted(name) : String(typeof name);
  return new RubricateError(
    "ERR_ADAPTER_UNKNOWN",
    `Expected the name of an adapter of this engine but received ${shown}`,
  );
}

function versionOf(adapter: NamedAdapter, number: number): Version {
  const version = adapter.versions.find((one) => one.number === number);
  if (version) return version;
  const kept = adapter.versions.map((one) => one.number).join(", ");
  throw invalid(`the version of ${quoted(adapter.name)}`, `one of ${kept}`, number, "ERR_ADAPTER_UNKNOWN");
}
