/** The LoRA adapter of the fixtures, for tests of LoRA on the model gqa. */
import { join } from "node:path";
import { folderOf } from "../parity/fixtures";

/** PEFT's folder, with all target modules. */
export const peft = join(folderOf("lora"), "all");
export const quiet = { onNotice: () => {} };
export const ids = Int32Array.of(5, 9, 22, 7, 41, 3);
