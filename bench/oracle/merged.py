#!/usr/bin/env python3
"""Loads merged folders of merged.mjs with transformers and compares the logits, in float32.

  python merged.py FOLDER ...

Prints a line of JSON for each folder: the largest difference of a logit from base and adapter, and the largest logit. A tensor that
is missing, or that transformers does not use, ends it with an error.
"""
import json
import sys

import torch
from transformers import AutoModelForCausalLM


def main():
    for folder in sys.argv[1:]:
        model, info = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
        unused = {name: list(info[name]) for name in ("missing_keys", "unexpected_keys", "mismatched_keys") if info[name]}
        if unused:
            sys.exit(f"{folder}: {unused}")
        with open(f"{folder}/expected.json") as file:
            expected = json.load(file)
        with torch.no_grad():
            logits = model.eval()(torch.tensor([expected["ids"]])).logits[0]
        want = torch.tensor(expected["logits"]).reshape(logits.shape)
        difference = (logits - want).abs().max().item()
        print(json.dumps({"folder": folder, "difference": difference, "largest": want.abs().max().item()}))


if __name__ == "__main__":
    main()
