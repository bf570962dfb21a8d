/**
 * Interpolated modified Kneser-Ney n-gram model (Chen and Goodman 1999, section 4.1.3), as KenLM estimates it: raw counts
 * for the highest order and for n-grams at the beginning of a document, numbers of distinct left neighbours below it.
 *
 *     p(w | c) = max(0, a(c w) - D(a(c w))) / sum_v a(c v) + gamma(c) p(w | c without its first symbol)
 *
 * where a are the adjusted counts, D is one of three discounts per order, gamma(c) is the mass that the discounts took
 * from c, and below the unigrams is the uniform distribution.
 */

/** Open addressing from (parent node, symbol) to node; keys are exact in a double. */
class ChildTable {
  constructor(bits) {
    this.mask = 2 ** bits - 1;
    this.shift = 32 - bits;
    this.keys = new Float64Array(2 ** bits).fill(-1);
    this.values = new Int32Array(2 ** bits);
  }

  /** @returns {number} the slot of the key, or the free slot where it belongs */
  slot(node, symbol) {
    const key = node * 65536 + symbol;
    let slot = Math.imul(Math.imul(node, 0x9e3779b1) ^ Math.imul(symbol + 1, 0x85ebca6b), 0xc2b2ae35) >>> this.shift;
    while (this.keys[slot] !== -1 && this.keys[slot] !== key) slot = (slot + 1) & this.mask;
    return slot;
  }
}

export class KneserNey {
  /**
   * @param {number} order n
   * @param {number} vocabulary symbols are in [0, vocabulary); vocabulary <= 65535
   * @param {number} bits log2 of the table size; at least twice as many slots as distinct n-grams of all orders
   */
  constructor(order, vocabulary, bits) {
    this.order = order;
    this.vocabulary = vocabulary;
    this.begin = vocabulary;
    this.table = new ChildTable(bits);
    const nodes = 2 ** (bits - 1);
    this.parent = new Int32Array(nodes);
    this.depth = new Uint8Array(nodes);
    this.count = new Int32Array(nodes);
    this.nodes = 1;
  }

  #child(node, symbol) {
    const slot = this.table.slot(node, symbol);
    return this.table.keys[slot] === -1 ? 0 : this.table.values[slot];
  }

  #create(node, symbol) {
    if (this.nodes === this.parent.length) throw new Error("the n-gram table is full; raise bits");
    const slot = this.table.slot(node, symbol);
    this.table.keys[slot] = node * 65536 + symbol;
    this.table.values[slot] = this.nodes;
    this.parent[this.nodes] = node;
    this.depth[this.nodes] = this.depth[node] + 1;
    return this.nodes++;
  }

  /** Counts one document; its beginning is part of the context of its first symbols. */
  add(symbols) {
    let previous = [0, this.#child(0, this.begin) || this.#create(0, this.begin)];
    for (const [i, symbol] of symbols.entries()) {
      const current = [0];
      for (let n = 1; n <= Math.min(this.order, i + 2); n++) {
        const known = this.#child(previous[n - 1], symbol);
        const node = known || this.#create(previous[n - 1], symbol);
        if (n === this.order || n === i + 2) this.count[node]++;
        if (!known && n > 1) this.count[current[n - 1]]++;
        current.push(node);
      }
      previous = current;
    }
  }

  /** Discounts of each order from the counts of counts, and each context's totals. Call once, after the last add. */
  estimate() {
    const ofCount = Array.from({ length: this.order + 1 }, () => [0, 0, 0, 0, 0]);
    for (let node = 1; node < this.nodes; node++)
      if (this.count[node] >= 1 && this.count[node] <= 4) ofCount[this.depth[node]][this.count[node]]++;
    this.discounts = ofCount.map(([, n1, n2, n3, n4]) => {
      const y = n1 / (n1 + 2 * n2);
      const discounts = [0, 1 - (2 * y * n2) / n1, 2 - (3 * y * n3) / n2, 3 - (4 * y * n4) / n3];
      return discounts.every((d, i) => Number.isFinite(d) && d >= 0 && d <= i) ? discounts : [0, 0.5, 1, 1.5];
    });
    this.total = new Float64Array(this.nodes);
    this.taken = new Float64Array(this.nodes);
    for (let node = 1; node < this.nodes; node++) {
      this.total[this.parent[node]] += this.count[node];
      this.taken[this.parent[node]] += this.#discount(node);
    }
  }

  #discount(node) {
    return this.discounts[this.depth[node]][Math.min(3, this.count[node])];
  }

  /** @returns {number} p(symbol | contexts), where contexts[n] is the node of the last n symbols, 0 if never seen */
  probability(contexts, symbol) {
    let p = 1 / this.vocabulary;
    for (let n = 0; n < contexts.length; n++) {
      const context = contexts[n];
      if ((n > 0 && context === 0) || this.total[context] === 0) continue;
      const node = this.#child(context, symbol);
      const own = node === 0 ? 0 : (this.count[node] - this.#discount(node)) / this.total[context];
      p = own + (this.taken[context] / this.total[context]) * p;
    }
    return p;
  }

  /** @returns {number[]} nodes of the contexts after one more symbol */
  #advance(contexts, symbol) {
    const next = [0];
    for (let n = 0; n < Math.min(contexts.length, this.order - 1); n++)
      next.push(n > 0 && contexts[n] === 0 ? 0 : this.#child(contexts[n], symbol));
    return next;
  }

  /** @returns {number} -log2 of the document's probability, in bits */
  bits(symbols) {
    let contexts = [0, this.#child(0, this.begin)];
    let bits = 0;
    for (const symbol of symbols) {
      bits -= Math.log2(this.probability(contexts, symbol));
      contexts = this.#advance(contexts, symbol);
    }
    return bits;
  }

  /** @returns {number} the sum of p over the vocabulary in the context of these symbols: always 1 */
  mass(symbols) {
    let contexts = [0, this.#child(0, this.begin)];
    for (const symbol of symbols) contexts = this.#advance(contexts, symbol);
    let sum = 0;
    for (let symbol = 0; symbol < this.vocabulary; symbol++) sum += this.probability(contexts, symbol);
    return sum;
  }
}
