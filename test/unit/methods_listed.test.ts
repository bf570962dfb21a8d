/** The list of methods, and what `inspect --method` shows of them. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { methodFunctionOf, methodKinds, methods } from "../../lib/adapter/methods";
import { flags } from "../../lib/cli/flags";
import { folderOf } from "../parity/fixtures";
import { runCli } from "./cli_support";

const home = mkdtempSync(join(tmpdir(), "rubricate-methods-listed-"));
afterAll(() => rmSync(home, { recursive: true, force: true }));

describe("the list of methods", () => {
  test("has each under its kind, and a flag for each option", () => {
    for (const kind of methodKinds) expect(methodFunctionOf(kind).kind).toBe(kind);
    for (const { options } of methods) for (const name of options) expect(Object.keys(flags)).toContain(name);
  });

  test.each(methodKinds.map((kind) => [kind]))("%s has a section in docs/methods.md", (kind) => {
    const text = readFileSync(join(__dirname, "../../docs/methods.md"), "utf8");
    expect(text).toContain(`\`--method ${kind}\``);
  });
});

describe("inspect --method", () => {
  /** LLaMA-2-7B's. */
  const config = {
    model_type: "llama",
    hidden_size: 4096,
    intermediate_size: 11008,
    num_attention_heads: 32,
    num_hidden_layers: 32,
    vocab_size: 32000,
    max_position_embeddings: 4096,
    rms_norm_eps: 1e-5,
    hidden_act: "silu",
    eos_token_id: 2,
  };
  const shown = async (...args: string[]) => {
    const path = join(home, "llama-2-7b.json");
    writeFileSync(path, JSON.stringify(config));
    return runCli(["inspect", "--model", path, "--json", ...args]);
  };

  test.each<[number, string[]]>([
    [262_144, ["--method", "red"]],
    [4_194_304, ["--method", "lora"]],
    [8_388_608, ["--method", "lora", "--rank", "16"]],
    [614_400, ["--method", "ia3"]],
    [4_325_888, ["--method", "bottleneck"]],
    [524_288, ["--method", "melora"]],
    [524_288, ["--method", "melora", "--groups", "64"]],
    [4_194_304, ["--method", "sibo"]],
    [4_325_888, ["--method", "sibo", "--on", "bottleneck"]],
    [262_144, ["--method", "gift"]],
    [524_288, ["--method", "gift", "--rank", "32"]],
    [131_072, ["--method", "gift", "--sharing", "all"]],
    [262_144, ["--method", "gift", "--activation", "gelu"]],
    [7_733_248, ["--method", "hiwi"]],
    [1_048_576, ["--method", "hiwi", "--target", "weights", "--rank", "2", "--sites", "q,v"]],
    [262_144, ["--method", "ether"]],
    [262_144, ["--method", "ether", "--blocks", "32"]],
    [1_048_576, ["--method", "ether+", "--blocks", "32"]],
    [4_292 * 8, ["--method", "lorta"]],
    [4_292 * 2, ["--method", "lorta", "--rank", "2"]],
    [249_856 + 266_240, ["--method", "loretta_rep"]],
    [614_400 + 266_240, ["--method", "loretta_adp"]],
    [32_380_032, ["--method", "pafi"]],
    [671_088, ["--method", "sara", "--share", "0.01", "--sites", "q,v", "--layers", "0,1"]],
    [6_738_415_616, ["--method", "full"]],
  ])("of LLaMA-2-7B's config.json alone: %i numbers with %j", async (parameters, args) => {
    const { stdout, stderr } = await shown(...args);
    expect(stderr).toBe("");
    expect(JSON.parse(stdout)).toMatchObject({ parameters, baseParameters: 6_738_415_616 });
  });

  test("also for people, of a model's folder", async () => {
    const { stdout } = await runCli(["inspect", "--model", folderOf("gqa"), "--method", "lora", "--rank", "4"]);
    expect(stdout).toMatch(/method +lora/);
    expect(stdout).toMatch(/rank +4/);
    expect(stdout).toMatch(/layers +0, 1/);
  });

  test.each<[string[], RegExp]>([
    [["--method", "other"], /one of red, lora, ia3/],
    [["--method", "red", "--rank", "4"], /no --rank with --method red/],
    [["--rank", "4"], /--rank only with --method/],
    [["--method", "red", "--adapter", "x"], /--model alone with --method/],
    [
      ["--method", "melora", "--groups", "3"],
      /a divisor of the widths of q, 4096 and 4096, for --groups but received 3/,
    ],
    [["--method", "bottleneck", "--activation", "elu"], /one of gelu, gelu_tanh, silu, relu, tanh/],
    [["--method", "hiwi", "--target", "bias"], /one of biases, weights for --target|one of biases, weights/],
    [["--method", "hiwi", "--target", "weights", "--activation", "elu"], /one of gelu, gelu_tanh, silu, relu, tanh/],
    [["--method", "gift", "--target", "weights"], /no --target with --method gift/],
    [["--method", "red", "--layers", "32"], /layer numbers from 0 to 31/],
    [
      ["--method", "ether", "--sites", "ffn", "--blocks", "3"],
      /a divisor of the width 11008 of ffn for --blocks but received 3/,
    ],
    [
      ["--method", "ether+", "--sites", "ffn", "--blocks", "86"],
      /a divisor of the widths of ffn, 11008 and 4096, for --blocks but received 86/,
    ],
    [
      ["--method", "hiwi", "--target", "biases"],
      /biases at up, ffn for the method hiwi with target "biases" but received a model of model_type llama without any at up, ffn; the target "weights" needs none/,
    ],
  ])("%j is refused", async (args, message) => {
    const { status, stderr } = await shown(...args);
    expect(status).not.toBe(0);
    expect(stderr).toMatch(message);
  });

  test("of a path that does not exist is refused", async () => {
    const { stderr } = await runCli(["inspect", "--model", join(home, "none"), "--method", "red"]);
    expect(stderr).toMatch(/a model's folder or a config.json/);
  });
});
