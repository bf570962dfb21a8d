#!/usr/bin/env python3
"""Logits of every position of given sequences, and greedy ids after prefixes of some of them, in float32.

  python logits_and_greedy.py --model FOLDER --ids ids.json --out PREFIX [--adapter FOLDER]

ids.json is [[id, ...], ...]. Writes PREFIX.safetensors (logits.0, logits.1, ... [length, vocabulary] fp32) and PREFIX.json:
{"greedy": [{"prompt", "ids", "smallestLead"}]}, smallestLead is the smallest margin of a chosen logit over the next best.
With --float64 also the largest difference from float64 logits, relative to the largest logit ("float64Error").
"""
import argparse
import json

import torch
from safetensors.torch import save_file

import reference


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--ids", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--adapter")
    parser.add_argument("--prompts", type=int, default=2, help="number of sequences whose prefixes are continued")
    parser.add_argument("--prompt-tokens", type=int, default=8)
    parser.add_argument("--count", type=int, default=200, help="greedy ids after each prompt")
    parser.add_argument("--dtype", choices=["float32", "bfloat16", "float16"], default="float32")
    parser.add_argument("--float64", action="store_true")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    model = reference.load_model(options.model, getattr(torch, options.dtype))
    vectors = reference.load_adapter(options.adapter) if options.adapter else None
    with open(options.ids) as file:
        sequences = json.load(file)
    result = {"model": options.model, "adapter": options.adapter, "dtype": options.dtype, "greedy": []}
    with torch.no_grad(), reference.edited(model, vectors):
        logits = {f"logits.{i}": reference.logits_of(model, ids).float() for i, ids in enumerate(sequences)}
        prompts = [ids[: options.prompt_tokens] for ids in sequences if len(ids) >= options.prompt_tokens]
        for prompt in prompts[: options.prompts]:
            ids, lead = reference.greedy(model, prompt, options.count)
            result["greedy"].append({"prompt": prompt, "ids": ids, "smallestLead": lead})
    if options.float64:
        exact = reference.load_float64(options.model)
        with torch.no_grad(), reference.edited(exact, reference.as_float64(vectors or {})):
            result["float64Error"] = max(
                ((logits[f"logits.{i}"] - want).abs().max() / want.abs().max()).item()
                for i, want in enumerate(reference.logits_of(exact, ids) for ids in sequences)
            )
    save_file(logits, options.out + ".safetensors")
    with open(options.out + ".json", "w") as file:
        json.dump(result, file)
        file.write("\n")
    print(json.dumps({key: value for key, value in result.items() if key != "greedy"}))


if __name__ == "__main__":
    main()
