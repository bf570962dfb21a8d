/** The events of a run between the run and those who read them. */
import { limits } from "../limits";
import type { TrainEvent } from "./events";

export class EventQueue {
  private readonly events: TrainEvent[] = [];
  private readonly wakers = new Set<() => void>();
  private readers = 0;
  /** Whether anybody has read. */
  wasRead = false;
  /** Whether the run ends without waiting for readers. */
  private flowing = false;

  /** @param isAwaited whether somebody waits for the run's end */
  constructor(private readonly isAwaited: () => boolean) {}

  /** Whether the run has to wait. It does not for somebody who only waits for its end: then the oldest event goes. */
  get isFull(): boolean {
    const unread = this.readers === 0 && this.isAwaited();
    return this.events.length >= limits.queuedEvents && !unread && !this.flowing;
  }

  /** Adds an event. @returns an event that goes for it, unread */
  add(event: TrainEvent): TrainEvent | undefined {
    this.events.push(event);
    this.wake();
    return this.events.length > limits.queuedEvents && !this.flowing ? this.events.shift() : undefined;
  }

  /** Waits until there is room. */
  async room(): Promise<void> {
    while (this.isFull) await this.change();
  }

  /** From now on no event waits: the run is being cancelled. */
  flow(): void {
    this.flowing = true;
    this.wake();
  }

  /** Events as they come. @param hasEnded whether no more will come */
  async *read(hasEnded: () => boolean): AsyncGenerator<TrainEvent, void, void> {
    this.readers++;
    this.wasRead = true;
    try {
      for (;;) {
        const event = this.events.shift();
        if (event) {
          this.wake();
          yield event;
        } else if (hasEnded()) return;
        else await this.change();
      }
    } finally {
      this.readers--;
      this.wake();
    }
  }

  /** The events that nobody has read, which stay. */
  unread(): readonly TrainEvent[] {
    return this.events;
  }

  /** Something has changed that others may wait for. */
  wake(): void {
    const all = [...this.wakers];
    this.wakers.clear();
    for (const one of all) one();
  }

  private change(): Promise<void> {
    return new Promise((resolve) => this.wakers.add(resolve));
  }
}
