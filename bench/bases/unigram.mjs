/** The loss of a model that knows only how often each token occurs. */

/**
 * Counts of the training tokens with one added to each, so that no probability is 0.
 * @param {number[][]} train
 * @param {number[][]} heldOut
 * @param {number} vocabulary ids are below it
 * @returns {{loss: number, tokens: number}} mean nats per held-out token
 */
export function unigramLoss(train, heldOut, vocabulary) {
  const counts = new Float64Array(vocabulary).fill(1);
  for (const ids of train) for (const id of ids) counts[id]++;
  const total = counts.reduce((sum, count) => sum + count, 0);
  let nats = 0;
  let tokens = 0;
  for (const ids of heldOut)
    for (const id of ids) {
      nats -= Math.log(counts[id] / total);
      tokens++;
    }
  return { loss: nats / tokens, tokens };
}
