/** The versions of one adapter in an engine. */
import type { AdapterConfig } from "../adapter/adapter";
import type { NativeVersion } from "../native";

/** One state of an adapter's vectors. It is freed once it was dropped and no request uses it. */
export class Version {
  readonly bytes: number;
  /** Requests under way. */
  requests = 0;
  private dropped = false;

  constructor(
    readonly number: number,
    readonly handle: NativeVersion,
    readonly config: AdapterConfig,
  ) {
    this.bytes = handle.bytes;
  }

  /** A request uses it, until it calls the function that this returns. */
  use(): () => void {
    this.requests++;
    return () => {
      this.requests--;
      this.freeUnused();
    };
  }

  drop(): void {
    this.dropped = true;
    this.freeUnused();
  }

  private freeUnused(): void {
    if (this.dropped && this.requests === 0) this.handle.dispose();
  }
}

export class NamedAdapter {
  /** Those that are kept, oldest first. */
  readonly versions: Version[] = [];
  /** undefined: not in memory. */
  current: Version | undefined;
  pinned = false;
  lastUsed: Date | null = null;

  /** @param lastNumber of the latest version; numbers are not used again */
  constructor(
    readonly name: string,
    public lastNumber: number,
  ) {}

  get bytes(): number {
    return this.versions.reduce((sum, { bytes }) => sum + bytes, 0);
  }

  get requests(): number {
    return this.versions.reduce((sum, { requests }) => sum + requests, 0);
  }

  /** Makes a version current, and drops the oldest beyond `keep`. */
  add(version: Version, keep: number): void {
    this.lastNumber = version.number;
    this.versions.push(version);
    this.current = version;
    while (this.versions.length > keep) this.drop(this.versions[0]!);
  }

  /** Versions that are not current, oldest first. */
  earlier(): Version[] {
    return this.versions.filter((version) => version !== this.current);
  }

  /** Bytes of the version that the next `add` drops. */
  leaving(keep: number): number {
    return this.versions.length >= keep ? this.versions[0]!.bytes : 0;
  }

  drop(version: Version): void {
    this.versions.splice(this.versions.indexOf(version), 1);
    version.drop();
  }

  dropAll(): void {
    for (const version of this.versions.splice(0)) version.drop();
    this.current = undefined;
  }
}
