import { StopFilter, stopStrings } from "../../lib/generate/stop_strings";
import { limits } from "../../lib/limits";

/** Text up to the first stop string, found the slow way. */
function expected(text: string, stops: readonly string[]): string {
  const places = stops.map((stop) => text.indexOf(stop)).filter((at) => at >= 0);
  return places.length === 0 ? text : text.slice(0, Math.min(...places));
}

/** What comes out when the text goes in piece by piece. */
function filtered(pieces: readonly string[], stops: readonly string[]): { text: string; stopped: boolean } {
  const filter = new StopFilter(stops);
  let text = "";
  for (const piece of pieces) {
    text += filter.push(piece, false);
    if (filter.stopped) return { text, stopped: true };
  }
  return { text: text + filter.push("", true), stopped: filter.stopped };
}

function* randomNumbers(seed: number): Generator<number, never, void> {
  for (let state = seed; ; ) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    yield state >>> 8;
  }
}

test("the text ends before the first stop string, however it comes", () => {
  const random = randomNumbers(7);
  const below = (most: number) => random.next().value % most;
  const word = (length: number) => Array.from({ length }, () => "ab"[below(2)]).join("");
  for (let round = 0; round < 3000; round++) {
    const text = word(40);
    const stops = Array.from({ length: 1 + below(3) }, () => word(2 + below(8)));
    const pieces: string[] = [];
    for (let at = 0; at < text.length; ) {
      const length = 1 + below(5);
      pieces.push(text.slice(at, at + length));
      at += length;
    }
    const { text: found, stopped } = filtered(pieces, stops);
    const wanted = expected(text, stops);
    // A piece is looked at as a whole, so that the first stop string of the text as it is then counts.
    if (stopped) expect(stops.some((stop) => text.startsWith(found + stop))).toBe(true);
    else expect(found).toBe(wanted);
    expect(stopped).toBe(wanted !== text);
  }
});

test("text is held back only while it can become a stop string", () => {
  const filter = new StopFilter(["abcd", "xy"]);
  expect(filter.push("zab", false)).toBe("z");
  expect(filter.push("cz", false)).toBe("abcz");
  expect(filter.push("x", false)).toBe("");
  expect(filter.push("ab", false)).toBe("x");
  expect(filter.push("", true)).toBe("ab");
});

test("the most and longest stop strings cost little, whatever the text is", () => {
  const { stopStrings: most, stopStringLength: longest } = limits;
  const half = longest / 2;
  const mismatching = Array.from(
    { length: most - 1 },
    (_, at) => `${"a".repeat(half)}${String.fromCharCode(0x4e00 + at)}${"a".repeat(half - 1)}`,
  );
  const start = performance.now();
  const filter = new StopFilter(stopStrings([...mismatching, "a".repeat(longest)]));
  for (let i = 0; i < 2000; i++) filter.push(i % 100 === 99 ? "b" : "a".repeat(9), false);
  // Searching what is held back again for each token takes half a minute.
  expect(performance.now() - start).toBeLessThan(5000);
  expect(filter.stopped).toBe(false);
});
