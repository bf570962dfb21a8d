#!/usr/bin/env python3
"""Makes test/parity/fixtures/methods: adapters of methods on the fixtures gqa and gpt2, and what PyTorch computes with them in
float64, from the formulas alone. README.md says more.

  python test/parity/make_method_fixtures.py [--out FOLDER]

Needs torch, transformers, safetensors. The result depends on the seeds below alone.
"""
import argparse
import json
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

HERE = Path(__file__).resolve().parent
sys.path.insert(1, str(HERE.parents[1] / "bench" / "oracle"))
import optimizing  # noqa: E402
import reference  # noqa: E402

SIZE, RANK, GROUPS, ALPHA, SHARE, THRESHOLD = 4, 2, 4, 6, 0.03, 0.01  # of the cases below; methods.test.ts has the same
F = torch.nn.functional
ACTIVATIONS = {
    "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "silu": F.silu,
    "relu": F.relu,
    "tanh": torch.tanh,
}


def vera_matrix(rows, cols, seed):
    """VeRA's frozen numbers, which the test's method makes in the same way: exact in float32."""
    i, j = torch.arange(rows)[:, None], torch.arange(cols)[None]
    return ((i * 7919 + j * 104729 + seed) % 1024).double() / 1024 - 0.5


def bottleneck(activation):
    def shapes(inputs, outputs):
        return {"down.weight": (SIZE, outputs), "down.bias": (SIZE,), "up.weight": (outputs, SIZE), "up.bias": (outputs,)}

    def apply(x, y, p):
        inner = ACTIVATIONS[activation](y @ p["down.weight"].T + p["down.bias"])
        return y + inner @ p["up.weight"].T + p["up.bias"]

    return shapes, apply


def melora():
    def shapes(inputs, outputs):
        return {"melora_A": (GROUPS, RANK, inputs // GROUPS), "melora_B": (GROUPS, outputs // GROUPS, RANK)}

    def apply(x, y, p):
        parts = [
            one @ a.T @ b.T for one, a, b in zip(x.chunk(GROUPS, -1), p["melora_A"], p["melora_B"])
        ]
        return y + ALPHA / RANK * torch.cat(parts, -1)

    return shapes, apply


def vera():
    def shapes(inputs, outputs):
        return {"lambda_d": (RANK,), "lambda_b": (outputs,)}

    def apply(x, y, p):
        a, b = vera_matrix(RANK, x.shape[-1], 1), vera_matrix(y.shape[-1], RANK, 2)
        return y + p["lambda_b"] * ((p["lambda_d"] * (x @ a.T)) @ b.T)

    return shapes, apply


def sparse(is_chosen):
    """W' = W + S with the entries that is_chosen(W) gives; an entry's value is at its place in the flat matrix, in order."""

    def of(module):
        weight = module.weight.detach()
        index = is_chosen(weight).flatten().nonzero().flatten()

        def apply(x, y, p):
            change = torch.zeros(weight.numel(), dtype=weight.dtype).scatter(0, index, p["delta"])
            return y + x @ change.view_as(weight).T

        return (lambda inputs, outputs: {"delta": (len(index),)}), apply

    return of


def smallest(weight):
    """PaFi's entries: the share of the matrix with the smallest magnitude."""
    order = weight.abs().flatten().sort(stable=True).indices[: max(1, round(SHARE * weight.numel()))]
    return torch.zeros(weight.numel(), dtype=torch.bool).index_fill(0, order, True)


CASES = {
    "bottleneck": (bottleneck("gelu"), ("ffn",)),
    "bottleneck_both": (bottleneck("silu"), ("attention", "ffn")),
    "bottleneck_gelu_tanh": (bottleneck("gelu_tanh"), ("ffn",)),
    "melora": (melora(), ("q", "v", "ffn")),
    "vera": (vera(), ("q", "v")),
    "bottleneck_relu": (bottleneck("relu"), ("ffn",)),
    "bottleneck_tanh": (bottleneck("tanh"), ("ffn",)),
    "pafi": (sparse(smallest), ("q", "attention", "up", "ffn")),
    "sara": (sparse(lambda weight: weight.abs() < THRESHOLD), ("k", "ffn")),
}


def adapted(model, method, sites, seed):
    """Applies a method at the sites of all layers; its parameters by name, with random numbers that float32 holds."""
    generator = torch.Generator().manual_seed(seed)
    parameters = {}
    for site in reference.site_names(model, sites):
        module = reference.module_of(model, site)
        shapes, apply = method(module) if callable(method) else method
        own = {
            name: ((torch.rand(shape, generator=generator) - 0.5) * 0.8).double().requires_grad_()
            for name, shape in shapes(module.in_features, module.out_features).items()
        }
        module.register_forward_hook(lambda _, args, y, own=own, apply=apply: apply(args[0], y, own))
        parameters |= {f"{site}.{name}": value for name, value in own.items()}
    return parameters


def make(base, name, seed, out):
    folder = HERE / "fixtures" / base
    expected = json.loads((folder / "expected.json").read_text())
    model = reference.load_model(folder, dtype=torch.float64)
    parameters = adapted(model, *CASES[name], seed)
    tensors = {f"value.{n}": p.detach().clone() for n, p in parameters.items()}
    batch = expected["batch"]
    loss, gradients = reference.loss_and_gradients(model, [batch], parameters)
    tensors |= {f"grad.{n}": g for n, g in gradients.items()}
    training = expected["training"]
    rows = list(
        optimizing.optimize(
            parameters,
            training["batches"],
            lambda step: reference.loss_and_gradients(model, step, parameters),
            **{key: training["settings"][key] for key in ("lr", "schedule", "warmup", "clip")},
        )
    )
    tensors |= {f"train.{n}": p.detach() for n, p in parameters.items()}
    stored = {n: t.detach().float().contiguous() for n, t in tensors.items()}
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"{base}_{name}.safetensors"
    save_file(stored, path, {"loss": repr(loss), "losses": json.dumps([row["loss"] for row in rows])})
    print(f"{base} {name}: loss {loss}, {path.stat().st_size // 1024} KiB")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=HERE / "fixtures" / "methods")
    options = parser.parse_args()
    torch.set_num_threads(1)
    for base in ("gqa", "gpt2"):
        for seed, name in enumerate(CASES, 1):
            make(base, name, seed, options.out)


if __name__ == "__main__":
    main()
