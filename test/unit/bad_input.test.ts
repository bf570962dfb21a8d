import { existsSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { RedAdapter } from "../../lib/adapter/red_adapter";
import { RubricateError } from "../../lib/errors";
import { replaceFileOperations } from "../../lib/files/operations";
import { badAdapters } from "./bad_adapters";
import { at, data, good, home, withModel } from "./bad_input_support";
import { badModels } from "./bad_models";
import { badTexts } from "./bad_texts";
import { badTraining } from "./bad_training";
import { rowsOf, runCli, spawnCli, writeModel } from "./cli_support";

const cases = [...badModels, ...badTexts, ...badTraining, ...badAdapters];

/** Files of adapters and checkpoints, and leftovers of writing them. */
function results(folder: string): string[] {
  if (!existsSync(folder) || !statSync(folder).isDirectory()) return [];
  return readdirSync(folder, { recursive: true, encoding: "utf8" })
    .filter((name) => /(^|\/)(\.rubricate|adapter_|checkpoint-|.*\.rubricate-[0-9a-f]{12}$)/.test(name))
    .sort();
}

beforeAll(async () => {
  await writeModel(good());
  await writeModel(at("other"), { offset: 5 });
  writeFileSync(data(), rowsOf(6));
  for (const [name, base] of [
    ["adapter", "good"],
    ["foreign", "other"],
  ] as const)
    await withModel(at(base), (one) => RedAdapter.create(one).savePretrained(at(name)));
});

afterEach(() => replaceFileOperations(undefined));
afterAll(() => rmSync(home, { recursive: true }));

/** The error that a promise rejects with. */
const errorOf = (promise: Promise<unknown>) =>
  promise.then(
    () => undefined,
    (error: unknown) => error,
  );

test.each(cases.map((one, number) => ({ ...one, number })))(
  "$what: $code",
  async ({ number, make, argv, api, code, says, saysCli }) => {
    const folder = at(`case-${number}`);
    await make?.(folder);
    const before = results(folder);

    const error = await errorOf(api(folder));
    expect(error).toBeInstanceOf(RubricateError);
    expect((error as RubricateError).code).toBe(code);
    expect((error as RubricateError).message).toMatch(says);
    expect(results(folder)).toEqual(before);

    const { status, stdout, stderr } = await runCli(argv(folder));
    expect(stderr).toMatch(saysCli ?? says);
    expect(stderr).not.toMatch(/^\s+at /m);
    if (!saysCli && code !== "ERR_ARGUMENT") expect(stderr).toContain(`[${code}]`);
    expect({ status, stdout }).toEqual({ status: code === "ERR_ARGUMENT" ? 2 : 1, stdout: "" });
    expect(results(folder)).toEqual(before);
  },
);

test("there are more than thirty kinds", () => {
  expect(cases.length).toBeGreaterThan(30);
});

test.each([
  { argv: () => ["tune"], status: 2, says: /Expected one of demo, train.* but received "tune"/ },
  { argv: () => ["generate", "--promt", "x"], status: 2, says: /received "--promt"; did you mean --prompt\?/ },
  { argv: () => ["inspect", "no\u001b[31mwhere"], status: 1, says: /no\\u001b\[31mwhere.* \[ERR_FILE\]/ },
  {
    argv: () => ["inspect", "a\nrubricate: saved"],
    status: 1,
    says: /^rubricate inspect: .*a\\nrubricate: saved.*\]\n$/,
  },
  { argv: () => ["generate", "--prompt", "x", "--mo\ndel"], status: 2, says: /^rubricate generate: .*\nSee [^\n]*\n$/ },
  {
    argv: () => ["generate", "--model", good(), "--device", "cuda:9999", "--prompt", "x"],
    status: 1,
    says: /\[ERR_DEVICE\]/,
  },
  {
    argv: () => ["generate", "--model", good(), "--device", "cpu", "--prompt", "x"],
    env: { RUBRICATE_CPU_PATH: "abacus" },
    status: 1,
    says: /received abacus \[ERR_DEVICE\]/,
  },
])("a process of its own ends with $status and no stack trace: $says", ({ argv, env, status, says }) => {
  const outcome = spawnCli(argv(), env);
  expect(outcome.stderr).toMatch(says);
  expect(outcome.stdout + outcome.stderr).not.toMatch(/^\s+at /m);
  expect(outcome.status).toBe(status);
});
