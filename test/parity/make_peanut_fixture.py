#!/usr/bin/env python3
"""Makes fixtures/methods/gqa_peft_peanut.safetensors: numbers of PEFT's PEANUT without hidden layers (depth 0) in the fixture gqa, their
gradients in one step of training, and what they are after ten. README.md says more.

  python test/parity/make_peanut_fixture.py

PEANUT's change of W [outputs, inputs] is scaling * (f(W^T A^T) B^T)^T = scaling * B f(A W), A [r, outputs], B [outputs, r]: HiWi's on a
weight, with hiwi_down = A and hiwi_up = B, where scaling is 1.

Needs torch, transformers, peft, safetensors. The result depends on the seed below alone.
"""
import json
import sys
from pathlib import Path

import torch
from peft import PeanutConfig, get_peft_model
from safetensors.torch import save_file

HERE = Path(__file__).resolve().parent
sys.path.insert(1, str(HERE.parents[1] / "bench" / "oracle"))
import optimizing  # noqa: E402
import reference  # noqa: E402

RANK = 3  # peanut.test.ts has the same
MODULES = ["v_proj", "up_proj", "down_proj"]


def main():
    torch.set_num_threads(1)
    torch.manual_seed(1)
    folder = HERE / "fixtures" / "gqa"
    expected = json.loads((folder / "expected.json").read_text())
    model = reference.load_model(folder, dtype=torch.float64)
    get_peft_model(model, PeanutConfig(r=RANK, depth=0, act_fn="relu", scaling=1.0, target_modules=MODULES))
    layers = {name.removeprefix("model."): m for name, m in model.named_modules() if hasattr(m, "peanut_A")}
    parameters = {}
    for name, layer in layers.items():
        parameters[f"{name}.hiwi_down"] = layer.peanut_A["default"].weight
        parameters[f"{name}.hiwi_up"] = layer.peanut_B["default"].weight
        layer.to(torch.float64)
    for value in parameters.values():
        value.data = (torch.rand(value.shape) - 0.5).float().double()
        value.requires_grad_()
    tensors = {f"value.{name}": value.detach().clone() for name, value in parameters.items()}
    _, gradients = reference.loss_and_gradients(model, [expected["batch"]], parameters)
    tensors |= {f"grad.{name}": gradient for name, gradient in gradients.items()}
    training = expected["training"]
    for _ in optimizing.optimize(
        parameters,
        training["batches"],
        lambda step: reference.loss_and_gradients(model, step, parameters),
        **{key: training["settings"][key] for key in ("lr", "schedule", "warmup", "clip")},
    ):
        pass
    tensors |= {f"train.{name}": value.detach() for name, value in parameters.items()}
    path = HERE / "fixtures" / "methods" / "gqa_peft_peanut.safetensors"
    save_file({name: tensor.float().contiguous() for name, tensor in tensors.items()}, path)
    print(f"{len(layers)} layers, {path.stat().st_size // 1024} KiB")


if __name__ == "__main__":
    main()
