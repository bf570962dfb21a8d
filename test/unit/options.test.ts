import vm from "node:vm";
import { invalid, RubricateError, reasonOf } from "../../lib/errors";
import { Callback, onAbort, runJob } from "../../lib/job";
import { checkOptions, listOf, type OptionNames, signalOf, suggestion } from "../../lib/options";

interface Some {
  readonly maxNewTokens?: number;
  readonly learningRate?: number;
  readonly stop?: string;
}
const names: OptionNames<Some> = { maxNewTokens: true, learningRate: true, stop: true };
const check = (options: unknown) => checkOptions(options as Some, names, "generate");

describe("an unknown option", () => {
  test.each([
    ["maxTokens", "maxNewTokens"],
    ["max_new_tokens", "maxNewTokens"],
    ["maxNewToken", "maxNewTokens"],
    ["learning_rate", "learningRate"],
    ["learnngRate", "learningRate"],
    ["stops", "stop"],
  ])("%s is taken for %s", (given, meant) => {
    expect(() => check({ [given]: 1 })).toThrow(`Unknown option "${given}" for generate; did you mean ${meant}?`);
  });

  test("that is similar to none lists all of them", () => {
    const message = 'Unknown option "zebra" for generate; the options are maxNewTokens, learningRate, stop';
    expect(() => check({ zebra: 1 })).toThrow(message);
  });

  test("for a function that has none says so", () => {
    expect(() => checkOptions({ zebra: 1 } as object, {}, "bitfit")).toThrow(
      /^Unknown option "zebra" for bitfit; it has no options$/,
    );
  });

  test("that is undefined counts as missing", () => {
    expect(check({ zebra: undefined, stop: "x" })).toEqual({ stop: "x" });
    expect(() => check({ zebra: null })).toThrow(/^Unknown option "zebra"/);
  });

  test("of a million letters is refused quickly, with a short message", () => {
    const start = performance.now();
    expect(() => check({ ["a".repeat(1e6)]: 1 })).toThrow(/^Unknown option "a{64}\.\.\."/);
    expect(performance.now() - start).toBeLessThan(1000);
    expect(suggestion("stop".repeat(1e5), ["stop"])).toBe("");
  });
});

describe("options", () => {
  test("are those of an object and of what it inherits from", () => {
    class Chosen {
      stop = "x";
      get maxNewTokens() {
        return 7;
      }
      helper() {}
    }
    expect(check(new Chosen())).toEqual({ stop: "x", maxNewTokens: 7, learningRate: undefined });
    expect(check(Object.create({ stop: "inherited" })).stop).toBe("inherited");
    expect(check(Object.assign(Object.create(null), { stop: "bare" })).stop).toBe("bare");
    expect(check(vm.runInNewContext('({ stop: "another realm" })')).stop).toBe("another realm");
  });

  test("are not the methods and fields of a class's prototype that have other names", () => {
    function Older(this: Some & { stop: string }) {
      this.stop = "x";
    }
    Older.prototype.validate = () => {};
    const older = new (Older as unknown as new () => Some)();
    expect(check(older)).toEqual({ stop: "x" });
    expect(check(Object.create({ stopp: 1 }))).toEqual({});
    expect(() => check(Object.assign(older, { validate: 1 }))).toThrow(/Unknown option "validate"/);
  });

  test("may have a tag of their own", () => {
    class Tagged {
      stop = "x";
      get [Symbol.toStringTag]() {
        return "Tagged";
      }
    }
    expect(check(new Tagged()).stop).toBe("x");
    expect(check({ stop: "x", [Symbol.toStringTag]: "Settings" }).stop).toBe("x");
  });

  test("do not include properties added to Object.prototype", () => {
    const polluted = Object.prototype as Record<string, unknown>;
    polluted.stop = 5;
    polluted.nonsense = 6;
    try {
      const copy = { ...check({ maxNewTokens: 1 }) };
      expect(Object.hasOwn(copy, "stop") && copy.stop).toBeUndefined();
    } finally {
      delete polluted.stop;
      delete polluted.nonsense;
    }
  });

  test.each<[string, unknown]>([
    ["null", null],
    ["an array", []],
    ["a function", () => {}],
    ["a promise", Promise.resolve({})],
    ["a map", new Map()],
    ["an iterator", new Map().keys()],
    ["a generator", (function* () {})()],
    ["a typed array", new Int32Array(1)],
    ["a date", new Date()],
    ["a signal", new AbortController().signal],
    ["a text", "maxNewTokens"],
  ])("cannot be %s", (_, value) => {
    expect(() => check(value)).toThrow(/^Expected an object for the options of generate but received /);
  });

  test("that throw when they are read are refused, with what was thrown as the cause", () => {
    const cause = new Error("mine");
    const options = {
      get stop() {
        throw cause;
      },
    };
    expect(() => check(options)).toThrow(
      expect.objectContaining({
        name: "RubricateError",
        code: "ERR_ARGUMENT",
        cause,
        message: expect.stringMatching(/mine$/),
      }),
    );
  });

  test("are read once", () => {
    let reads = 0;
    const options = {
      get stop() {
        reads++;
        return "x";
      },
    };
    check(options);
    expect(reads).toBe(1);
  });
});

