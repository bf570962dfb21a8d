import { Column } from "../columns";

/** What is kept of a usable row. */
export interface IndexedRow {
  /** First byte in the source. */
  readonly offset: number;
  /** Bytes without the end of line. */
  readonly size: number;
  /** CRC-32 of these bytes. */
  readonly checksum: number;
  /** 1-based. */
  readonly line: number;
  readonly length: number;
  readonly supervisedCount: number;
  readonly highestId: number;
}

/** Bytes of a row in all columns together. */
export const rowBytes = 32;

/** The rows of an index, column by column: 32 bytes a row. */
export class RowColumns {
  readonly offsets: Column<Float64Array<ArrayBuffer>>;
  readonly sizes: Column<Int32Array<ArrayBuffer>>;
  readonly checksums: Column<Uint32Array<ArrayBuffer>>;
  readonly lines: Column<Uint32Array<ArrayBuffer>>;
  readonly lengths: Column<Int32Array<ArrayBuffer>>;
  readonly supervisedCounts: Column<Int32Array<ArrayBuffer>>;
  readonly highestIds: Column<Int32Array<ArrayBuffer>>;

  /**
   * @param bytes what `pieces` gave, end to end; undefined: no rows yet
   * @param start first byte in it, a multiple of 8
   * @param rows their number
   */
  constructor(bytes?: ArrayBuffer, start = 0, rows = 0) {
    let at = start;
    const column = <T extends Float64Array<ArrayBuffer> | Int32Array<ArrayBuffer> | Uint32Array<ArrayBuffer>>(
      Kind: (new (
        length: number,
      ) => T) &
        (new (
          buffer: ArrayBuffer,
          start: number,
          length: number,
        ) => T) & { readonly BYTES_PER_ELEMENT: number },
    ) => {
      if (bytes === undefined) return new Column(new Kind(1024));
      const array = new Kind(bytes, at, rows);
      at += rows * Kind.BYTES_PER_ELEMENT;
      return new Column(array, rows);
    };
    this.offsets = column(Float64Array);
    this.sizes = column(Int32Array);
    this.checksums = column(Uint32Array);
    this.lines = column(Uint32Array);
    this.lengths = column(Int32Array);
    this.supervisedCounts = column(Int32Array);
    this.highestIds = column(Int32Array);
  }

  get count(): number {
    return this.lengths.length;
  }

  push(row: IndexedRow): void {
    this.offsets.push(row.offset);
    this.sizes.push(row.size);
    this.checksums.push(row.checksum);
    this.lines.push(row.line);
    this.lengths.push(row.length);
    this.supervisedCounts.push(row.supervisedCount);
    this.highestIds.push(row.highestId);
  }

  /** The bytes of all columns, in order. */
  pieces(): Uint8Array[] {
    const { offsets, sizes, checksums, lines, lengths, supervisedCounts, highestIds } = this;
    return [offsets, sizes, checksums, lines, lengths, supervisedCounts, highestIds].map((column) => {
      const array = column.view();
      return new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
    });
  }
}
