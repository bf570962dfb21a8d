/** The thread that reads and tokenises rows. */
import path from "node:path";
import { WorkerThread } from "../worker_thread";
import type { IndexProgress } from "./types";
import type { WorkerCalls, WorkerStart } from "./worker_protocol";

const kind = { module: path.join(__dirname, "dataset_worker"), name: "data", doing: "tokenising" };

/** Its notices are the progress of indexing, some twenty times a second. */
export class DataWorker extends WorkerThread<WorkerCalls, IndexProgress> {
  constructor(start: WorkerStart) {
    super(kind, start);
  }
}
