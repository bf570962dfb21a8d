/** Decoders of @huggingface/tokenizers that treat bytes or spaces differently from the Rust library, done as that does. */

export const byteToken = /^<0x([0-9A-Fa-f]{2})>$/;

/** A run of byte tokens is text if all of it is UTF-8, else one U+FFFD a byte. */
export function decodeByteRuns(tokens: string[]): string[] {
  const result: string[] = [];
  let run: number[] = [];
  const flush = () => {
    if (run.length === 0) return;
    const bytes = Buffer.from(run);
    const text = bytes.toString("utf8");
    result.push(Buffer.from(text).equals(bytes) ? text : "\uFFFD".repeat(run.length));
    run = [];
  };
  for (const token of tokens) {
    const byte = byteToken.exec(token);
    if (byte) run.push(Number.parseInt(byte[1]!, 16));
    else {
      flush();
      result.push(token);
    }
  }
  flush();
  return result;
}

/** GPT-2's table of printable characters for the 256 bytes, inverted. */
const byteOfCharacter: ReadonlyMap<string, number> = (() => {
  const printable = (byte: number) =>
    (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || (byte >= 174 && byte <= 255);
  let beyond = 256;
  return new Map(
    Array.from({ length: 256 }, (_, byte) => [String.fromCharCode(printable(byte) ? byte : beyond++), byte]),
  );
})();

/** All tokens' bytes, put together and then read as UTF-8; a token with a character outside the table is taken literally. */
export function decodeByteLevel(tokens: string[]): string[] {
  const bytes: number[] = [];
  for (const token of tokens) {
    const own = Array.from(token, (character) => byteOfCharacter.get(character));
    bytes.push(...(own.includes(undefined) ? Buffer.from(token) : (own as number[])));
  }
  return [Buffer.from(bytes).toString("utf8")];
}

/** Each "▁" is a space; those of the first token are left out if they were prepended. */
export function decodeMetaspace(tokens: string[], prepended: boolean): string[] {
  return tokens.map((token, at) => token.replaceAll("▁", at === 0 && prepended ? "" : " "));
}
