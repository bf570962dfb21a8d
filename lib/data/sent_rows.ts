/** Rows from memory on their way to a dataset's thread, each as a JSON document. */
import type { DataWorker } from "./data_thread";
import type { DatasetCalls } from "./worker_protocol";

/** Sends rows in portions, giving way to the event loop in between. */
export async function sendRows(worker: DataWorker, rows: readonly unknown[]): Promise<void> {
  let portion: DatasetCalls["rows"]["argument"][number][] = [];
  let characters = 0;
  for (let at = 0; at < rows.length; at++) {
    const document = asJson(rows, at);
    portion.push(document);
    characters += typeof document === "string" ? document.length : 0;
    if (portion.length < 512 && characters < 1 << 17) continue;
    await worker.call("rows", portion);
    portion = [];
    characters = 0;
  }
  if (portion.length > 0) await worker.call("rows", portion);
}

/** What JSON cannot hold is reported as a row that cannot be used. */
function asJson(rows: readonly unknown[], at: number): string | { unusable: string } {
  try {
    const row = rows[at];
    return JSON.stringify(row) ?? { unusable: `JSON cannot hold it: it is of type ${typeof row}` };
  } catch (error) {
    const [reason] = error instanceof Error ? error.message.split("\n") : ["it throws"];
    return { unusable: `JSON cannot hold it: ${/call stack/.test(reason!) ? "it is nested too deeply" : reason}` };
  }
}
