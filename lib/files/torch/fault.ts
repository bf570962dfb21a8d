import { RubricateError } from "../../errors";

/** ERR_TORCH_FILE for a file of torch.save: "Expected WHAT in PATH but FOUND". */
export function torchFault(path: string, what: string, found: string): RubricateError {
  return new RubricateError("ERR_TORCH_FILE", `Expected ${what} in ${path} but ${found}`);
}
