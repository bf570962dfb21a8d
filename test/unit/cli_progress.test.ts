/** The line that shows progress: one that is rewritten on a terminal, plain lines elsewhere. */
import { Writable } from "node:stream";
import { ProgressLine } from "../../lib/cli/progress";

function shown(columns: number | undefined) {
  let written = "";
  let now = 0;
  const stream = new Writable({
    write(chunk, _, done) {
      written += chunk;
      done();
    },
  });
  const output = columns === undefined ? stream : Object.assign(stream, { isTTY: true, columns });
  const line = new ProgressLine(output, true, () => now);
  return {
    line,
    wait: (ms: number) => {
      now += ms;
    },
    written: () => written,
  };
}

test("progress rewrites one line on a terminal, within its width", () => {
  const { line, wait, written } = shown(20);
  line.show(0.5, "half of\u001b[2J it");
  line.show(0.6, "too soon");
  wait(200);
  line.show(1, "all");
  line.clear();
  line.clear();
  expect(written()).toBe("\r\u001b[K[###..] half of\\u00\r\u001b[K[#############] all\r\u001b[K");
});

test("progress writes plain lines at intervals elsewhere", () => {
  const { line, wait, written } = shown(undefined);
  line.show(0, "at once");
  wait(2000);
  for (let step = 0; step < 100; step++) {
    line.show(step / 100, `step ${step}`);
    wait(100);
  }
  line.show(1, "end", true);
  expect(written()).toBe("step 0\nstep 50\nend\n");
});
