/** The E2E data set's zip (trainset.csv, devset.csv: meaning representation and reference text) as prompts with completions. */
import { execFileSync } from "node:child_process";

/** Rows of fields of a CSV text (RFC 4180: quoted fields may hold commas, line ends and doubled quotes). */
function parseCsv(text) {
  const rows = [];
  let fields = [];
  const field = /("(?:[^"]|"")*"|[^",\r\n]*)(,|\r?\n|$)/gy;
  while (field.lastIndex < text.length) {
    const at = field.lastIndex;
    const match = field.exec(text);
    if (match === null) throw new Error(`malformed CSV at character ${at}`);
    const [, value, end] = match;
    fields.push(value.startsWith('"') ? value.slice(1, -1).replaceAll('""', '"') : value);
    if (end !== ",") {
      rows.push(fields);
      fields = [];
    }
  }
  return rows;
}

/**
 * Needs `unzip`.
 * @param {string} zip its path
 * @param {string} name trainset.csv or devset.csv
 * @returns rows {prompt: "name[...], ... ->", completion: " text"}
 */
export function e2eRows(zip, name) {
  const csv = execFileSync("unzip", ["-p", zip, `*/${name}`], { maxBuffer: 1 << 28 }).toString("utf8");
  const [header, ...rows] = parseCsv(csv.replace(/^\uFEFF/, ""));
  if (header?.join() !== "mr,ref") throw new Error(`${name}: expected the columns mr,ref but received ${header}`);
  return rows.map((row, i) => {
    if (row.length !== 2) throw new Error(`${name}: row ${i + 2} has ${row.length} fields`);
    return { prompt: `${row[0]} ->`, completion: ` ${row[1]}` };
  });
}
