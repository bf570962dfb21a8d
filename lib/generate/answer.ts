import type { TokenDecoder } from "../tokenizer/token_decoder";
import type { GeneratedToken } from "./outputs";
import type { GeneratedLogProbability, GenerationPiece } from "./result";
import type { StopFilter } from "./stop_strings";

/** The text of generated tokens. */
export class Answer {
  readonly tokenIds: number[] = [];
  /** Of the tokens that came with theirs. */
  readonly logProbabilities: GeneratedLogProbability[] = [];
  text = "";

  /** @param decoder undefined for a model without a tokenizer: the text is empty */
  constructor(
    private readonly decoder: TokenDecoder | undefined,
    private readonly stops: StopFilter,
  ) {}

  /** Whether a stop string has ended the text. */
  get stopped(): boolean {
    return this.stops.stopped;
  }

  push(token: GeneratedToken): GenerationPiece {
    const { tokenId } = token;
    this.tokenIds.push(tokenId);
    if ("logProbability" in token) this.logProbabilities.push(token);
    const text = this.decoder ? this.stops.push(this.decoder.push(tokenId), false) : "";
    this.text += text;
    return { text, ...token };
  }

  /** The text that was held back, at the end; undefined if there is none. */
  rest(): GenerationPiece | undefined {
    const text = this.decoder && !this.stopped ? this.stops.push(this.decoder.end(), true) : "";
    this.text += text;
    return text === "" ? undefined : { text, tokenId: this.tokenIds.at(-1)! };
  }
}
