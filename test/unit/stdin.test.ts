/** Reading of stdin, which may be endless. */
import { spawnSync } from "node:child_process";
import { closeSync, openSync } from "node:fs";
import { Readable } from "node:stream";
import { boundedLines, readStdin } from "../../lib/cli/stdin";
import { limits } from "../../lib/limits";
import { nodeArguments } from "./cli_support";

const none = new AbortController().signal;
const refused = { code: "ERR_ARGUMENT", message: expect.stringMatching(/^Expected at most \d+ bytes for .* stdin/) };

/** A number of bytes in chunks, with a newline after each line. */
function* chunks(...lengths: number[]): Generator<Buffer> {
  for (const length of lengths) {
    for (let at = 0; at < length; at += 1 << 20) yield Buffer.alloc(Math.min(1 << 20, length - at), "a");
    yield Buffer.from("\n");
  }
}

async function linesOf(source: Iterable<Buffer>): Promise<number> {
  let bytes = 0;
  for await (const chunk of boundedLines(Readable.from(source))) bytes += chunk.length;
  return bytes;
}

test("a prompt is read to the limit, and no further", async () => {
  const limit = limits.stdinBytes;
  expect(await readStdin(Readable.from(chunks(limit - 1)), none)).toHaveLength(limit);
  function* endless() {
    for (;;) yield Buffer.alloc(1 << 20);
  }
  await expect(readStdin(Readable.from(endless()), none)).rejects.toMatchObject(refused);
  await expect(readStdin(Readable.from(chunks(limit)), none)).rejects.toMatchObject(refused);
  expect(await readStdin(Readable.from([Buffer.from([0xc3]), Buffer.from([0xa9])]), none)).toBe("é");
});

test("each line of a conversation is read to the limit, and no further", async () => {
  const limit = limits.stdinBytes;
  expect(await linesOf(chunks(limit, 3, limit))).toBe(2 * limit + 6);
  for (const lengths of [[limit + 1], [3, limit + 1], [limit, limit + 1, 3]])
    await expect(linesOf(chunks(...lengths))).rejects.toMatchObject(refused);
});

test.each(["generate", "chat"])("%s refuses an endless stdin", (command) => {
  const zeros = openSync("/dev/zero", "r");
  try {
    const { status, stderr } = spawnSync(process.execPath, [...nodeArguments, command, "--device", "cpu"], {
      stdio: [zeros, "pipe", "pipe"],
      encoding: "utf8",
      timeout: 50_000,
    });
    expect(stderr).toMatch(
      /^rubricate \w+: Expected at most \d+ bytes for .* stdin but received more \[ERR_ARGUMENT\]\n/,
    );
    expect(status).toBe(2);
  } finally {
    closeSync(zeros);
  }
});
