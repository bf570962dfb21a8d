#!/usr/bin/env python3
"""Trains on a file of batches and prints each step's loss and gradient norm; then evaluates on another file of batches.

  python train_red.py --model FOLDER --batches train.jsonl [--eval dev.jsonl] --lr 1e-2 --schedule linear --warmup 10

A line is one optimizer step: {"micro": [{"tokenIds", "sequenceStarts", "targets"}, ...]}; with --accumulation N, N lines are one.
The loss of a step is the sum over the supervised tokens of all of its micro-batches / their number. Prints (and with --out writes) a JSON
line for each step, {"step", "loss", "gradNorm", "learningRate"}, and one for each evaluation, {"evaluation", "loss",
"supervisedTokens"} in nats per supervised token.

--method red trains the RED vectors, lora PEFT's LoRA (r 8, alpha 16, on q_proj and v_proj), full all weights.
Sequences of a micro-batch run as one batch, padded on the right: under a causal mask no token attends to the padding. --separate runs them
one by one, --check compares the two on the first step.
"""
import argparse
import itertools
import json
import sys
import time

import torch
from torch.nn import functional as F

import optimizing
import reference


def padded_loss_sum(model, micro, most_tokens):
    """Yields the summed loss over slices of the micro-batch's sequences of at most `most_tokens` padded tokens."""
    rows = sorted(reference.sequences_of(micro), key=lambda row: -len(row[0]))
    while rows:
        width = len(rows[0][0])
        take = max(1, most_tokens // width)
        part, rows = rows[:take], rows[take:]
        ids = torch.zeros(len(part), width, dtype=torch.long)
        targets = torch.full((len(part), width), -1)
        for i, (tokens, wanted) in enumerate(part):
            ids[i, : len(tokens)] = torch.tensor(tokens)
            targets[i, : len(wanted)] = torch.tensor(wanted)
        chosen = targets >= 0
        if chosen.any():
            hidden = model.model(input_ids=ids, use_cache=False).last_hidden_state
            logits = model.lm_head(hidden[chosen]).float()
            yield F.cross_entropy(logits, targets[chosen], reduction="sum")


def padded_gradients(model, micros, parameters, most_tokens):
    """As reference.loss_and_gradients, for padded sequences in one batch."""
    count = reference.supervised(micros)
    total = 0.0
    sums = {name: torch.zeros_like(parameter) for name, parameter in parameters.items()}
    for micro in micros:
        for loss in padded_loss_sum(model, micro, most_tokens):
            gradients = torch.autograd.grad(loss / count, list(parameters.values()), allow_unused=True)
            for name, gradient in zip(parameters, gradients):
                if gradient is not None:
                    sums[name] += gradient
            total += loss.item()
    return total / count, sums


@torch.no_grad()
def evaluate(model, steps, most_tokens):
    total, count = 0.0, 0
    for micros in steps:
        for micro in micros:
            total += sum(loss.item() for loss in padded_loss_sum(model, micro, most_tokens))
        count += reference.supervised(micros)
    return {"loss": total / count, "supervisedTokens": count}


def read_steps(file, accumulation=1):
    """The micro-batches of each optimizer step."""
    with open(file) as lines:
        rows = [json.loads(line)["micro"] for line in lines]
    groups = [rows[i : i + accumulation] for i in range(0, len(rows), accumulation)]
    return [list(itertools.chain.from_iterable(group)) for group in groups]


def trainable(model, options):
    """(parameters by name, RED vectors or None) of the method."""
    if options.method == "full":
        return reference.weights_of(model.requires_grad_()), None
    if options.method == "lora":
        from peft import LoraConfig, get_peft_model

        torch.manual_seed(options.seed)
        config = LoraConfig(r=8, lora_alpha=16, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
        get_peft_model(model, config)
        return {name: p for name, p in model.named_parameters() if p.requires_grad}, None
    if options.adapter:
        vectors = reference.load_adapter(options.adapter)
    else:
        sites = reference.site_names(model, options.sites, options.layers)
        vectors = reference.new_vectors(model, sites, options.variant)
    return vectors, vectors


def check(model, step, parameters, options):
    """Prints how far the padded run's loss and gradients are from the separate one's."""
    loss, gradients = padded_gradients(model, step, parameters, options.most_tokens)
    alone, separate = reference.loss_and_gradients(model, step, parameters)
    worst = max(reference.relative_error(gradients[name], separate[name]) for name in parameters)
    print(json.dumps({"padded": loss, "separate": alone, "worstGradient": worst}), file=sys.stderr)


def options_of():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--batches", required=True)
    parser.add_argument("--eval")
    parser.add_argument("--eval-before", action="store_true", help="evaluate before the first step, too")
    parser.add_argument("--method", choices=["red", "lora", "full"], default="red")
    parser.add_argument("--variant", choices=reference.VECTORS, default="all")
    parser.add_argument("--sites", nargs="+", choices=reference.MODULES, default=["ffn"])
    parser.add_argument("--layers", nargs="+", type=int)
    parser.add_argument("--adapter", help="RED vectors to start from instead of the identity")
    parser.add_argument("--lr", type=float, default=1e-2)
    parser.add_argument("--schedule", choices=["constant", "constant_with_warmup", "linear", "cosine"], default="linear")
    parser.add_argument("--warmup", type=int, default=0, help="steps")
    parser.add_argument("--total", type=int, help="total steps of the schedule (default: those of the file)")
    parser.add_argument("--steps", type=int, help="stop after this many steps")
    parser.add_argument("--accumulation", type=int, default=1, help="lines that make one optimizer step")
    parser.add_argument("--clip", type=float, default=1.0)
    parser.add_argument("--weight-decay", type=float, default=0.0, help="torch's, towards zero")
    parser.add_argument("--seed", type=int, default=0, help="of LoRA's initial values")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--separate", action="store_true")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--most-tokens", type=int, default=4096, help="padded tokens run at once")
    parser.add_argument("--save", help="folder for the trained RED vectors")
    parser.add_argument("--out", help="file for the JSON lines")
    parser.add_argument("--threads", type=int)
    options = parser.parse_args()
    if options.method == "full" and options.dtype != "float32":
        parser.error("--method full trains float32 weights only")
    return options


def main():
    options = options_of()
    if options.threads:
        torch.set_num_threads(options.threads)
    attention = "eager" if options.separate else "sdpa"
    model = reference.load_model(options.model, getattr(torch, options.dtype), attention)
    parameters, vectors = trainable(model, options)
    steps = read_steps(options.batches, options.accumulation)
    planned = options.total or len(steps)
    steps = steps[: options.steps]
    held_out = read_steps(options.eval) if options.eval else None
    out = open(options.out, "w") if options.out else None

    def say(row):
        line = json.dumps(row)
        print(line, flush=True)
        if out:
            out.write(line + "\n")

    def gradients(step):
        if options.separate:
            return reference.loss_and_gradients(model, step, parameters)
        return padded_gradients(model, step, parameters, options.most_tokens)

    with reference.edited(model, vectors):
        if options.check:
            check(model, steps[0], parameters, options)
        if held_out and options.eval_before:
            say({"evaluation": "before", **evaluate(model, held_out, options.most_tokens)})
        start = time.perf_counter()
        for row in optimizing.optimize(
            parameters, steps, gradients, lr=options.lr, schedule=options.schedule, warmup=options.warmup, total=planned,
            clip=options.clip, decay=options.weight_decay,
        ):  # fmt: skip
            say(row)
        say({"seconds": time.perf_counter() - start, "trainable": sum(p.numel() for p in parameters.values())})
        if held_out:
            say({"evaluation": "after", **evaluate(model, held_out, options.most_tokens)})
    if options.save and vectors:
        layers = options.layers or list(range(model.config.num_hidden_layers))
        reference.save_adapter(options.save, vectors, options.sites, options.variant, layers)


if __name__ == "__main__":
    main()
