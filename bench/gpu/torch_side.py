#!/usr/bin/env python3
"""Training steps and decoding in PyTorch, alternating with this project's on one device, both models loaded.

  python torch_side.py --program bench_gpu --handover FOLDER [--out FILE.json] [--seconds 420] [--rehearse]

The program writes its weights and tokens to FOLDER; transformers' LLaMA gets the same, in bf16, with its default attention (sdpa). RED: a
module around each down projection with fp32 vectors; LoRA: rank 8 at q_proj and v_proj, fp32 factors cast to bf16. AdamW without weight
decay, rate 1e-3, gradients clipped to norm 1, every token except the first is a target. Eager at each batch, then compiled from eager's best
batch on; configurations for which --seconds leaves no time are reported as skipped ("leftOut"). Decoding: one token per step after the
prompt, greedy, eager.
"""
import argparse
import json
import statistics
import subprocess
import time

import numpy
import torch
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

STEPS = 5  # after two warm-up steps
TOLERANCE = 1e-2  # of RED's losses, relative


class Edited(nn.Module):
    """scale * h + bias after a linear layer, in fp32 and rounded once: a scale of 1.001 is 1 in bfloat16."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner
        self.scale = nn.Parameter(torch.ones(inner.out_features, device=inner.weight.device))
        self.bias = nn.Parameter(torch.zeros(inner.out_features, device=inner.weight.device))

    def forward(self, x):
        h = self.inner(x)
        return torch.addcmul(self.bias, h.float(), self.scale).to(h.dtype)


class LowRank(nn.Module):
    """h + 2 (x A^T) B^T, parallel to a linear layer (rank 8, alpha 16)."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner
        device = inner.weight.device
        self.a = nn.Parameter(torch.randn(8, inner.in_features, device=device) / inner.in_features**0.5)
        self.b = nn.Parameter(torch.zeros(inner.out_features, 8, device=device))

    def forward(self, x):
        return self.inner(x) + 2.0 * ((x @ self.a.to(x.dtype).T) @ self.b.to(x.dtype).T)


def adapted(model, method):
    """Replaces an earlier method's modules by fresh trainable ones; returns their parameters."""
    bare = lambda module: module.inner if isinstance(module, (Edited, LowRank)) else module
    for layer in model.model.layers:
        layer.mlp.down_proj = bare(layer.mlp.down_proj)
        layer.self_attn.q_proj = bare(layer.self_attn.q_proj)
        layer.self_attn.v_proj = bare(layer.self_attn.v_proj)
        if method == "red":
            layer.mlp.down_proj = Edited(layer.mlp.down_proj)
        else:
            layer.self_attn.q_proj = LowRank(layer.self_attn.q_proj)
            layer.self_attn.v_proj = LowRank(layer.self_attn.v_proj)
    return [p for p in model.parameters() if p.requires_grad]


def load(folder, work, device):
    """LLaMA of the handed-over shape and weights."""
    config = LlamaConfig(
        vocab_size=work["vocabulary"], hidden_size=work["hidden"], intermediate_size=work["feed_forward"],
        num_hidden_layers=work["layers"], num_attention_heads=work["heads"], num_key_value_heads=work["heads"],
        max_position_embeddings=8192, rms_norm_eps=1e-5, tie_word_embeddings=False)
    torch.set_default_dtype(torch.bfloat16)
    with torch.device(device):
        model = LlamaForCausalLM(config)
    torch.set_default_dtype(torch.float32)
    numbers = torch.from_numpy(numpy.fromfile(f"{folder}/weights.bin", dtype=numpy.int16)).view(torch.bfloat16).to(device)
    state = model.state_dict()
    with torch.no_grad():
        for name, offset in work["offsets"].items():
            tensor = state[name if name.startswith("lm_head") else f"model.{name}"]
            tensor.copy_(numbers[offset : offset + tensor.numel()].view(tensor.shape))
    model.requires_grad_(False)
    return model


class Ours:
    """The program, a step for each line."""

    def __init__(self, program, folder, rehearse):
        command = [program, "turns", "--handover", folder] + (["--rehearse"] if rehearse else [])
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.answer()

    def answer(self):
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit("The program ended before it answered")
        return json.loads(line)

    def step(self, what, batch):
        self.process.stdin.write(f"{what} {batch}\n")
        self.process.stdin.flush()
        return self.answer()

    def end(self):
        self.process.communicate("end\n")


