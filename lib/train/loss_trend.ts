/**
 * Notices of a run that does not learn: its training loss does not fall with a learning rate far from the default, or is
 * far above that of the first step. The rules are for clear cases only; docs/training.md describes them.
 */
import { defaultLearningRate, type Trained } from "./learning_rates";
import type { Settings } from "./options";

/** Steps whose mean is compared with the first step. */
const recentSteps = 20;
/** Steps after the warm-up after which a loss that has not fallen is reported. */
const stepsToFall = 100;
/** A learning rate is far from the default if it differs by more than this factor. */
const farRatio = 2.5;
/** Standard errors by which the mean must fall to count as a trend. */
const trendErrors = 2;
/** Standard deviations above the first loss that no batch explains. */
const brokenDeviations = 5;

/** Watches the training losses of a run from its first step on. */
export class LossTrend {
  private readonly usual: number;
  private readonly due: number;
  private count = 0;
  private first = 0;
  private readonly recent: number[] = [];
  private readonly halves = { first: 0, second: 0 };
  /** Of the differences of neighbours. */
  private squares = 0;
  private toldBroken = false;

  constructor(
    private readonly learningRate: number,
    trained: Trained,
    warmupSteps: number,
  ) {
    this.usual = defaultLearningRate(trained);
    this.due = warmupSteps + stepsToFall;
  }

  /** Adds the loss of the next step. @returns a notice, if there is one */
  add(loss: number): string | undefined {
    const { recent, due } = this;
    const last = recent.at(-1);
    if (last === undefined) this.first = loss;
    else this.squares += (loss - last) ** 2;
    recent.push(loss);
    if (recent.length > recentSteps) recent.shift();
    this.halves[this.count < due >> 1 ? "first" : "second"] += loss;
    this.count++;
    if (this.toldBroken) return undefined;
    if (this.count > recentSteps && this.isBroken()) {
      this.toldBroken = true;
      return this.brokenText();
    }
    if (this.count !== due) return undefined;
    if (this.learningRate < this.usual / farRatio && !this.falls()) return this.stillText();
    return this.learningRate > this.usual * farRatio && mean(recent) >= this.first ? this.highText() : undefined;
  }

  /** Whether the mean of the second half of the losses is below that of the first by more than its noise. */
  private falls(): boolean {
    const { count, halves, squares } = this;
    const [before, after] = [count >> 1, count - (count >> 1)];
    const error = Math.sqrt((squares / (count - 1) / 2) * (1 / before + 1 / after));
    return halves.first / before - halves.second / after > trendErrors * error;
  }

  private isBroken(): boolean {
    const { recent, first } = this;
    return mean(recent) - first > brokenDeviations * deviation(recent);
  }

  private stillText(): string {
    return (
      `The training loss has not moved in ${this.count} steps, and the learning rate of ${this.learningRate} is far below the ` +
      `default of ${this.usual}: raise learningRate, or let learningRate "sweep" find one`
    );
  }

  private highText(): string {
    return (
      `The training loss is ${mean(this.recent).toFixed(2)} over the last ${recentSteps} steps, not below the ${this.first.toFixed(2)} ` +
      `of the first step, and the learning rate of ${this.learningRate} is far above the default of ${this.usual}: lower ` +
      'learningRate, or let learningRate "sweep" find one'
    );
  }

  private brokenText(): string {
    return (
      `The training loss has risen from ${this.first.toFixed(2)} at the first step to ${mean(this.recent).toFixed(2)} over the ` +
      `last ${recentSteps}: the learning rate of ${this.learningRate} is too high; lower learningRate, or let learningRate "sweep" find one`
    );
  }
}

function mean(numbers: readonly number[]): number {
  return numbers.reduce((sum, one) => sum + one, 0) / numbers.length;
}

/** Standard deviation of a step's loss, from the differences of neighbours, which a trend hardly changes. */
function deviation(losses: readonly number[]): number {
  return Math.sqrt(mean(losses.slice(1).map((loss, at) => (loss - losses[at]!) ** 2)) / 2);
}

/** The trend to watch in a run; undefined for data in the caller's order, whose loss may rise with the data. */
export function lossTrendOf(settings: Settings, warmupSteps: number): LossTrend | undefined {
  const { learningRate, method, adapter, shuffle, model } = settings;
  if (!shuffle) return undefined;
  const { hidden } = model.architecture;
  const trained = { method, sites: adapter?.sites ?? [], hidden, usualRate: adapter?.usualRate };
  return new LossTrend(learningRate, trained, warmupSteps);
}
