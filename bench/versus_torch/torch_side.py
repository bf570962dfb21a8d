#!/usr/bin/env python3
"""PyTorch's side of versus_torch: one training step for each line "step" on standard input.

  python torch_side.py --model FOLDER --ids IDS.json --method red|lora|full --batch N --length N --rate R
                [--adapter FOLDER] [--compile]

transformers' LLaMA in the checkpoint's dtype, or in fp32 (--upcast), with its default attention (sdpa); RED as a module around each down projection
with fp32 vectors, LoRA as PEFT loads it from FOLDER; torch's AdamW without weight decay; gradients clipped to norm 1. Every position except the first is a target.
Answers in lines of JSON.
"""
import argparse
import json
import re
import sys
import time

import torch
import transformers
from torch import nn
from transformers import AutoModelForCausalLM


class Edited(nn.Module):
    """scale * h + bias after a linear layer; the vectors are fp32 and cast to the dtype of h, as in the reference."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner
        self.scale = nn.Parameter(torch.ones(inner.out_features))
        self.bias = nn.Parameter(torch.zeros(inner.out_features))

    def forward(self, x):
        h = self.inner(x)
        return h * self.scale.to(h.dtype) + self.bias.to(h.dtype)


def trainable_parameters(model, method, adapter):
    if method == "lora":
        import peft

        peft.PeftModel.from_pretrained(model, adapter, is_trainable=True)  # puts its layers into the model
    if method == "red":
        model.requires_grad_(False)
        for layer in model.model.layers:
            layer.mlp.down_proj = Edited(layer.mlp.down_proj)
    return [p for p in model.parameters() if p.requires_grad]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--ids", required=True)
    parser.add_argument("--method", choices=["red", "lora", "full"], required=True)
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--length", type=int, required=True)
    parser.add_argument("--rate", type=float, required=True)
    parser.add_argument("--adapter", help="the folder of a LoRA adapter")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--upcast", action="store_true", help="compute a bf16 checkpoint in fp32")
    args = parser.parse_args()

    model = AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.float32 if args.upcast else "auto")
    model.config.use_cache = False
    model.train()
    trainable = trainable_parameters(model, args.method, args.adapter)
    optimizer = torch.optim.AdamW(trainable, lr=args.rate, weight_decay=0.0)
    run = torch.compile(model) if args.compile else model
    sequences = json.load(open(args.ids))
    taken = 0

    def step():
        nonlocal taken
        rows = [sequences[(taken + i) % len(sequences)][: args.length] for i in range(args.batch)]
        taken += args.batch
        start = time.perf_counter()
        ids = torch.tensor(rows)
        loss = run(input_ids=ids, labels=ids).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trainable, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        value = loss.item()
        return {"seconds": time.perf_counter() - start, "loss": value}

    def say(answer):
        print(json.dumps(answer), flush=True)

    mode = f"{'compiled' if args.compile else 'eager'}{' in fp32' if args.upcast else ''}"
    state = {str(p.dtype).removeprefix("torch.") for p in trainable}
    versions = f"torch {torch.__version__}, transformers {transformers.__version__}"
    say({"ready": True, "name": versions, "mode": mode, "threads": torch.get_num_threads(), "trains": sorted(state)})
    for line in sys.stdin:
        if line.strip() == "end":
            break
        say(step())
    status = open("/proc/self/status").read()
    say({"peakMiB": int(re.search(r"VmHWM:\s+(\d+)", status)[1]) / 1024})


main()
