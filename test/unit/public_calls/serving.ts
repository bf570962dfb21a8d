/** The engine. Each call has an engine of its own. The option `adapter` is in engine_input.test.ts: it has more values. */
import * as api from "../../../lib/index";
import { generation } from "./models";
import { choice, missing, none, type PublicCall, settled } from "./support";

const calling =
  (method: "generate" | "complete" | "score" | "stats" | "drain" | "close"): PublicCall["call"] =>
  async ({ model }, args) => {
    const engine = new api.Engine({ model });
    try {
      return await settled((engine[method] as (...all: unknown[]) => unknown)(...args));
    } finally {
      await engine.close();
    }
  };

const { adapter: _, ...takes } = generation.takes!;
const request: Omit<PublicCall, "call"> = {
  args: generation.args,
  options: (s) => {
    const { adapter: _, ...options } = generation.options!(s);
    return { ...options, tenant: "acme", weight: 2, deadlineMs: 60_000 };
  },
  takes: { ...takes, tenant: `${missing} text`, weight: `${missing} one half`, deadlineMs: `${missing} one` },
};

export const serving: Record<string, PublicCall> = {
  "new Engine": {
    args: (s) => [{ model: s.model }],
    call: (_, args) => new api.Engine(...(args as never as [api.EngineOptions])).close(),
    options: (s) => ({
      model: s.model,
      cacheBytes: 2 ** 24,
      maxSequences: 4,
      maxQueue: 4,
      stepMs: 20,
      trainingShare: 0.1,
      prefixCache: false,
      maxAdapterBytes: 2 ** 20,
      keepVersions: 2,
      loadAdapter: () => undefined,
    }),
    takes: {
      cacheBytes: missing,
      maxSequences: `${missing} one`,
      maxQueue: `${missing} zero one`,
      stepMs: `${missing} one`,
      trainingShare: `${missing} half`,
      prefixCache: choice,
      maxAdapterBytes: `${missing} zero one`,
      keepVersions: `${missing} one`,
      loadAdapter: `${missing} function`,
    },
  },
  "Engine#generate": { ...request, call: calling("generate"), skips: { deadlineMs: "one" } },
  "Engine#complete": { ...request, call: calling("complete"), skips: { deadlineMs: "one" } },
  "Engine#score": {
    args: () => [{ prompt: "a", continuation: "b" }],
    call: calling("score"),
    options: () => ({
      prompt: "hello",
      continuation: [1, 2],
      tenant: "acme",
      weight: 2,
      deadlineMs: 60_000,
      signal: new AbortController().signal,
    }),
    takes: {
      prompt: "text",
      continuation: "text",
      tenant: `${missing} text`,
      weight: `${missing} one half`,
      deadlineMs: `${missing} one`,
      signal: missing,
    },
    skips: { deadlineMs: "one" },
    codes: ["ERR_CONTEXT_LENGTH"],
  },
  "Engine#stats": { args: none, call: calling("stats") },
  "Engine#drain": { args: none, call: calling("drain") },
  "Engine#close": { args: none, call: calling("close") },
};
