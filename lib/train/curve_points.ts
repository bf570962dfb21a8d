/** The numbers of a run's log that are drawn. */
import { Column } from "../columns";
import { RubricateError } from "../errors";
import { isObject } from "../files/json";
import { readPieces } from "../files/read";
import { limits } from "../limits";

/** Values by step, ascending. */
export class Series {
  private readonly steps = new Column(new Float64Array(256));
  private readonly values = new Column(new Float64Array(256));

  get length(): number {
    return this.steps.length;
  }

  /** A value of a step; one that is not finite, or of an earlier step, is left out. */
  add(step: unknown, value: unknown): void {
    if (!Number.isSafeInteger(step) || !Number.isFinite(value)) return;
    const { length } = this;
    if (length > 0 && (step as number) <= this.steps.at(length - 1)) return;
    this.steps.push(step as number);
    this.values.push(value as number);
  }

  /** At most so many points: means of neighbours where there are more. */
  points(most: number): { step: number; value: number }[] {
    const size = Math.ceil(this.length / most);
    const points: { step: number; value: number }[] = [];
    for (let at = 0; at < this.length; at += size) {
      const count = Math.min(size, this.length - at);
      let [step, value] = [0, 0];
      for (let i = at; i < at + count; i++) {
        step += this.steps.at(i) / count;
        value += this.values.at(i) / count;
      }
      points.push({ step, value });
    }
    return points;
  }
}

/** What a log says of a run. */
export interface CurvePoints {
  readonly loss: Series;
  readonly evalLoss: Series;
  readonly learningRate: Series;
}

const newline = 0x0a;

/**
 * Reads log.jsonl. Lines that are no events, such as one that a crash has cut, are left out.
 * @throws RubricateError ERR_FILE if it cannot be read, or has no step and no evaluation
 */
export async function readCurve(path: string): Promise<CurvePoints> {
  const points = { loss: new Series(), evalLoss: new Series(), learningRate: new Series() };
  let rest: Buffer = Buffer.alloc(0);
  for await (const piece of readPieces(path)) {
    const bytes = Buffer.concat([rest, piece]);
    let start = 0;
    for (let end = bytes.indexOf(newline); end >= 0; end = bytes.indexOf(newline, start)) {
      addLine(bytes.subarray(start, end), points);
      start = end + 1;
    }
    rest = Buffer.from(bytes.subarray(start));
    if (rest.length > limits.logLineBytes) rest = Buffer.from("-"); // no event is that long
  }
  addLine(rest, points);
  if (points.loss.length + points.evalLoss.length === 0)
    throw new RubricateError("ERR_FILE", `Expected the log of a run in ${path} but it has no step and no evaluation`);
  return points;
}

function addLine(line: Buffer, { loss, evalLoss, learningRate }: CurvePoints): void {
  if (line[0] !== 0x7b || line.length > limits.logLineBytes) return;
  let event: unknown;
  try {
    event = JSON.parse(line.toString("utf8"));
  } catch {
    return;
  }
  if (!isObject(event)) return;
  if (event.type === "step") {
    loss.add(event.step, event.loss);
    learningRate.add(event.step, event.learningRate);
  } else if (event.type === "eval") evalLoss.add(event.step, event.loss);
}
