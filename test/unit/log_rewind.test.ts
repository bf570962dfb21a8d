/** The log of a resumed run: any size and any contents. */
import { readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { replaceFileOperations } from "../../lib/files/operations";
import { limits } from "../../lib/limits";
import { closeLoggers, openLoggers } from "../../lib/train/loggers";
import { temporaryFolder } from "./failing_files";

let root: string;
let path: string;
beforeEach(() => {
  root = temporaryFolder();
  path = join(root, "log.jsonl");
});
afterEach(() => {
  replaceFileOperations(undefined);
  rmSync(root, { recursive: true, force: true });
});

/** The log after rewinding it for a run resumed at step 2. */
async function rewound(text: string | undefined, signal?: AbortSignal): Promise<string> {
  if (text !== undefined) writeFileSync(path, text);
  await closeLoggers(await openLoggers(["jsonl"], root, { step: 2, evaluated: false }, signal));
  return readFileSync(path, "utf8");
}

/** An event's line of a given size. */
function lineOf(bytes: number, step = 1): string {
  const [before, after] = [`{"type":"step","step":${step},"text":"`, '"}'];
  return `${before}${"x".repeat(bytes - before.length - after.length)}${after}`;
}

test("lines are kept by their step, independent of where the pieces of the file end", async () => {
  const lines = Array.from({ length: 3000 }, (_, at) => lineOf(50 + ((at * 7919) % 900), at % 4));
  const kept = lines.filter((_, at) => at % 4 <= 2);
  expect(await rewound(`${lines.join("\n")}\n`)).toBe(`${kept.join("\n")}\n`);
  const evaluation = '{"type":"eval","step":2}';
  expect(await rewound(`{"type":"end"}\n${lineOf(60)}\r\n${evaluation}\n{"type":"start"}`)).toBe(
    `${lineOf(60)}\r\n{"type":"start"}\n`,
  );
});

test("lines that are not events are removed, and never end the process", async () => {
  const strange = ["", "{", "{x}", "[]", "null", "1", '{"step":', `${"[".repeat(9000)}`, "\ud800", "\0".repeat(99)];
  const deep = `{"step":1,"a":${"[".repeat(30_000)}${"]".repeat(30_000)}}`;
  expect(await rewound([...strange, deep, lineOf(60), ...strange].join("\n"))).toBe(`${deep}\n${lineOf(60)}\n`);
});

test("a line may have logLineBytes bytes, and no more", async () => {
  const most = lineOf(limits.logLineBytes);
  expect(await rewound(`${lineOf(60)}\n${most}\n`)).toBe(`${lineOf(60)}\n${most}\n`);
  for (const end of ["\n", ""]) {
    const text = `${lineOf(60)}\n${lineOf(limits.logLineBytes + 1)}${end}`;
    await expect(rewound(text)).rejects.toMatchObject({
      code: "ERR_FILE",
      message: expect.stringMatching(/at most 65536 bytes in .*log\.jsonl but line 2 is longer/),
    });
    expect(readFileSync(path, "utf8")).toBe(text); // nothing is lost
  }
});

test("an endless line is refused", async () => {
  writeFileSync(path, "");
  truncateSync(path, 2 ** 25);
  await expect(rewound(undefined)).rejects.toMatchObject({
    code: "ERR_FILE",
    message: expect.stringMatching(/line 1/),
  });
});

test("many short lines are written together, and the event loop runs meanwhile", async () => {
  let writes = 0;
  replaceFileOperations((real) => ({
    ...real,
    create: async (one) => {
      const file = await real.create(one);
      const write = (bytes: Uint8Array) => {
        writes++;
        return file.write(bytes);
      };
      return { ...file, write };
    },
  }));
  let turns = 0;
  const turn = () => {
    turns++;
    other = setImmediate(turn);
  };
  let other = setImmediate(turn);
  const text = `${lineOf(40)}\n{x}\n`.repeat(20_000);
  const kept = await rewound(text);
  clearImmediate(other);
  expect(kept).toBe(`${lineOf(40)}\n`.repeat(20_000));
  expect(writes).toBeLessThan(20);
  expect(turns).toBeGreaterThan(20);
});

test("an abort ends the rewinding, and the log is unchanged", async () => {
  const text = `${lineOf(60, 9)}\n`;
  await expect(rewound(text, AbortSignal.abort())).rejects.toMatchObject({ code: "ERR_ABORTED" });
  expect(readFileSync(path, "utf8")).toBe(text);
});
