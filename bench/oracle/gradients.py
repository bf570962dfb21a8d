#!/usr/bin/env python3
"""Gradients of every vector of an adapter, or with --full of every weight, over given sequences (each next id is a target).

  python gradients.py --model FOLDER --ids ids.json --out PREFIX (--adapter FOLDER | --full) [--dtype bfloat16]

ids.json is [[id, ...], ...], or one micro-batch {"tokenIds", "sequenceStarts", "targets"}. Writes PREFIX.safetensors, gradients in fp32
by canonical name (bf16 runs included), and PREFIX.json {"loss", "gradNorm", "norms": name -> norm}. With --float64 the run is in float64
(rounded to fp32 when written): the reference for errors.
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
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--adapter")
    what.add_argument("--full", action="store_true", help="all weights, no adapter")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--float64", action="store_true")
    parser.add_argument("--attention", choices=["eager", "sdpa"], default="eager")
    parser.add_argument(
        "--rounded", action="store_true", help="in bf16, round vectors, product and sum, as in the reference implementation"
    )
    parser.add_argument(
        "--weights-dtype", choices=["bfloat16"], help="round the weights through this dtype first (fp32 run of a bf16 base)"
    )
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.float64:
        model = reference.load_float64(options.model)
    else:
        model = reference.load_model(options.model, getattr(torch, options.dtype), options.attention)
    if options.weights_dtype:
        for weight in model.parameters():
            weight.data = weight.data.to(getattr(torch, options.weights_dtype)).to(weight.dtype)
    with open(options.ids) as file:
        batch = json.load(file)
    micro = batch if isinstance(batch, dict) else reference.micro_batch(batch)
    vectors = reference.load_adapter(options.adapter) if options.adapter else None
    if vectors and options.float64:
        vectors = reference.as_float64(vectors)
    parameters = vectors or reference.weights_of(model.requires_grad_())
    with reference.edited(model, vectors, options.rounded):
        loss, gradients = reference.loss_and_gradients(model, [micro], parameters)
    norms = {name: gradient.norm().item() for name, gradient in gradients.items()}
    save_file({name: gradient.float().contiguous() for name, gradient in gradients.items()}, options.out + ".safetensors")
    total = sum(norm**2 for norm in norms.values()) ** 0.5
    with open(options.out + ".json", "w") as file:
        json.dump({"loss": loss, "gradNorm": total, "norms": norms}, file)
        file.write("\n")
    print(json.dumps({"loss": loss, "gradNorm": total, "tensors": len(gradients)}))


if __name__ == "__main__":
    main()
