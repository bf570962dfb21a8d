/**
 * The texts of the bases: references of E2E's training set and paragraphs of TinyStories. No text or meaning representation of E2E's
 * dev and test sets is among them.
 */
import { readFileSync } from "node:fs";
import { e2eRows } from "../js/e2e.mjs";

/** Every twentieth meaning representation and paragraph is held out. */
const heldOutEvery = 20;

function split(items) {
  return {
    train: items.filter((_, at) => at % heldOutEvery !== 0),
    heldOut: items.filter((_, at) => at % heldOutEvery === 0),
  };
}

/** References by meaning representation: those of one are all trained on or all held out. */
function e2eTexts(zip) {
  const others = ["devset.csv", "testset_w_refs.csv"].flatMap((name) => e2eRows(zip, name));
  const foreign = new Set(others.flatMap(({ prompt, completion }) => [prompt, completion.trim()]));
  const groups = new Map();
  for (const { prompt, completion } of e2eRows(zip, "trainset.csv")) {
    const text = completion.trim();
    if (foreign.has(prompt) || foreign.has(text)) continue;
    if (!groups.has(prompt)) groups.set(prompt, { prompt, texts: [] });
    groups.get(prompt).texts.push(text);
  }
  return split([...groups.values()]);
}

function storyTexts(file) {
  const lines = readFileSync(file, "utf8").split(/\n+/);
  return split(lines.map((line) => line.trim()).filter((line) => line.length > 80));
}

/** @returns {{train: string[], heldOut: string[], prompts: string[]}} prompts: the meaning representations of train */
export function baseTexts({ e2e, stories }) {
  const pairs = e2eTexts(e2e);
  const paragraphs = storyTexts(stories);
  const textsOf = (part) => [...new Set(pairs[part].flatMap(({ texts }) => texts)), ...paragraphs[part]];
  const train = textsOf("train");
  const trained = new Set(train);
  return {
    train,
    heldOut: textsOf("heldOut").filter((text) => !trained.has(text)),
    prompts: pairs.train.map(({ prompt }) => prompt),
  };
}
