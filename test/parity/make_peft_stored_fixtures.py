#!/usr/bin/env python3
"""Makes test/parity/fixtures/peft_stored: PEFT's adapters of GPT-2 and Phi-3, whose checkpoints store linear layers fused or under other
names, and the logits that PyTorch computes with them. README.md says more.

  python test/parity/make_peft_stored_fixtures.py [--out FOLDER]

Needs torch, transformers, safetensors, peft (peft 0.21 was used). The result depends on the seeds below alone.
"""
import json
import sys
from pathlib import Path

import peft
import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

HERE = Path(__file__).resolve().parent
sys.path.insert(1, str(HERE.parents[1] / "bench" / "oracle"))
import reference  # noqa: E402
from peft_saving import make_all, randomize, save_adapter  # noqa: E402

FIXTURES = HERE / "fixtures"
CASES = {
    "gpt2_lora": ("gpt2", peft.LoraConfig, {"r": 3, "lora_alpha": 6}),  # PEFT's own target: c_attn
    "gpt2_all": ("gpt2", peft.LoraConfig, {"r": 2, "lora_alpha": 3, "target_modules": "all-linear", "use_rslora": True}),
    "gpt2_ia3": ("gpt2", peft.IA3Config, {}),  # c_attn, mlp.c_proj
    "phi3_lora": ("phi3", peft.LoraConfig, {"r": 3, "lora_alpha": 6, "target_modules": ["qkv_proj"], "layers_to_transform": [1]}),
    "phi3_all": ("phi3", peft.LoraConfig, {"r": 2, "lora_alpha": 3, "target_modules": ["qkv_proj", "gate_up_proj", "o_proj"]}),
    "phi3_ia3": ("phi3", peft.IA3Config, {"target_modules": ["qkv_proj", "gate_up_proj", "down_proj"],
                                          "feedforward_modules": ["gate_up_proj", "down_proj"]}),
}  # fmt: skip


def load_base(name):
    """As transformers has it: reference.load_model takes the fused layers apart."""
    folder = FIXTURES / name
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()


def logits_of(model, batch):
    with torch.no_grad():
        return torch.cat([reference.logits_of(model, ids) for ids, _ in reference.sequences_of(batch)])


def make(name, base, kind, settings, seed, out):
    torch.manual_seed(seed)
    model = peft.get_peft_model(load_base(base), kind(task_type="CAUSAL_LM", **settings)).eval()
    with torch.no_grad():
        randomize(model.named_parameters())
    folder = out / name
    save_adapter(model, folder, base)
    batch = json.loads((FIXTURES / base / "expected.json").read_text())["batch"]
    save_file({"logits": logits_of(model, batch).contiguous()}, folder / "expected.safetensors")
    print(f"{name}: {sum(f.stat().st_size for f in folder.iterdir()) // 1024} KiB")


if __name__ == "__main__":
    make_all(__doc__, FIXTURES / "peft_stored", CASES, make)
