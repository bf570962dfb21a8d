// Reads the machine code of kernels from a cubin, nvcc's ELF file of one architecture: how many instructions they and their
// loops have. NVIDIA does not document the encoding; what is used here holds from sm_75 to sm_120, and `loopsOf` throws where a
// jump would lead out of its kernel.
//   An instruction has 16 bytes. Bits 0 to 8 are the operation, bits 9 to 11 the kinds of its operands.
//   A jump's distance is in bits 34 to 81, in units of 4 bytes from the next instruction; from sm_90 on bits 16 to 23 are the low
//   part of it.
//   Bits 73 to 75 of an access to global memory are the logarithm of its size: 6 means 16 bytes.

const instructionBytes = 16;
const operations = { jump: 0x147, mma: 0x03c, globalLoad: 0x181, globalStore: 0x186 };

/** Sections of a 64-bit ELF file: { name, bytes }. */
function sectionsOf(elf) {
  const word = (at) => elf.readUInt32LE(at);
  const long = (at) => Number(elf.readBigUInt64LE(at));
  const [table, size, count, namesIndex] = [long(40), elf.readUInt16LE(58), elf.readUInt16LE(60), elf.readUInt16LE(62)];
  const bytesOf = (index) => {
    const header = table + index * size;
    return elf.subarray(long(header + 24), long(header + 24) + long(header + 32));
  };
  const names = bytesOf(namesIndex);
  return Array.from({ length: count }, (_, index) => {
    const start = word(table + index * size);
    return { name: names.toString("latin1", start, names.indexOf(0, start)), bytes: bytesOf(index) };
  });
}

/** The architecture in an ELF file's flags, such as 90. Its place depends on the version of the format. */
function architectureOf(elf) {
  const flags = elf.readUInt32LE(48);
  const [low, high] = [flags & 0xff, (flags >> 8) & 0xff];
  return low >= 70 && low <= 130 ? low : high;
}

/** Where a jump leads, as the index of an instruction. */
function targetOf(code, index, architecture) {
  const at = index * instructionBytes;
  const bits = (code.readBigUInt64LE(at + 8) << 64n) | code.readBigUInt64LE(at);
  let distance = BigInt.asIntN(48, bits >> 34n);
  if (architecture >= 90) distance = (distance << 8n) | ((bits >> 16n) & 0xffn);
  return index + 1 + Number(distance) / (instructionBytes / 4);
}

/** A kernel's loops, as { from, to }: indices of the first and the last instruction. */
function loopsOf({ symbol, code, architecture }, found) {
  const loops = [];
  for (const [index, operation] of found.entries()) {
    if (operation !== operations.jump) continue;
    const target = targetOf(code, index, architecture);
    if (!Number.isInteger(target) || target < 0 || target > found.length)
      throw new Error(`A jump leads out of ${symbol} for sm_${architecture}: another encoding than this script knows`);
    if (target < index) loops.push({ from: target, to: index });
  }
  return loops;
}

/** Of each instruction whether it is a mma.sync, or an access to 16 bytes of global memory. */
function unitsOf(code, found) {
  const mma = found.map((operation) => operation === operations.mma);
  if (mma.includes(true)) return { unit: "mma", is: mma };
  const is = found.map((operation, index) => {
    const isAccess = operation === operations.globalLoad || operation === operations.globalStore;
    return isAccess && ((code[index * instructionBytes + 9] >> 1) & 7) === 6;
  });
  return { unit: "16 bytes", is };
}

/**
 * How many instructions a kernel executes for each tensor core instruction, or, without any, for each access to 16 bytes of global
 * memory: in the innermost loop that has the most of these, or in the whole kernel if no loop has one. Of several such loops the
 * shortest counts: the others are for edges and masks.
 * @returns {{unit: "mma" | "16 bytes", instructions: number} | undefined} undefined for a kernel that has neither
 */
function instructionsPerUnit(kernel) {
  const { code } = kernel;
  const found = Array.from(
    { length: code.length / instructionBytes },
    (_, index) => code.readUInt16LE(index * instructionBytes) & 0x1ff,
  );
  const { unit, is } = unitsOf(code, found);
  if (!is.includes(true)) return undefined;
  const count = ({ from, to }) => is.slice(from, to + 1).filter(Boolean).length;
  const loops = loopsOf(kernel, found).filter((loop) => count(loop) > 0);
  const contains = (a, b) => a !== b && a.from <= b.from && b.to <= a.to;
  const innermost = loops.filter((loop) => !loops.some((other) => contains(loop, other)));
  const parts = innermost.length > 0 ? innermost : [{ from: 0, to: found.length - 1 }];
  const most = Math.max(...parts.map(count));
  const sizes = parts.filter((part) => count(part) === most).map(({ from, to }) => to - from + 1);
  return { unit, instructions: Math.min(...sizes) / most };
}

/** Each kernel of a cubin: { symbol, architecture, cost }, cost as of instructionsPerUnit. */
export function readCubin(elf) {
  const architecture = architectureOf(elf);
  const prefix = ".text.";
  return sectionsOf(elf)
    .filter(({ name }) => name.startsWith(prefix))
    .map(({ name, bytes }) => {
      const kernel = { symbol: name.slice(prefix.length), code: bytes, architecture };
      return { symbol: kernel.symbol, architecture: `sm_${architecture}`, cost: instructionsPerUnit(kernel) };
    });
}
