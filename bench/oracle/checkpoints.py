#!/usr/bin/env python3
"""Tiny random LLaMA folders of all kinds, with transformers' logits, for checkpoints.mjs in this folder.

  python checkpoints.py --out FOLDER [--configs 40] [--checkpoints 48] [--seed 1]

Configs differ in heads, key/value heads, head size, layers, RoPE (type, spelling, position in the config), tied embeddings and biases;
checkpoints also in dtype, shards, prefixes, separate lm_heads, and class names. Each becomes FOLDER/NAME with a model's files and
reference.json: {"ids", "logits" of all positions in float32 or null, "error" of transformers or null}. The seed determines Python's and
torch's random numbers; a folder of the same name is replaced.
"""
import argparse
import json
import random
import shutil
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM
from transformers.utils import logging

logging.disable_progress_bar()
logging.set_verbosity_error()


def rope_values(draw, theta):
    kind = draw.choice(["default", "linear", "llama3"] * 4 + ["dynamic"])
    values = {"default": {}, "linear": {"factor": draw.choice([2.0, 4.0, 7.5])}, "dynamic": {"factor": 2.0}}
    values["llama3"] = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
    found = dict(values[kind])
    if kind == "llama3" and draw.random() < 0.7:
        found["original_max_position_embeddings"] = draw.choice([16, 32])
    found[draw.choice(["type", "rope_type"])] = kind
    if draw.random() < 0.3:
        found["rope_theta"] = theta * 2
    return found


def random_config(draw):
    """A config.json as people's folders have it: old and new names, nulls, values in two places."""
    head_dim = draw.choice([4, 8, 16])
    kv_heads = draw.choice([1, 2, 3])
    heads = kv_heads * draw.choice([1, 2, 3])
    hidden = heads * head_dim
    theta = draw.choice([100.0, 10000.0, 500000.0])
    config = {
        "architectures": [draw.choice(["LlamaForCausalLM", "LLaMAForCausalLM", "LlamaModel"])],
        "model_type": "llama",
        "vocab_size": 64,
        "hidden_size": hidden,
        "intermediate_size": draw.choice([24, 40]),
        "num_hidden_layers": draw.choice([1, 2, 3]),
        "num_attention_heads": heads,
        "max_position_embeddings": 64,
        "rms_norm_eps": draw.choice([1e-5, 1e-6]),
        "hidden_act": "silu",
        "tie_word_embeddings": draw.random() < 0.5,
        "attention_bias": draw.random() < 0.3,
        "mlp_bias": draw.random() < 0.3,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    if kv_heads != heads or draw.random() < 0.5:
        config["num_key_value_heads"] = kv_heads
    elif draw.random() < 0.5:
        config["num_key_value_heads"] = None
    given = draw.random()
    if given < 0.3:
        config["head_dim"] = head_dim
    elif given < 0.5:
        config["head_dim"] = None
    elif given < 0.7:
        config["head_dim"] = 2 * head_dim  # wider than hidden_size / heads
    for name, chance in (("rope_scaling", 0.5), ("rope_parameters", 0.5)):
        if draw.random() < chance:
            config[name] = rope_values(draw, theta)
        elif draw.random() < 0.2:
            config[name] = draw.choice([None, {}])
    if draw.random() < 0.7:
        config["rope_theta"] = theta
    if draw.random() < 0.2:
        config["original_max_position_embeddings"] = 32
    return config


def write_weights(draw, folder, config, plain):
    """The model's tensors: as transformers saves them where `plain`, else in all the forms in which they are found."""
    model = LlamaForCausalLM(LlamaConfig.from_dict(config))
    tensors = {name: torch.randn_like(value) * 0.3 for name, value in model.state_dict().items()}
    if config["tie_word_embeddings"]:
        tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()
        forms = ["table"] if plain else ["table", "head", "both", "different"]
        form = draw.choice(forms)
        if form == "table":
            del tensors["lm_head.weight"]
        elif form == "head":
            del tensors["model.embed_tokens.weight"]
        elif form == "different":
            tensors["lm_head.weight"] = torch.randn_like(tensors["lm_head.weight"])
        if not plain and draw.random() < 0.3:  # as saved by the class LlamaModel
            tensors = {name.removeprefix("model."): value for name, value in tensors.items()}
    if not plain:
        dtype = draw.choice([torch.float32, torch.bfloat16, torch.float16])
        tensors = {name: value.to(dtype) for name, value in tensors.items()}
        config[draw.choice(["dtype", "torch_dtype"])] = str(dtype).removeprefix("torch.")
        if draw.random() < 0.2:
            prefix = "model." if "model.norm.weight" in tensors else ""
            tensors[prefix + "layers.0.self_attn.rotary_emb.inv_freq"] = torch.rand(2)
    tensors = {name: value.contiguous() for name, value in tensors.items()}
    shards = 1 if plain else draw.choice([1, 1, 2, 3])
    if shards == 1 or draw.random() < 0.2:
        save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    if shards == 1:
        return
    if (folder / "model.safetensors").exists():  # the index belongs to another model then
        tensors = {name: torch.randn(value.shape).to(value.dtype) for name, value in tensors.items()}
    names = sorted(tensors)
    draw.shuffle(names)
    weight_map = {}
    for part in range(shards):
        file = f"model-{part + 1:05}-of-{shards:05}.safetensors"
        own = {name: tensors[name] for name in names[part::shards]}
        save_file(own, folder / file, {"format": "pt"})
        weight_map |= dict.fromkeys(own, file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))


def reference_of(folder, ids):
    try:
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
        with torch.no_grad():
            logits = model(torch.tensor([ids])).logits[0]
        return {"ids": ids, "logits": logits.tolist(), "error": None}
    except Exception as error:  # any exception is transformers' answer
        return {"ids": ids, "logits": None, "error": f"{type(error).__name__}: {error}"[:300]}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--configs", type=int, default=40)
    parser.add_argument("--checkpoints", type=int, default=48)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(1)
    for at in range(options.configs + options.checkpoints):
        draw = random.Random(f"{options.seed} {at}")
        torch.manual_seed(options.seed * 1000 + at)
        plain = at < options.configs
        folder = options.out / f"{'config' if plain else 'checkpoint'}-{at if plain else at - options.configs:02}"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        while True:  # until transformers accepts the config
            config = random_config(draw)
            try:
                write_weights(draw, folder, config, plain)
                break
            except Exception as error:
                print(f"{folder.name}: drawn again, {type(error).__name__}: {str(error)[:80]}")
        (folder / "config.json").write_text(json.dumps(config, indent=1))
        ids = [draw.randrange(64) for _ in range(24)]
        (folder / "reference.json").write_text(json.dumps(reference_of(folder, ids)))
    print(f"{options.configs} configs and {options.checkpoints} checkpoints in {options.out}")


if __name__ == "__main__":
    main()
