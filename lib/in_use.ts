/** What the training runs of this process use: while a run trains an adapter or a model, nothing else may change it. */
import { RubricateError } from "./errors";

interface Claim {
  readonly shared: boolean;
  holders: number;
}

const claims = new WeakMap<object, Claim>();

/**
 * Claims an object for a run. Shared claims are compatible with each other; any other claim is exclusive.
 * @param refusal makes the message for a refused claim; `byShared`: the existing claims are shared ones
 * @returns ends the claim; may be called twice
 * @throws RubricateError ERR_BUSY
 */
export function claim(object: object, shared: boolean, refusal: (byShared: boolean) => string): () => void {
  const present = claims.get(object);
  if (present && !(shared && present.shared)) throw new RubricateError("ERR_BUSY", refusal(present.shared));
  const own = present ?? { shared, holders: 0 };
  own.holders++;
  claims.set(object, own);
  let held = true;
  return () => {
    if (!held) return;
    held = false;
    own.holders--;
    if (own.holders === 0) claims.delete(object);
  };
}

/** Whether a run has an exclusive claim on an object. */
export function isClaimed(object: object): boolean {
  return claims.get(object)?.shared === false;
}
