import { readFileSync } from "node:fs";
import { join } from "node:path";
import { learningRateAt, type Schedule, warmupStepsOf } from "../../lib/train/schedule";

interface Row {
  readonly schedule: Schedule;
  readonly lr: number;
  readonly warmup: number;
  readonly total: number;
  readonly rates: number[];
}

const rows = JSON.parse(readFileSync(join(__dirname, "../parity/fixtures/schedules.json"), "utf8")) as Row[];

test("the fixtures cover every schedule", () => {
  expect(new Set(rows.map(({ schedule }) => schedule)).size).toBe(4);
});

test.each(rows)(
  "$schedule, $warmup of $total steps of warm-up, as transformers'",
  ({ schedule, lr, warmup, total, rates }) => {
    const found = rates.map((_, step) => learningRateAt(schedule, lr, step, warmup, total));
    expect(rates).toHaveLength(total);
    for (const [step, rate] of rates.entries()) expect(Math.abs(found[step]! - rate)).toBeLessThanOrEqual(1e-17);
  },
);

test("after the last step the learning rate is 0", () => {
  expect(learningRateAt("linear", 1, 12, 3, 10)).toBe(0);
  expect(learningRateAt("cosine", 1, 10, 3, 10)).toBe(0);
});

test("a ratio of warm-up is rounded up, as TrainingArguments.get_warmup_steps does", () => {
  expect(warmupStepsOf({ warmupRatio: 0.1 }, 101)).toBe(11);
  expect(warmupStepsOf({ warmupRatio: 0.5 }, 10)).toBe(5);
  expect(warmupStepsOf({ warmupSteps: 7 }, 10)).toBe(7);
  expect(warmupStepsOf({}, 10)).toBe(0);
  expect(() => warmupStepsOf({ warmupSteps: 1, warmupRatio: 0.1 }, 10)).toThrow(/warmupSteps/);
});
