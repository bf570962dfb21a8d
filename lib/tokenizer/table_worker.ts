/** The thread that makes a tokenizer's tables: it answers one call after another. */
import "../background_thread";
import { answerCalls } from "../worker_calls";
import { partsOf } from "./parts";
import type { TableCalls } from "./table_thread";

answerCalls<TableCalls>({ parts: (files) => [partsOf(files)] });
