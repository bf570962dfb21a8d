/** The command lines that commands print run in a shell, from the folder where they were printed. */
import { spawnSync } from "node:child_process";
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { shellQuoted } from "../../lib/cli/text";
import { nodeArguments, rowsOf, runCli, writeModel } from "./cli_support";

let home: string;
const at = (...names: string[]) => join(home, ...names);
const chats = Array.from({ length: 4 }, (_, row) =>
  JSON.stringify({
    messages: [
      { role: "user", content: `q${row}` },
      { role: "assistant", content: "a" },
    ],
  }),
).join("\n");

/** A project that has the package, so that npx finds its command there; the command runs from the sources. */
beforeAll(async () => {
  home = realpathSync(mkdtempSync(join(tmpdir(), "rubricate hints' ")));
  mkdirSync(at("node_modules", ".bin"), { recursive: true });
  writeFileSync(at("package.json"), JSON.stringify({ name: "project", private: true }));
  const command = [process.execPath, ...nodeArguments].map(shellQuoted).join(" ");
  writeFileSync(at("node_modules", ".bin", "rubricate"), `#!/bin/sh\nexec ${command} "$@"\n`);
  chmodSync(at("node_modules", ".bin", "rubricate"), 0o755);
  await writeModel(at(`the "model"`));
  await writeModel(at("-model"));
  writeFileSync(at("rows.jsonl"), rowsOf(4));
  writeFileSync(at("chats.jsonl"), chats);
});
afterAll(() => rmSync(home, { recursive: true }));

const options = (input = "") => ({ cwd: home, encoding: "utf8", timeout: 50_000, input }) as const;
const train = (...flags: string[]) =>
  spawnSync(process.execPath, [...nodeArguments, "train", "--max-steps", "1", ...flags], options());

test.each<[string, string, string[], RegExp]>([
  ["prompts", "sh", ["--model", `the "model"`, "--data", "rows.jsonl", "--out", "it's $HOME"], /^npx rubricate generate --model .* --adapter .* --prompt "\.\.\."$/],
  ["chats", "sh", ["--model", `the "model"`, "--data", "chats.jsonl", "--out", "`chats`; \\"], /^npx rubricate chat --model .* --adapter .*$/],
  ["prompts, all weights", "sh", ["--model", "embedded", "--data", "rows.jsonl", "--out", "full out", "--method", "full"], /^npx rubricate generate --model 'full out' --prompt "\.\.\."$/],
  ["chats, all weights", "sh", ["--model", "./-model", "--data", "chats.jsonl", "--out", "full*", "--method", "full"], /^npx rubricate chat --model 'full\*'$/],
  ["paths that look like flags", "sh", ["--model=-model", "--data", "rows.jsonl", "--out=-out"], /--model \.\/-model --adapter \.\/-out /],
  ["an output folder with control characters", "bash", ["--model", "embedded", "--data", "rows.jsonl", "--out", "new\nline\t'é\\\u0085\u202e"], /--adapter \$'new\\012line\\011\\047\\303\\251/],
])("after training on %s", (_, shell, flags, expected) => {
  const trained = train(...flags);
  expect({ status: trained.status, stderr: trained.stderr }).toMatchObject({ status: 0 });
  const [, hint] = /Try it:\n {2}(.*)\n$/.exec(trained.stdout)!;
  expect(hint).toMatch(expected);
  const tried = spawnSync(shell, ["-c", hint!], options("hello\n"));
  expect({ status: tried.status, stderr: tried.stderr }).toMatchObject({ status: 0 });
  expect(tried.stdout).toMatch(/\n$/); // the text itself may be empty
}); // biome-ignore format: one line a case

test("after a failed run, the command line that resumes", () => {
  const argv = ["train", "--model", `the "model"`, "--data", "rows.jsonl", "--out", "it's full", "--epochs", "300"];
  const command = [process.execPath, ...nodeArguments, ...argv].map(shellQuoted).join(" ");
  const failed = spawnSync("bash", ["-c", `ulimit -f 16; exec ${command}`], options());
  const [, hint] = /resume with:\n {2}(.*)\n/.exec(failed.stderr)!;
  expect(hint).toBe(
    `npx rubricate train --model 'the "model"' --data rows.jsonl --out 'it'\\''s full' --epochs 300 --resume`,
  );
  const resumed = spawnSync("sh", ["-c", hint!], options());
  expect(resumed.status).toBe(0);
  expect(resumed.stderr).toMatch(/^resuming after step \d+$/m);
});

test("the demo's", () => {
  const demo = ["demo", "--model", `the "model"`, "--epochs", "1", "--max-new-tokens", "2", "--out", "a demo"];
  const { stdout } = spawnSync(process.execPath, [...nodeArguments, ...demo], options());
  const hints = [...stdout.matchAll(/^ {2}(npx rubricate .*)$/gm)].map(([, hint]) => hint!);
  expect(hints.map((hint) => hint.split(" ")[2])).toEqual(["generate", "chat", "inspect", "train"]);
  for (const hint of hints.slice(0, 3)) expect(spawnSync("sh", ["-c", hint], options("hello\n")).status).toBe(0);
});

test("in a clone of the package, where npx does not find it, node runs the built command", async () => {
  const argv = ["train", "--model", at("-model"), "--data", at("rows.jsonl"), "--out", at("clone"), "--max-steps", "1"];
  expect((await runCli(argv)).stdout).toContain("\n  node dist/cli/main.js generate --model ");
  const { bin } = JSON.parse(readFileSync(join(__dirname, "../../package.json"), "utf8"));
  expect(bin).toEqual({ rubricate: "dist/cli/main.js" });
});
