import { collate, type EpochPlanOptions, planEpoch } from "../../lib/data/batches";
import { philox4x32, Random } from "../../lib/data/random";

// Known answers of Random123 1.14 (kat_vectors, philox4x32 with 10 rounds).
test.each([
  [
    [0, 0, 0, 0],
    [0, 0],
    [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8],
  ],
  [
    [0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff],
    [0xffffffff, 0xffffffff],
    [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd],
  ],
  [
    [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344],
    [0xa4093822, 0x299f31d0],
    [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1],
  ],
])("philox4x32 of %j and %j", (counter, key, expected) => {
  expect(philox4x32(counter, key)).toEqual(expected);
});

test("streams start where their counter says", () => {
  const random = new Random(2 ** 32 + 5, [7, 9]);
  const drawn = Array.from({ length: 8 }, () => random.uint32());
  expect(drawn).toEqual([...philox4x32([0, 0, 7, 9], [5, 1]), ...philox4x32([1, 0, 7, 9], [5, 1])]);
});

test.each([1, 2, 3, 7, 2 ** 31 + 1, 2 ** 32])("below %d", (bound) => {
  const random = new Random(3);
  const drawn = Array.from({ length: 4000 }, () => random.below(bound));
  expect(Math.max(...drawn)).toBeLessThan(bound);
  // Means of 4,000 draws are within six standard deviations of the middle.
  const mean = drawn.reduce((sum, one) => sum + one, 0) / drawn.length;
  expect(Math.abs(mean - (bound - 1) / 2)).toBeLessThanOrEqual((6 * bound) / Math.sqrt(12 * 4000));
});

test("shuffling reaches every order equally", () => {
  const random = new Random(1);
  const counts = new Map<string, number>();
  for (let at = 0; at < 6000; at++) {
    const order = random.shuffle([0, 1, 2]).join("");
    counts.set(order, (counts.get(order) ?? 0) + 1);
  }
  expect(counts.size).toBe(6);
  for (const count of counts.values()) expect(Math.abs(count - 1000)).toBeLessThan(180);
});

test.each([-1, 1.5, Number.NaN, 2 ** 53])("seed %d is refused", (seed) => {
  expect(() => new Random(seed)).toThrow("Expected an integer in [0, 2^53) for seed");
});

const lengths = Int32Array.from({ length: 5000 }, (_, at) => 2 + ((at * 7919) % 250));
const supervisedCounts = lengths.map((length, at) => (at % 97 === 0 ? 0 : length - 1));
const usable = [...lengths.keys()].filter((at) => supervisedCounts[at]! > 0);
const base = { lengths, supervisedCounts, batchSize: 8, shuffle: true, seed: 5, epoch: 0 };
const plans: [string, Partial<EpochPlanOptions>][] = [
  ["in order", { shuffle: false }],
  ["shuffled", {}],
  ["batches of one", { batchSize: 1 }],
  ["one batch", { batchSize: 10_000 }],
  ["grouped", { groupByLength: true }],
  ["grouped in order", { groupByLength: true, shuffle: false }],
  ["packed", { packing: { maxTokens: 512 } }],
  ["packed in order", { packing: { maxTokens: 512 }, shuffle: false }],
  ["packed to the longest", { packing: { maxTokens: 251 } }],
];

describe.each(plans)("a plan %s", (_, change) => {
  const options: EpochPlanOptions = { ...base, ...change };
  const plan = planEpoch(options);

  test("has every example with supervised tokens once", () => {
    expect(plan.flat().sort((a, b) => a - b)).toEqual(usable);
  });

  test("keeps to its size", () => {
    if (options.packing) {
      const sums = plan.map((group) => group.reduce((sum, at) => sum + lengths[at]!, 0));
      expect(Math.max(...sums)).toBeLessThanOrEqual(options.packing.maxTokens);
    } else {
      expect(plan.slice(0, -1).every((group) => group.length === options.batchSize)).toBe(true);
      expect(plan.at(-1)!.length).toBeGreaterThan(0);
    }
  });

  test("depends on its arguments alone", () => {
    expect(planEpoch({ ...options, lengths: Array.from(lengths) })).toEqual(plan);
    const other = planEpoch({ ...options, epoch: 1 });
    if (options.shuffle) expect(other).not.toEqual(plan);
    else expect(other).toEqual(plan);
    if (options.shuffle) expect(planEpoch({ ...options, seed: 6 })).not.toEqual(plan);
  });
});

test("an order stays the same from release to release", () => {
  const plan = planEpoch({
    ...base,
    lengths: lengths.slice(0, 8),
    supervisedCounts: new Int32Array(8).fill(1),
    batchSize: 3,
  });
  expect(plan).toMatchInlineSnapshot(`
[
  [
    3,
    2,
    1,
  ],
  [
    0,
    7,
    5,
  ],
  [
    6,
    4,
  ],
]
`);
});

test("packing wastes little", () => {
  const plan = planEpoch({ ...base, packing: { maxTokens: 1024 } });
  const tokens = usable.reduce((sum, at) => sum + lengths[at]!, 0);
  expect(tokens / (plan.length * 1024)).toBeGreaterThan(0.98);
});

test("grouping by length pads little, and begins with the longest", () => {
  const padding = (plan: number[][]) =>
    plan.reduce((sum, group) => sum + group.length * Math.max(...group.map((at) => lengths[at]!)), 0);
  const grouped = planEpoch({ ...base, groupByLength: true });
  expect(padding(grouped)).toBeLessThan(0.65 * padding(planEpoch(base)));
  expect(lengths[grouped[0]![0]!]).toBe(Math.max(...usable.map((at) => lengths[at]!)));
});

test.each<[string, Partial<EpochPlanOptions>, string]>([
  ["batchSize 0", { batchSize: 0 }, "ERR_ARGUMENT"],
  ["batchSize 1.5", { batchSize: 1.5 }, "ERR_ARGUMENT"],
  ["epoch -1", { epoch: -1 }, "ERR_ARGUMENT"],
  ["no budget", { packing: { maxTokens: 0 } }, "ERR_ARGUMENT"],
  ["unequal arrays", { supervisedCounts: [1] }, "ERR_ARGUMENT"],
  ["a sequence over the budget", { packing: { maxTokens: 250 } }, "ERR_DATA"],
])("refused: %s", (_, change, code) => {
  expect(() => planEpoch({ ...base, ...change })).toThrow(expect.objectContaining({ code }));
});

test("an epoch of nothing", () => {
  expect(planEpoch({ ...base, lengths: [], supervisedCounts: [] })).toEqual([]);
});

const example = (ids: number[], supervised: number[]) => ({
  tokenIds: Int32Array.from(ids),
  supervised: Uint8Array.from(supervised),
  line: 1,
});

test("collating shifts targets within each sequence", () => {
  const batch = collate([example([5, 6, 7, 8], [0, 0, 1, 1]), example([9, 4], [0, 1]), example([3, 2, 1], [1, 1, 0])]);
  expect([...batch.tokenIds]).toEqual([5, 6, 7, 8, 9, 4, 3, 2, 1]);
  expect([...batch.sequenceStarts]).toEqual([0, 4, 6, 9]);
  // The first token of a sequence is never a target, nor does a sequence's last position have one.
  expect([...batch.targets]).toEqual([-1, 7, 8, -1, 4, -1, 2, -1, -1]);
  expect([...batch.slots]).toEqual([0, 0, 0]);
});

test("collating nothing is refused", () => {
  expect(() => collate([])).toThrow(expect.objectContaining({ code: "ERR_ARGUMENT" }));
});
