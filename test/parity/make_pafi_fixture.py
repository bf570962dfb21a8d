#!/usr/bin/env python3
"""Makes fixtures/methods/gqa_peft_supertuning.safetensors: the entries of smallest magnitude that PEFT's Super-Tuning
(select_top=False) chooses in the fixture gqa, and their gradients in one step of training. README.md says more.

  python test/parity/make_pafi_fixture.py

Needs torch, transformers, peft, safetensors. The result depends on the seed below alone.
"""
import json
import sys
from pathlib import Path

import torch
from peft import SupertuningConfig, get_peft_model
from safetensors.torch import save_file

HERE = Path(__file__).resolve().parent
sys.path.insert(1, str(HERE.parents[1] / "bench" / "oracle"))
import reference  # noqa: E402

SHARE = 0.02  # pafi.test.ts has the same
MODULES = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def main():
    torch.set_num_threads(1)
    torch.manual_seed(1)
    folder = HERE / "fixtures" / "gqa"
    model = reference.load_model(folder, dtype=torch.float64)
    get_peft_model(model, SupertuningConfig(target_modules=MODULES, sparsity=1 - SHARE, select_top=False, init_weights=False))
    layers = {name.removeprefix("model."): m for name, m in model.named_modules() if hasattr(m, "supertuning_values")}
    values = {name: layer.supertuning_values["default"] for name, layer in layers.items()}
    for value in values.values():
        value.data = (torch.rand(value.shape) - 0.5).float()
        value.requires_grad_()
    batch = json.loads((folder / "expected.json").read_text())["batch"]
    _, gradients = reference.loss_and_gradients(model, [batch], values)
    tensors = {}
    for name, layer in layers.items():
        index, order = layer.supertuning_indices["default"].sort()
        tensors[f"index.{name}.index"] = index.int()
        tensors[f"value.{name}.delta"] = values[name].detach()[order].contiguous()
        tensors[f"grad.{name}.delta"] = gradients[name].float()[order].contiguous()
    path = HERE / "fixtures" / "methods" / "gqa_peft_supertuning.safetensors"
    save_file(tensors, path)
    print(f"{len(layers)} layers, {path.stat().st_size // 1024} KiB")


if __name__ == "__main__":
    main()
