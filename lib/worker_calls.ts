/** The worker's side of lib/worker_thread.ts: answers calls, one after another; others are answered while one is awaited. */
import { parentPort } from "node:worker_threads";
import { RubricateError } from "./errors";
import type { Calls, Reply, Request } from "./worker_thread";

/** How each call is answered: its result, and the buffers transferred with it instead of copied. */
export type Answers<C extends Calls<C>> = {
  readonly [K in keyof C]: (argument: C[K]["argument"]) => Answer<C[K]["result"]> | Promise<Answer<C[K]["result"]>>;
};
type Answer<R> = [result: R, transfer?: ArrayBuffer[]];

/** Sends a notice during a call. */
export function notify(notice: unknown): void {
  parentPort!.postMessage({ notice });
}

/** Starts answering calls. If an answer throws, the call rejects with that. */
export function answerCalls<C extends Calls<C>>(answers: Answers<C>): void {
  const reply = (message: Reply<C>, transfer: ArrayBuffer[] = []) => parentPort!.postMessage(message, transfer);
  parentPort!.on("message", ({ id, call, argument }: Request<C>) => {
    const succeed = ([result, transfer]: Answer<C[keyof C]["result"]>) => reply({ id, result }, transfer);
    const fail = (error: unknown) => {
      const code = error instanceof RubricateError ? error.code : "ERR_INTERNAL";
      reply({ id, error: { code, message: (error as Error).message } });
    };
    try {
      const answer = answers[call](argument as never);
      if (answer instanceof Promise) answer.then(succeed).catch(fail);
      else succeed(answer);
    } catch (error) {
      fail(error);
    }
  });
}
