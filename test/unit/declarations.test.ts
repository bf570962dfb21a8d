/** The declarations that users' compilers read: dist/, after `npm run build:ts`. */
import { execFileSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const root = join(__dirname, "..", "..");
const scripts = join(root, "lib", "scripts");

/** What a function of an ES module of lib/scripts returns. */
function call(file: string, name: string, ...values: unknown[]): unknown {
  const program = `
    import { ${name} } from ${JSON.stringify(pathToFileURL(join(scripts, file)).href)};
    console.log(JSON.stringify(${name}(...${JSON.stringify(values)})));`;
  return JSON.parse(execFileSync(process.execPath, ["--input-type=module", "-e", program], { encoding: "utf8" }));
}

test("none has syntax that TypeScript 5.4 cannot read: typed arrays with type arguments are of 5.7", () => {
  const dist = join(root, "dist");
  const names = readdirSync(dist, { recursive: true, encoding: "utf8" }).filter((name) => name.endsWith(".d.ts"));
  expect(names.length).toBeGreaterThan(100);
  const text = (name: string) => readFileSync(join(dist, name), "utf8");
  expect(
    names.filter((name) => /\b(\w+\dArray|Uint8ClampedArray|DataView|Buffer)<ArrayBuffer/.test(text(name))),
  ).toEqual([]);
});

test("typed arrays lose their type arguments, and nothing else does", () => {
  const text =
    "a: Int32Array<ArrayBuffer>; b: Uint8Array<ArrayBufferLike>[]; c: ReadonlyArray<ArrayBuffer>; d: Map<A, B>;";
  expect(call("declarations.mjs", "withPlainArrays", text)).toBe(
    "a: Int32Array; b: Uint8Array[]; c: ReadonlyArray<ArrayBuffer>; d: Map<A, B>;",
  );
});

/** lib/scripts/make_api_docs.mjs, which test/unit/docs.test.ts runs, calls it with all exports. */
test("a type that a public signature mentions and that is not exported is found", () => {
  const declarations = [
    [
      "A",
      "export declare class A extends Base {\n  /** of Words */\n  private readonly hidden;\n  private other(): Hidden;\n" +
        "  /** @internal */\n  inner(): Inner;\n  method(Shown?: string): Promise<Returned>;\n}",
    ],
    ["B", 'export type B = "Text" | ReadonlyMap<string, A>'],
    ["f", "export declare function f(of: Argument, b: B): Float32Array"],
  ];
  expect(call("public_types.mjs", "unexportedTypes", declarations)).toEqual([
    "A mentions Base",
    "A mentions Returned",
    "f mentions Argument",
  ]);
});
