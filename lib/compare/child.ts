/** A run in a process of its own: its peak memory is that run's alone, and its crash is not ours. */
import { type ChildProcess, spawn } from "node:child_process";
import { type ErrorCode, errorCodes, RubricateError } from "../errors";
import { isObject, type JsonObject } from "../files/json";
import { throwIfAborted } from "../job";

/** How a process ended. */
export interface ChildEnd {
  /** Exit status; null after a signal. */
  readonly status: number | null;
  readonly signal: NodeJS.Signals | null;
  /** What it printed last as an error; undefined if it did not get that far. */
  readonly error: { readonly code: string; readonly message: string } | undefined;
  /** The end of its stderr. */
  readonly stderr: string;
}

export interface ChildRequest {
  /** The command line without the program. */
  readonly words: readonly string[];
  readonly signal: AbortSignal;
  /** Called with each document that it prints. */
  readonly onEvent: (event: JsonObject) => void;
}

/** Starts a command line of this program with --json. @throws RubricateError ERR_ABORTED once the child has ended */
export type Launch = (request: ChildRequest) => Promise<ChildEnd>;

/** A child that has not ended so long after it was asked to is killed. What it would write is not used. */
const graceMs = 5000;
const keptStderr = 4096;

/**
 * Launches children of a program.
 * @param program the command and its first arguments
 */
export function launcher(program: readonly string[]): Launch {
  return async ({ words, signal, onEvent }) => {
    throwIfAborted(signal);
    const [command, ...first] = program;
    const child = spawn(command!, [...first, ...words, "--json"], { stdio: ["ignore", "pipe", "pipe"] });
    const error = readEvents(child, onEvent);
    let stderr = "";
    child.stderr!.setEncoding("utf8").on("data", (text: string) => {
      stderr = (stderr + text).slice(-keptStderr);
    });
    const release = endWith(child, signal);
    try {
      const { status, ended } = await new Promise<{ status: number | null; ended: NodeJS.Signals | null }>(
        (resolve, reject) => {
          child.on("error", (cause) =>
            reject(new RubricateError("ERR_FILE", `Cannot start ${command}: ${cause.message}`, { cause })),
          );
          child.on("close", (code, name) => resolve({ status: code, ended: name }));
        },
      );
      throwIfAborted(signal);
      return { status, signal: ended, error: error(), stderr };
    } finally {
      release();
    }
  };
}

/** Passes the lines of stdout on. @returns a function that gives the error among them */
function readEvents(child: ChildProcess, onEvent: (event: JsonObject) => void): () => ChildEnd["error"] {
  let rest = "";
  let error: ChildEnd["error"];
  child.stdout!.setEncoding("utf8").on("data", (text: string) => {
    const lines = (rest + text).split("\n");
    rest = lines.pop()!;
    for (const line of lines) {
      const event = parsed(line);
      if (event?.type === "error") error = { code: String(event.code), message: String(event.message) };
      if (event) onEvent(event);
    }
  });
  return () => error;
}

function parsed(line: string): JsonObject | undefined {
  try {
    const value: unknown = JSON.parse(line);
    return isObject(value) ? value : undefined;
  } catch {
    return undefined; // truncated where the process crashed
  }
}

/** Ends the child with the signal, and with this process. @returns stops that */
function endWith(child: ChildProcess, signal: AbortSignal): () => void {
  let timer: NodeJS.Timeout | undefined;
  const kill = () => void child.kill("SIGKILL");
  const stop = () => {
    child.kill("SIGTERM");
    timer = setTimeout(kill, graceMs);
  };
  signal.addEventListener("abort", stop, { once: true });
  process.on("exit", kill); // a second Ctrl-C ends this process at once
  return () => {
    clearTimeout(timer);
    signal.removeEventListener("abort", stop);
    process.off("exit", kill);
  };
}

/** The code of a child's error, as this process may throw it; null: the child told none. */
export function knownCode(code: string | null): ErrorCode {
  return code !== null && Object.hasOwn(errorCodes, code) ? (code as ErrorCode) : "ERR_INTERNAL";
}

/** Why a child failed, in a sentence. */
export function reasonOfEnd({ status, signal, error, stderr }: ChildEnd): string {
  if (error) return `${error.message} [${error.code}]`;
  const last = stderr.trimEnd().split("\n").at(-1)!.trim();
  const said = last === "" ? "" : `: ${last}`;
  if (signal === "SIGKILL") return `the process was killed (SIGKILL), as the system does when memory is short${said}`;
  if (signal !== null) return `the process crashed (${signal})${said}`;
  return `the process ended with status ${status} without a result${said}`;
}
