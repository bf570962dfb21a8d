import type { Architecture, RopePosition } from "../../lib/model/architecture";

/** The position of a model with RoPE. */
export function ropeOf({ architecture }: { readonly architecture: Architecture }): RopePosition {
  const [{ position }] = architecture.stacks;
  if (position.kind !== "rope") throw new Error(`${architecture.family} has no RoPE`);
  return position;
}
