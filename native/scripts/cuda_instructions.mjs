// Checks that the PTX of `npm run build:cuda` has the expected 16-byte accesses and tensor-core instructions.
//   node native/scripts/cuda_instructions.mjs [REPORTS]
import { readReports, reportFolder, shortNames } from "./cuda_report.mjs";

/** Whether four adjacent words at a multiple of 16 bytes from an address are read, or written, one by one. */
function inFourParts(body) {
  const offsets = new Map();
  for (const [, kind, address, offset = "0"] of body.matchAll(
    /\b(ld|st)\.(?:global\.)?(?:\w+\.)*[usfb]32\s[^[;]*\[(%rd\d+)(?:\+(-?\d+))?\]/g,
  )) {
    const key = `${kind} ${address}`;
    if (!offsets.has(key)) offsets.set(key, new Set());
    offsets.get(key).add(Number(offset));
  }
  return [...offsets.values()].some((at) =>
    [...at].some((first) => first % 16 === 0 && [4, 8, 12].every((more) => at.has(first + more))),
  );
}

/** Properties that a kernel's PTX can be required to have. */
const properties = {
  "16-byte loads": (body) => /\bld\.(global[.\w:]*\.)?v4\.[busf]32\b/.test(body),
  "16-byte stores": (body) => /\bst\.(global[.\w:]*\.)?v4\.[busf]32\b/.test(body),
  "no 16-byte access in four parts": (body) => !inFourParts(body),
  "mma.sync in bf16": (body) => body.includes("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "),
  ldmatrix: (body) => body.includes("ldmatrix.sync.aligned.m8n8.x4."),
  "16-byte cp.async": (body) => /\bcp\.async\.cg\.shared\.global \[[^\]]+\], \[[^\]]+\], 16\b/.test(body),
};
const [loads, stores, whole, ...tensorCores] = Object.keys(properties);

/**
 * Kernels by name, and their required properties; `from`: the first target that runs them. The template argument `true`,
 * and 1, 2 or 4 chunks per thread, mean rows of whole vectors. Kernels with `whole` have no scalar tail.
 */
const expected = [
  { kernels: /^matmul_tensor_cores</, needs: tensorCores, from: 80 },
  { kernels: /^attention_(forward_tensor_cores|query_gradient|key_gradient)</, needs: tensorCores, from: 80 },
  { kernels: /^matmul_plain<\w+, float,/, needs: [loads] },
  { kernels: /^matmul_plain<float,/, needs: [loads] },
  { kernels: /^red_edit<\w+, true>/, needs: [loads, stores, whole] },
  { kernels: /^tile_sums<\w+, true>/, needs: [loads, stores, whole] },
  { kernels: /^edit_add_norm_(forward|backward)<\w+, [124], /, needs: [loads, stores, whole] },
  { kernels: /^edit_add_norm_backward_sums</, needs: [loads, stores, whole] },
  { kernels: /^(rms|layer)_norm_(forward|backward)<\w+, [124], /, needs: [loads, stores, whole] },
  { kernels: /^swiglu_(forward|backward)</, needs: [loads, stores] },
  { kernels: /^gelu_(forward|backward)</, needs: [loads, stores] },
  { kernels: /^rope<\w+, \w+, true>/, needs: [loads, stores, whole] },
  { kernels: /^cast<\w+, \w+, true>/, needs: [loads, stores] },
  { kernels: /^elementwise<\w+, [0-24-6], true>/, needs: [loads, stores] },
  { kernels: /^elementwise<\w+, 3, true>/, needs: [stores] }, // fill
  { kernels: /^embedding_(forward|backward)<.*true>/, needs: [loads, stores] },
  { kernels: /^copy_rows<true>/, needs: [loads, stores] },
  { kernels: /^adamw<true/, needs: [loads, stores] },
  { kernels: /^row_loss<true>/, needs: [loads] },
  { kernels: /^(largest|sum_parts|narrow_down)<true/, needs: [loads] },
];

const reports = readReports(process.argv[2] ?? reportFolder);
const compiled = reports.flatMap(({ ptx }) => ptx.flatMap(({ kernels }) => kernels));
const names = shortNames(compiled.map(({ symbol }) => symbol));
const problems = [];
let checked = 0;
for (const { kernels, needs, from = 75 } of expected) {
  const those = compiled.flatMap(({ target, body }, i) =>
    kernels.test(names[i]) && Number(target.slice(3)) >= from ? [{ name: names[i], target, body }] : [],
  );
  if (those.length === 0) problems.push(`no kernel matches ${kernels}`);
  for (const { name, target, body } of those) {
    checked++;
    for (const need of needs)
      if (!properties[need](body)) problems.push(`${name}: expected ${need} in its PTX for ${target}`);
  }
}
for (const problem of problems) console.error(problem);
console.log(`${checked} kernels of ${compiled.length} checked in PTX, ${problems.length} problems`);
process.exit(problems.length === 0 ? 0 : 1);
