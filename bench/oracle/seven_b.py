#!/usr/bin/env python3
"""Loss of one batch of 128 supervised tokens on a big checkpoint, without gradients, with little more memory than its weights.

  python seven_b.py --model FOLDER [--ids ids.json] [--out loss.json]

Weights stay mapped in the dtype of the file. --upcast computes in float32, one layer's weights at a time: the more exact loss of the same
bf16 weights. --wide-products keeps bf16 between operations but multiplies in float32 and rounds once, as bf16 matmuls with fp32 sums do: on
a processor without bf16 arithmetic, PyTorch's own bf16 matmuls take minutes. Without --ids the sequence is (7 i + 3) mod vocabulary for
i = 0 .. 128, whose 128 next ids are the targets.
"""
import argparse
import json
import resource
import time
from pathlib import Path

import torch
from safetensors import safe_open
from torch.nn import functional as F
from transformers import AutoConfig
from transformers.models.llama.modeling_llama import LlamaDecoderLayer, LlamaRMSNorm, LlamaRotaryEmbedding

import reference


class Checkpoint:
    """Tensors of a folder's safetensors files by their Hugging Face names, read on demand."""

    def __init__(self, folder):
        self.files = [safe_open(path, "pt") for path in sorted(Path(folder).glob("*.safetensors"))]
        self.place = {name: file for file in self.files for name in file.keys()}

    def __getitem__(self, name):
        return self.place[name].get_tensor(name)

    def under(self, prefix):
        return {name.removeprefix(prefix): self[name] for name in self.place if name.startswith(prefix)}


def widen_products():
    """From now on F.linear multiplies in float32 and rounds its result once."""
    narrow = F.linear
    F.linear = lambda x, weight, bias=None: narrow(
        x.float(), weight.float(), None if bias is None else bias.float()
    ).to(x.dtype)


@torch.no_grad()
def loss_of(folder, ids, upcast):
    """Mean next-token loss in nats of one sequence, layer by layer with transformers' own layers."""
    config = AutoConfig.from_pretrained(folder)
    config._attn_implementation = "eager"
    checkpoint = Checkpoint(folder)
    cast = (lambda t: t.float()) if upcast else (lambda t: t)
    names = ("model.embed_tokens.weight", "lm_head.weight")  # if weights are tied, a file may have either
    embedding = checkpoint[names[0] if names[0] in checkpoint.place else names[1]]
    x = cast(F.embedding(torch.tensor([ids]), embedding))
    positions = torch.arange(len(ids))[None]
    rotary = LlamaRotaryEmbedding(config)(x, positions)
    mask = torch.full((len(ids), len(ids)), torch.finfo(x.dtype).min, dtype=x.dtype).triu(1)[None, None]
    for i in range(config.num_hidden_layers):
        with torch.device("meta"):
            layer = LlamaDecoderLayer(config, i)
        weights = {name: cast(tensor) for name, tensor in checkpoint.under(f"model.layers.{i}.").items()}
        layer.load_state_dict(weights, assign=True)
        x = layer(x, attention_mask=mask, position_embeddings=rotary)
    with torch.device("meta"):
        norm = LlamaRMSNorm(config.hidden_size, config.rms_norm_eps)
    norm.load_state_dict({"weight": cast(checkpoint["model.norm.weight"])}, assign=True)
    head = embedding if config.tie_word_embeddings else checkpoint[names[1]]
    logits = F.linear(norm(x), cast(head))[0]
    targets = ids[1:] + [-1]
    return (reference.loss_sum(logits, targets) / sum(t >= 0 for t in targets)).item()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--ids", help="JSON file [[id, ...]]; its first sequence is used")
    parser.add_argument("--upcast", action="store_true")
    parser.add_argument("--wide-products", action="store_true")
    parser.add_argument("--out")
    parser.add_argument("--threads", type=int)
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    if options.ids:
        ids = json.loads(Path(options.ids).read_text())[0]
    else:
        vocabulary = AutoConfig.from_pretrained(options.model).vocab_size
        ids = [(7 * i + 3) % vocabulary for i in range(129)]
    if options.wide_products:
        widen_products()
    start = time.perf_counter()
    result = {
        "loss": loss_of(options.model, ids, options.upcast),
        "supervisedTokens": len(ids) - 1,
        "upcast": options.upcast,
        "wideProducts": options.wide_products,
        "seconds": time.perf_counter() - start,
        "peakGiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "ids": ids,
    }
    if options.out:
        Path(options.out).write_text(json.dumps(result) + "\n")
    print(json.dumps({key: value for key, value in result.items() if key != "ids"}))


if __name__ == "__main__":
    main()
