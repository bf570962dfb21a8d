/** Decoders of @huggingface/tokenizers that treat bytes or spaces differently from the Rust library, done as that does. */

export const byteToken = /^<0x([0-9A-Fa-f]{2})>$/;
const byteTokenLength = "<0x00>".length;

/** A run of byte tokens is text if all of it is UTF-8, else one U+FFFD a byte. */
export function decodeByteRuns(tokens: string[]): string[] {
  const result: string[] = [];
  let run: number[] = [];
  const flush = () => {
    if (run.length === 0) return;
    result.push(textOfBytes(run));
    run = [];
  };
  for (const token of tokens) {
    const byte = token.length === byteTokenLength ? byteToken.exec(token) : null;
    if (byte) run.push(Number.parseInt(byte[1]!, 16));
    else {
      flush();
      result.push(token);
    }
  }
  flush();
  return result;
}

function textOfBytes(run: readonly number[]): string {
  if (run.length === 1) return run[0]! < 0x80 ? String.fromCharCode(run[0]!) : "\uFFFD";
  const bytes = Buffer.from(run);
  const text = bytes.toString("utf8");
  // A U+FFFD stands for wrong bytes, or is one of the text's own characters.
  const valid = !text.includes("\uFFFD") || Buffer.from(text).equals(bytes);
  return valid ? text : "\uFFFD".repeat(run.length);
}

/** GPT-2's table of printable characters for the 256 bytes, inverted; -1 for other characters. */
const byteOfCharacter: Int16Array = (() => {
  const printable = (byte: number) =>
    (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || (byte >= 174 && byte <= 255);
  const bytes = new Int16Array(2 ** 16).fill(-1);
  let beyond = 256;
  for (let byte = 0; byte < 256; byte++) bytes[printable(byte) ? byte : beyond++] = byte;
  return bytes;
})();

/** UTF-8 has at most three bytes for a UTF-16 unit. */
const mostBytes = 3;

/** All tokens' bytes, put together and then read as UTF-8; a token with a character outside the table is taken literally. */
export function decodeByteLevel(tokens: string[]): string[] {
  let size = 0;
  for (const token of tokens) size += token.length;
  let bytes = Buffer.allocUnsafe(size);
  let end = 0;
  for (const token of tokens) {
    const { length } = token;
    let at = 0;
    for (; at < length; at++) {
      const byte = byteOfCharacter[token.charCodeAt(at)]!;
      if (byte < 0) break;
      bytes[end + at] = byte;
    }
    if (at === length) {
      end += length;
      continue;
    }
    size += (mostBytes - 1) * length; // a byte for each unit is there
    if (size > bytes.length) {
      const larger = Buffer.allocUnsafe(2 * size);
      bytes.copy(larger, 0, 0, end);
      bytes = larger;
    }
    end += bytes.write(token, end, "utf8");
  }
  return [bytes.toString("utf8", 0, end)];
}

/** A function of tokens that looks at each token once, however often it occurs. */
export function eachTokenOnce(decode: (token: string) => string): (token: string) => string {
  const known = new Map<string, string>();
  return (token) => {
    let text = known.get(token);
    if (text === undefined) {
      text = decode(token);
      known.set(token, text);
    }
    return text;
  };
}

/** Each "▁" is a space; those of the first token are left out if they were prepended. */
export function decodeMetaspace(tokens: string[], prepended: boolean): string[] {
  const spaced = eachTokenOnce((token) => token.replaceAll("▁", " "));
  return tokens.map((token, at) => (at === 0 && prepended ? token.replaceAll("▁", "") : spaced(token)));
}