describe("a message", () => {
  const thrower = {
    get constructor() {
      throw new Error("no");
    },
  };
  const { proxy, revoke } = Proxy.revocable({}, {});
  revoke();
  test.each<[string, unknown, RegExp]>([
    ["a revoked proxy", proxy, /an object that cannot be read$/],
    ["an object whose constructor throws", thrower, /an object that cannot be read$/],
    ["a class without a name", { constructor: { name: Symbol("s") } }, /an instance of Object$/],
    ["a symbol", Symbol("s"), /Symbol\(s\) of type symbol$/],
    ["a typed array", new Float32Array(3), /an instance of Float32Array of length 3$/],
    ["a bare object", Object.create(null), /an instance of Object$/],
    ["a huge bigint", 10n ** 5000n, /a number of type bigint beyond 64 bits$/],
    ["a long text", "x".repeat(1e6), /x{77}\.\.\." of type string$/],
  ])("can describe %s", (_, value, says) => {
    expect(invalid("it", "more", value).message).toMatch(says);
    expect(reasonOf(value)).toMatch(/ was thrown$/);
  });
});

test("holes of an array are undefined", () => {
  expect(listOf("list", "a list", Object.assign(new Array<number>(2), { 1: 1 }))).toEqual([undefined, 1]);
  expect(() => listOf("list", "a list", [1, 2, 3], 2)).toThrow(/at most 2 elements for list/);
});

describe("a signal", () => {
  /** Like a polyfill's: not an AbortSignal, with only the necessary members. */
  function duck() {
    const listeners = new Set<() => void>();
    return {
      aborted: false,
      reason: "enough",
      listeners,
      addEventListener: (_: string, listener: () => void) => void listeners.add(listener),
      removeEventListener: (_: string, listener: () => void) => void listeners.delete(listener),
    };
  }
  const job = () => {
    let reject: (error: Error) => void = () => {};
    const promise = new Promise<never>((_, refuse) => {
      reject = refuse;
    });
    return { promise, cancel: () => reject(new RubricateError("ERR_ABORTED", "stopped")) };
  };

  test("may be of another realm, or a polyfill's", async () => {
    const signal = duck();
    expect(signalOf(signal as never)).toBe(signal);
    const waiting = runJob(job, signal as never);
    signal.aborted = true;
    for (const listener of signal.listeners) listener();
    await expect(waiting).rejects.toMatchObject({ code: "ERR_ABORTED", cause: "enough" });
    expect(signal.listeners.size).toBe(0);
  });

  test.each<[string, unknown]>([
    ["an AbortController", new AbortController()],
    ["an EventTarget", new EventTarget()],
    ["{}", {}],
    ["false", false],
    ["a text", "abort"],
  ])("is not %s", (_, value) => {
    expect(() => signalOf(value as never)).toThrow(/^Expected an AbortSignal for signal but received /);
  });

  test("has one listener for any number of calls", async () => {
    const signal = duck();
    let stopped = 0;
    const ends = Array.from({ length: 20 }, () => onAbort(signal as never, () => stopped++));
    expect(signal.listeners.size).toBe(1);
    ends[3]!();
    ends[3]!();
    for (const listener of signal.listeners) listener();
    expect(stopped).toBe(19);
    for (const end of ends) end();
    expect(signal.listeners.size).toBe(0);
    const end = onAbort(signal as never, () => stopped++);
    expect(signal.listeners.size).toBe(1);
    end();
  });

  test("that takes no listener leaves no job behind", async () => {
    const signal = {
      ...duck(),
      addEventListener: () => {
        throw new Error("closed");
      },
    };
    let started = 0;
    const start = () => {
      started++;
      return job();
    };
    await expect(runJob(start, signal as never)).rejects.toMatchObject({ code: "ERR_ARGUMENT" });
    expect(started).toBe(0);
  });
});

describe("a callback", () => {
  test.each([[new Error("mine")], [undefined], [null], [5]])(
    "that throws %p rejects the call with the same value",
    async (reason) => {
      const callback = new Callback<number>(() => {
        throw reason;
      });
      let stops = 0;
      callback.stop = () => stops++;
      const result = callback.during(async () => {
        callback.tell(1);
        callback.tell(2);
        throw new RubricateError("ERR_ABORTED", "stopped");
      });
      await expect(result).rejects.toBe(reason);
      expect(stops).toBe(1);
    },
  );

  test("whose promise rejects does so too, even if the work is done by then", async () => {
    const reason = new Error("late");
    const callback = new Callback<number>(() => new Promise((_, reject) => setTimeout(reject, 20, reason)));
    const result = callback.during(async () => callback.tell(1));
    await expect(result).rejects.toBe(reason);
  });
});
