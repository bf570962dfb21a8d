/** What the training runs of this process use: an adapter or a model that one of them trains is no other's to change. */
import { RubricateError } from "./errors";

interface Claim {
  readonly shared: boolean;
  holders: number;
}

const claims = new WeakMap<object, Claim>();

/**
 * Claims an object for a run. Claims that are shared go together, others with none.
 * @param refusal the sentence for a claim that has to be refused; `byShared`: what is there are shared claims
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

/** Whether a run has an object for itself. */
export function isClaimed(object: object): boolean {
  return claims.get(object)?.shared === false;
}