class Torch:
    """The same steps in PyTorch."""

    def __init__(self, model, work, device):
        self.model, self.device, self.prompt = model, device, work["prompt"]
        self.tokens = torch.tensor(work["tokens"], device=device)

    def wait(self):
        if self.device == "cuda":
            torch.cuda.synchronize()

    def train(self, method, compiled, batch):
        """A function that makes one step and returns its seconds and loss."""
        trainable = adapted(self.model, method)
        self.model.train()
        self.model.config.use_cache = False
        optimizer = torch.optim.AdamW(trainable, lr=1e-3, weight_decay=0.0)
        torch.compiler.reset()
        run = torch.compile(self.model) if compiled else self.model
        ids = self.tokens[:batch]

        def step():
            self.wait()
            start = time.perf_counter()
            loss = run(input_ids=ids, labels=ids).loss
            loss.backward()
            nn.utils.clip_grad_norm_(trainable, 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            value = loss.item()
            self.wait()
            return {"seconds": time.perf_counter() - start, "loss": value}

        return step

    def move(self, device):
        self.model.to(device)
        torch.compiler.reset()
        if self.device == "cuda":
            torch.cuda.empty_cache()

    def decode(self, batch):
        """A function that decodes one more token for every sequence and returns the seconds."""
        adapted(self.model, "red")
        self.model.eval()
        self.model.config.use_cache = True
        state = {"ids": self.tokens[:batch, : self.prompt], "cache": None}

        @torch.no_grad()
        def step():
            self.wait()
            start = time.perf_counter()
            out = self.model(input_ids=state["ids"], past_key_values=state["cache"], use_cache=True)
            state["cache"] = out.past_key_values
            state["ids"] = out.logits[:, -1].argmax(-1, keepdim=True)
            state["ids"].tolist()
            return {"seconds": time.perf_counter() - start}

        return step


def in_turns(ours, theirs, steps):
    """Both sides' answers, without the first two and any after memory ran out."""
    a, b = [], []
    for _ in range(steps + 2):
        if not a or "error" not in a[-1]:
            a.append(ours())
        if not b or "error" not in b[-1]:
            try:
                b.append(theirs())
            except torch.OutOfMemoryError as error:
                b.append({"error": str(error).split("\n")[0]})
    return a, b


def alone(step, steps):
    """One side's answers, until memory ran out."""
    answers = []
    for _ in range(steps + 2):
        try:
            answers.append(step())
        except torch.OutOfMemoryError as error:
            answers.append({"error": str(error).split("\n")[0]})
        if "error" in answers[-1]:
            break
    return answers


def figures(answers, tokens):
    if "error" in answers[-1]:
        return {"error": answers[-1]["error"]}
    seconds = statistics.median(answer["seconds"] for answer in answers[2:])
    return {"tokensPerSecond": tokens / seconds, "milliseconds": 1e3 * seconds}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--program", required=True)
    parser.add_argument("--handover", required=True)
    parser.add_argument("--out")
    parser.add_argument("--seconds", type=float, default=420)
    parser.add_argument("--rehearse", action="store_true")
    args = parser.parse_args()
    began = time.perf_counter()
    device = "cpu" if args.rehearse else "cuda"
    side = argparse.Namespace(ours=Ours(args.program, args.handover, args.rehearse))
    work = json.load(open(f"{args.handover}/work.json"))
    torch_side = Torch(load(args.handover, work, device), work, device)
    length = len(work["tokens"][0])
    result = {"torch": torch.__version__, "rows": []}

    def tell(row):
        result["rows"].append(row)
        print(json.dumps(row), flush=True)
        if args.out:
            with open(args.out, "w") as file:
                json.dump(result, file, indent=2)

    def apart(method, compiled, batch, count):
        torch_side.move("cpu")
        side.ours.end()
        side.ours = Ours(args.program, args.handover, args.rehearse)
        a = alone(lambda: side.ours.step("train", batch), count)
        side.ours.end()
        torch_side.move(device)
        b = alone(torch_side.train(method, compiled, batch), count)
        side.ours = Ours(args.program, args.handover, args.rehearse)
        return a, b

    def compare(method, compiled, batch):
        """Adds a row; returns the torch side's tokens/s, 0 if memory or time ran out."""
        row = {"what": "training", "method": method, "mode": "compiled" if compiled else "eager", "batch": batch}
        if time.perf_counter() - began > args.seconds:
            tell({**row, "leftOut": "no time was left"})
            return 0.0
        if device == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        count = 1 if args.rehearse else STEPS
        side.ours.step("decode", 1)  # so that the next training step begins from fresh edits
        a, b = in_turns(lambda: side.ours.step("train", batch), torch_side.train(method, compiled, batch), count)
        if any("error" in answer for answer in a + b) or (args.rehearse and method == "lora"):
            row["apart"] = True  # not enough memory for both: each with the device to itself
            a, b = apart(method, compiled, batch, count)
        row |= {"ours": figures(a, batch * length), "torch": figures(b, batch * length)}
        if device == "cuda":
            row["torchPeakGiB"] = torch.cuda.max_memory_allocated() / 2**30
        pairs = [(x["loss"], y["loss"]) for x, y in zip(a, b) if "loss" in x and "loss" in y]
        row["losses"] = {"ours": [x for x, _ in pairs], "torch": [y for _, y in pairs]}
        if method == "red" and pairs:
            row["lossDifference"] = max(abs(x - y) / abs(y) for x, y in pairs)
            row["void"] = row["lossDifference"] > TOLERANCE
        tell(row)
        return row["torch"].get("tokensPerSecond", 0.0)

    for method in ("red", "lora"):
        rates = {batch: compare(method, False, batch) for batch in work["training"]}
        best = max(rates, key=rates.get)
        if not args.rehearse:
            for batch in sorted(rates, key=lambda b: (b != best, -b)):
                if rates[batch] > 0.0:
                    compare(method, True, batch)
    for batch in work["decoding"]:
        side.ours.step("train", work["training"][0])  # so that decoding begins from its prompt
        a, b = in_turns(lambda: side.ours.step("decode", batch), torch_side.decode(batch), 3 if args.rehearse else 20)
        tell({"what": "decoding", "batch": batch, "ours": figures(a, batch), "torch": figures(b, batch)})
    side.ours.end()
    raise SystemExit(any(row.get("void") for row in result["rows"]))


main()
