/** Reads stdin, which may be an endless pipe or device. */
import { RubricateError } from "../errors";
import { limits } from "../limits";

const newline = 0x0a;

function tooLong(what: string): RubricateError {
  return new RubricateError(
    "ERR_ARGUMENT",
    `Expected at most ${limits.stdinBytes} bytes for ${what} but received more`,
  );
}

/**
 * Reads the whole text of stdin, until the signal fires.
 * @throws RubricateError ERR_ARGUMENT if it is longer than a prompt can be
 */
export async function readStdin(stream: AsyncIterable<Buffer | string>, signal: AbortSignal): Promise<string> {
  const stop = () => (stream as unknown as { destroy(error: Error): void }).destroy(signal.reason as Error);
  signal.addEventListener("abort", stop, { once: true });
  const chunks: Buffer[] = [];
  let length = 0;
  try {
    for await (const chunk of stream) {
      const bytes = Buffer.from(chunk as string);
      length += bytes.length;
      if (length > limits.stdinBytes) throw tooLong("the text on stdin");
      chunks.push(bytes);
    }
  } finally {
    signal.removeEventListener("abort", stop);
  }
  return new TextDecoder().decode(Buffer.concat(chunks));
}

/**
 * Yields the bytes of stdin for a reader of lines.
 * @throws RubricateError ERR_ARGUMENT if a line is longer than a message can be
 */
export async function* boundedLines(stream: AsyncIterable<Buffer | string>): AsyncGenerator<Buffer, void, void> {
  let length = 0;
  for await (const chunk of stream) {
    const bytes = Buffer.from(chunk as string);
    const last = bytes.lastIndexOf(newline);
    const first = bytes.indexOf(newline);
    if (length + (first < 0 ? bytes.length : first) > limits.stdinBytes) throw tooLong("a line on stdin");
    length = last < 0 ? length + bytes.length : bytes.length - last - 1;
    yield bytes;
  }
}
