/** The pieces of a unigram model and their scores, in shared memory: a trie over UTF-16 units. */
import { sharedInts, slotCount } from "./token_table";

/** Pieces as they are posted to another thread, without a copy. */
export interface PieceColumns {
  /** One more than the node, by the hash of its parent and its unit; 0 where a slot is free. */
  readonly slots: Int32Array<SharedArrayBuffer>;
  /** Of each node but the root, whose number is 0: its parent, its UTF-16 unit, and one more than the piece that ends there. */
  readonly parents: Int32Array<SharedArrayBuffer>;
  readonly units: Int32Array<SharedArrayBuffer>;
  readonly pieces: Int32Array<SharedArrayBuffer>;
  readonly nodes: number;
  /** By id, [pieces]. */
  readonly scores: Float64Array<SharedArrayBuffer>;
  readonly lowestScore: number;
}

/** Pieces by their characters, found one character after another. */
export class PieceTable {
  private slots: Int32Array<SharedArrayBuffer>;
  private parents: Int32Array<SharedArrayBuffer>;
  private units: Int32Array<SharedArrayBuffer>;
  private pieces: Int32Array<SharedArrayBuffer>;
  private nodes = 1;
  private readonly scores: Float64Array<SharedArrayBuffer>;
  lowestScore = Number.POSITIVE_INFINITY;

  /** @param pieces how many will be added at most, or the columns of a table that is complete */
  constructor(pieces: number | PieceColumns) {
    if (typeof pieces === "number") {
      const nodes = Math.max(256, 2 * pieces);
      this.slots = sharedInts(slotCount(nodes));
      this.parents = sharedInts(nodes);
      this.units = sharedInts(nodes);
      this.pieces = sharedInts(nodes);
      this.scores = new Float64Array(new SharedArrayBuffer(8 * pieces));
      return;
    }
    this.slots = pieces.slots;
    this.parents = pieces.parents;
    this.units = pieces.units;
    this.pieces = pieces.pieces;
    this.nodes = pieces.nodes;
    this.scores = pieces.scores;
    this.lowestScore = pieces.lowestScore;
  }

  /** The table for another thread. Nothing may be added to it any more. */
  get columns(): PieceColumns {
    const { slots, parents, units, pieces, nodes, scores, lowestScore } = this;
    return { slots, parents, units, pieces, nodes, scores, lowestScore };
  }

  /** @returns false where there is such a piece already */
  add(piece: string, id: number, score: number): boolean {
    let node = 0;
    for (let at = 0; at < piece.length; at++) node = this.childMade(node, piece.charCodeAt(at));
    if (this.pieces[node] !== 0) return false;
    this.pieces[node] = id + 1;
    this.scores[id] = score;
    this.lowestScore = Math.min(this.lowestScore, score);
    return true;
  }

  /** The node that a unit leads to, or -1. */
  child(node: number, unit: number): number {
    return this.slots[this.slot(node, unit)]! - 1;
  }

  /** The piece that ends at a node, or -1. */
  idAt(node: number): number {
    return this.pieces[node]! - 1;
  }

  score(id: number): number {
    return this.scores[id]!;
  }

  /** The piece with this text, or -1. */
  id(text: string): number {
    let node = 0;
    for (let at = 0; at < text.length && node >= 0; at++) node = this.child(node, text.charCodeAt(at));
    return node < 0 ? -1 : this.idAt(node);
  }

  private childMade(node: number, unit: number): number {
    if (this.nodes === this.parents.length) this.grow();
    const slot = this.slot(node, unit);
    if (this.slots[slot] !== 0) return this.slots[slot]! - 1;
    const made = this.nodes++;
    this.parents[made] = node;
    this.units[made] = unit;
    this.slots[slot] = made + 1;
    return made;
  }

  private grow(): void {
    const size = 2 * this.parents.length;
    const larger = (array: Int32Array) => {
      const made = sharedInts(size);
      made.set(array);
      return made;
    };
    this.parents = larger(this.parents);
    this.units = larger(this.units);
    this.pieces = larger(this.pieces);
    this.slots = sharedInts(slotCount(size));
    for (let node = 1; node < this.nodes; node++)
      this.slots[this.slot(this.parents[node]!, this.units[node]!)] = node + 1;
  }

  private slot(node: number, unit: number): number {
    const { slots, parents, units } = this;
    const mask = slots.length - 1;
    const hash = Math.imul(node, 0x9e3779b1) ^ Math.imul(unit, 0x85ebca6b);
    let at = (hash ^ (hash >>> 15)) & mask;
    for (let slot = slots[at]!; slot !== 0; slot = slots[at]!) {
      if (parents[slot - 1] === node && units[slot - 1] === unit) break;
      at = (at + 1) & mask;
    }
    return at;
  }
}
