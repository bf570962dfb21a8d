/** Tokenizers, and scores of texts. */
import * as api from "../../../lib/index";
import { choice, missing, none, noOptions, on, type PublicCall } from "./support";

const messages = () => [{ role: "user", content: "hello" }];
const chat = (method: "applyChatTemplate" | "encodeChat" | "renderChat"): PublicCall => ({
  args: () => [messages(), {}],
  call: on("tokenizer", method),
  options: () => ({ addGenerationPrompt: true, tools: [{ name: "t" }] }),
  takes: { 0: "array", 1: noOptions, addGenerationPrompt: choice, tools: `${missing} array` },
  codes: ["ERR_TEMPLATE"],
});

export const tokenizers: Record<string, PublicCall> = {
  "new Tokenizer": {
    args: (s) => [s.tokenizer.files],
    call: (_, args) => new api.Tokenizer(...(args as never as [api.Tokenizer["files"]])),
    codes: ["ERR_TOKENIZER"],
  },
  "new Tokenizer by its template": {
    args: (s) => [s.tokenizer.files.chatTemplate],
    call: (s, [chatTemplate]) => new api.Tokenizer({ ...s.tokenizer.files, chatTemplate }),
    takes: { 0: `${missing} text` },
  },
  "Tokenizer.fromPretrained": {
    args: (s) => [s.dir],
    call: (_, args) => api.Tokenizer.fromPretrained(...(args as never as [string])),
    codes: ["ERR_TOKENIZER", "ERR_FILE"],
  },
  "Tokenizer#encode": {
    args: () => ["hello", {}],
    call: on("tokenizer", "encode"),
    options: () => ({ addSpecialTokens: false }),
    takes: { 0: "text", 1: noOptions, addSpecialTokens: choice },
  },
  "Tokenizer#decode": {
    args: () => [[1, 2], {}],
    call: on("tokenizer", "decode"),
    options: () => ({ skipSpecialTokens: true }),
    takes: { 0: "array", 1: noOptions, skipSpecialTokens: choice },
  },
  "Tokenizer#createDecoder": {
    args: () => [{}],
    call: on("tokenizer", "createDecoder"),
    options: () => ({ skipSpecialTokens: true }),
    takes: { 0: noOptions, skipSpecialTokens: choice },
  },
  "Tokenizer#tokenText": { args: () => [1], call: on("tokenizer", "tokenText"), takes: { 0: "zero one minus huge" } },
  "Tokenizer#isSpecial": { args: () => [1], call: on("tokenizer", "isSpecial"), takes: { 0: "zero one minus huge" } },
  "Tokenizer#applyChatTemplate": chat("applyChatTemplate"),
  "Tokenizer#encodeChat": chat("encodeChat"),
  "Tokenizer#renderChat": chat("renderChat"),
  "Tokenizer#checkChatTemplate": { args: none, call: on("tokenizer", "checkChatTemplate") },
  scoreTexts: {
    args: () => [{ predictions: ["a"], references: [["a"]] }],
    call: (_, args) => api.scoreTexts(...(args as never as [api.ScoreTextsOptions])),
    options: () => ({ predictions: ["a b"], references: [["a c", "b"]], signal: new AbortController().signal }),
    takes: { signal: missing },
  },
  "new TokenDecoder": {
    args: () => [{ decode: () => "", skips: () => false, isByte: () => false, cleansUp: false }],
    call: (_, args) => new api.TokenDecoder(...(args as never as ConstructorParameters<typeof api.TokenDecoder>)),
  },
  "TokenDecoder#push": {
    args: () => [1],
    call: (s, [id]) => s.tokenizer.createDecoder().push(id!),
    takes: { 0: "zero one minus huge" },
  },
  "TokenDecoder#end": { args: none, call: (s) => s.tokenizer.createDecoder().end() },
};
