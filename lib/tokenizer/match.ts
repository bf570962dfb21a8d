import { RubricateError } from "../errors";

/**
 * Runs a regular expression. V8 notes each character of a match that it could take back, and fails where these are many millions.
 * @throws {RubricateError} ERR_TOKENIZER
 */
export function withStack<T>(match: () => T): T {
  try {
    return match();
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw new RubricateError(
      "ERR_TOKENIZER",
      "Expected words of at most about 4 million characters but the text has a longer one, such as a row of the same letter",
      { cause: error },
    );
  }
}
