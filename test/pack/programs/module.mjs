import { LanguageModel, RedAdapter, Trainer } from "rubricate";

const model = await LanguageModel.fromPretrained(process.argv[2]);
const adapter = RedAdapter.create(model);
const train = [{ tokenIds: Int32Array.of(1, 5, 9, 7, 5, 9, 7, 5), supervised: new Uint8Array(8).fill(1), line: 1 }];
const losses = [];
for await (const event of new Trainer({ model, adapter, train, maxSteps: 20, learningRate: 0.05 }).run())
  if (event.type === "step") losses.push(event.loss);
let text = 0;
for await (const piece of model.generate({ tokenIds: [1, 5, 9], adapter, maxNewTokens: 4 })) text += piece.tokenId;
console.log(losses.length === 20 && losses[19] < losses[0] && text > 0 ? "works" : `broken: ${losses}, ${text}`);
