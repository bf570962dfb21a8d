#!/usr/bin/env python3
"""Makes test/parity/fixtures/methods: adapters of methods on the fixtures gqa, mha and gpt2, and what PyTorch computes with them in
float64, from the formulas alone. README.md says more.

  python test/parity/make_method_fixtures.py [--out FOLDER] [--only CASE]

Needs torch, transformers, safetensors. The result depends on the seeds below alone.
"""
import argparse
import json
import math
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

HERE = Path(__file__).resolve().parent
sys.path.insert(1, str(HERE.parents[1] / "bench" / "oracle"))
import optimizing  # noqa: E402
import reference  # noqa: E402
import sparse_methods  # noqa: E402
from sparse_methods import RANK, THRESHOLD, grown, smallest, sparse, spt  # noqa: E402

SIZE, GROUPS, ALPHA = 4, 4, 6  # of the cases below; methods.test.ts has the same
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


def sites(method, *kinds):
    """The method at these sites of all layers, with parameters of its own at each."""
    shapes, apply = method

    def build(model, take):
        for site in reference.site_names(model, kinds):
            module = reference.module_of(model, site)
            wanted = shapes(module.in_features, module.out_features).items()
            own = {name: take(f"{site}.{name}", shape) for name, shape in wanted}
            module.register_forward_hook(lambda _, args, y, own=own: apply(args[0], y, own))

    return build


def reflected(x, vectors, factors):
    """x plus, block by block, factor * v (v . x) / |v|^2 for each vector of the block; vectors [blocks, n, width / blocks]."""
    unit = vectors / vectors.norm(dim=-1, keepdim=True)
    parts = x.unflatten(-1, (vectors.shape[0], vectors.shape[2]))
    along = torch.einsum("...bw,bvw->...bv", parts, unit) * torch.tensor(factors, dtype=x.dtype)
    return x + torch.einsum("...bv,bvw->...bw", along, unit).flatten(-2)


def ether(kinds, blocks, plus):
    """ETHER, or ETHER+ at input and output; with the bias, as the output of the layer."""

    def build(model, take):
        for site in reference.site_names(model, kinds):
            module = reference.module_of(model, site)
            vectors = {}
            if plus:
                vectors["input"] = take(f"{site}.ether_input", (blocks, 2, module.in_features // blocks))
                vectors["output"] = take(f"{site}.ether_output", (blocks, 2, module.out_features // blocks))
            else:
                vectors["input"] = take(f"{site}.ether_u", (blocks, 1, module.in_features // blocks))
            factors = [-1.0, 1.0] if plus else [-2.0]
            module.register_forward_pre_hook(
                lambda _, args, v=vectors: (reflected(args[0], v["input"], factors),)
            )
            if plus:
                module.register_forward_hook(lambda _, args, y, v=vectors: reflected(y, v["output"], factors))

    return build


def lorta(rank):
    def build(model, take):
        config = model.config
        heads, layers, hidden = config.num_attention_heads, config.num_hidden_layers, config.hidden_size
        a, b = take("lorta_A", (rank, hidden), 2.0), take("lorta_B", (rank, hidden // heads), 2.0)
        of_heads, of_matrices = take("lorta_C_heads", (heads, rank), 2.0), take("lorta_C_matrices", (4, rank), 2.0)
        of_layers = take("lorta_C_layers", (layers, rank), 2.0)

        def change(x, layer, matrix):
            factors = of_heads * of_matrices[matrix] * of_layers[layer]  # [heads, rank]
            update = torch.cat([a.T @ torch.diag(c) @ b for c in factors], 1)
            return ALPHA / rank * x @ update

        for at, site in enumerate(reference.site_names(model, ("q", "k", "v", "attention"))):
            place = divmod(at, 4)
            reference.module_of(model, site).register_forward_hook(
                lambda _, args, y, place=place: y + change(args[0], *place)
            )

    return build


def train_sizes(count):
    """lib/adapter/tensor_train.ts, for widths that the published table lacks."""
    sizes = [1] * min(8, max(2, math.floor(math.log2(count) / 3 + 0.5)))
    primes, rest = [], count
    for prime in range(2, count + 1):
        while rest % prime == 0:
            primes.append(prime)
            rest //= prime
    for prime in reversed(primes):
        sizes[sizes.index(min(sizes))] *= prime
    return sizes


def tensor_train(take, name, rows, cols, rank):
    """The cores of a matrix [rows, cols], and what makes the matrix of them."""
    sizes = train_sizes(rows * cols)
    cores = []
    for at, size in enumerate(sizes):
        shape = ([rank] if at else []) + [size] + ([rank] if at + 1 < len(sizes) else [])
        cores.append(take(f"{name}.core_{at}", tuple(shape), 2.0))

    def matrix():
        chain = cores[0]
        for core in cores[1:]:
            chain = torch.tensordot(chain, core, 1)
        return chain.reshape(rows, cols)

    return matrix


def own_norms(model, take):
    """The adapter's weight and bias of each norm in place of the model's."""
    for name, module in model.named_modules():
        if not name.lower().endswith(("norm", "ln_1", "ln_2", "ln_f")):
            continue
        canonical = reference.canonical(name + ".")
        weight = take(f"{canonical}weight", module.weight.shape)
        if getattr(module, "bias", None) is None:
            eps = module.variance_epsilon
            module.register_forward_hook(
                lambda _, args, y, w=weight, eps=eps: w
                * (args[0] * torch.rsqrt(args[0].pow(2).mean(-1, keepdim=True) + eps))
            )
        else:
            bias = take(f"{canonical}bias", module.bias.shape)
            module.register_forward_hook(
                lambda own, args, y, w=weight, b=bias: F.layer_norm(args[0], own.normalized_shape, w, b, own.eps)
            )


def loretta_rep(rank, tensor_rank):
    def build(model, take):
        for site in reference.site_names(model, ("q", "v")):
            module = reference.module_of(model, site)
            a = tensor_train(take, f"{site}.loretta_A", module.in_features, rank, tensor_rank)
            b = tensor_train(take, f"{site}.loretta_B", rank, module.out_features, tensor_rank)
            module.register_forward_hook(lambda _, args, y, a=a, b=b: y + ALPHA / rank * args[0] @ a() @ b())
        own_norms(model, take)

    return build


def loretta_adp(size, tensor_rank):
    def build(model, take):
        for site in reference.site_names(model, ("attention", "ffn")):
            module = reference.module_of(model, site)
            width = module.out_features
            down = tensor_train(take, f"{site}.loretta_down", width, size, tensor_rank)
            down_bias = take(f"{site}.loretta_down.bias", (size,))
            up = tensor_train(take, f"{site}.loretta_up", size, width, tensor_rank)
            up_bias = take(f"{site}.loretta_up.bias", (width,))
            parts = (down, down_bias, up, up_bias)
            module.register_forward_hook(
                lambda _, args, y, p=parts: y + torch.tanh(y @ p[0]() + p[1]) @ p[2]() + p[3]
            )
        own_norms(model, take)

    return build


def hiwi(rank):
    def build(model, take):
        for site in reference.site_names(model, ("up", "ffn")):
            module = reference.module_of(model, site)
            down = take(f"{site}.hiwi_down", (rank, module.out_features), 4.0)
            up = take(f"{site}.hiwi_up", (module.out_features, rank), 4.0)
            module.register_forward_hook(
                lambda own, args, y, down=down, up=up: y + torch.relu(own.bias @ down.T) @ up.T
            )

    return build


def hiwi_weights(rank, activation, *kinds):
    """W' = W + up f(down W)."""

    def build(model, take):
        for site in reference.site_names(model, kinds):
            module = reference.module_of(model, site)
            down = take(f"{site}.hiwi_down", (rank, module.out_features), 4.0)
            up = take(f"{site}.hiwi_up", (module.out_features, rank))
            module.register_forward_hook(
                lambda own, args, y, down=down, up=up: y
                + args[0] @ (up @ ACTIVATIONS[activation](down @ own.weight.detach())).T
            )

    return build


BASES = ("gqa", "gpt2")


def gift(*kinds, activation=None):
    """y = W (x + (x Q) P), or with an activation W x + f(W P^T) Q^T x, with one Q and one P for each site of all layers."""

    def build(model, take):
        pairs = {}
        for site in reference.site_names(model, kinds):
            module, owner = reference.module_of(model, site), site.rsplit(".", 1)[1]
            if owner not in pairs:
                width = module.in_features
                pairs[owner] = take(f"{owner}.gift_Q", (width, RANK)), take(f"{owner}.gift_P", (RANK, width))
            if activation is None:
                module.register_forward_pre_hook(
                    lambda _, args, pair=pairs[owner]: (args[0] + args[0] @ pair[0] @ pair[1],)
                )
            else:
                module.register_forward_hook(
                    lambda own, args, y, pair=pairs[owner]: y
                    + args[0] @ (ACTIVATIONS[activation](own.weight.detach() @ pair[1].T) @ pair[0].T).T
                )

    return build


LAMBDA = 0.25  # exact in float32


def sibo(method, *kinds):
    """`method` of (x, y, parameters, h) at these sites, h being what the first block is given: the embedding's output."""
    shapes, apply = method

    def build(model, take):
        kept = []
        blocks = model.transformer.h if hasattr(model, "transformer") else model.model.layers

        def keep(_, args, kwargs):
            kept[:] = [args[0] if args else kwargs["hidden_states"]]

        blocks[0].register_forward_pre_hook(keep, with_kwargs=True)
        mixed = shapes, lambda x, y, p: apply(x, y, p, kept[0])
        sites(mixed, *kinds)(model, take)

    return build


def sibo_lora():
    def shapes(inputs, outputs):
        return {"sibo_A": (RANK, inputs), "sibo_B": (outputs, RANK)}

    def apply(x, y, p, h):
        mixed = (1 - LAMBDA) * x + LAMBDA * h
        return y + ALPHA / RANK * (mixed @ p["sibo_A"].T) @ p["sibo_B"].T

    return shapes, apply


def sibo_bottleneck():
    shapes, _ = bottleneck("relu")

    def apply(x, y, p, h):
        mixed = (1 - LAMBDA) * y + LAMBDA * h
        return y + F.relu(mixed @ p["down.weight"].T + p["down.bias"]) @ p["up.weight"].T + p["up.bias"]

    return shapes, apply


CASES = {
    "bottleneck": (sites(bottleneck("gelu"), "ffn"), BASES),
    "bottleneck_both": (sites(bottleneck("silu"), "attention", "ffn"), BASES),
    "bottleneck_gelu_tanh": (sites(bottleneck("gelu_tanh"), "ffn"), BASES),
    "melora": (sites(melora(), "q", "v", "ffn"), BASES),
    "vera": (sites(vera(), "q", "v"), BASES),
    "bottleneck_relu": (sites(bottleneck("relu"), "ffn"), BASES),
    "bottleneck_tanh": (sites(bottleneck("tanh"), "ffn"), BASES),
    "ether": (ether(("q", "v", "ffn"), 4, False), BASES),
    "ether_plus": (ether(("q", "ffn"), 2, True), BASES),
    "lorta": (lorta(3), ("mha", "gpt2")),
    "loretta_rep": (loretta_rep(8, 3), BASES),
    "loretta_adp": (loretta_adp(8, 2), BASES),
    "hiwi": (hiwi(3), ("gpt2",)),
    "gift": (gift("q", "v"), BASES),
    "sibo_lora": (sibo(sibo_lora(), "q", "v", "up"), BASES),
    "sibo_bottleneck": (sibo(sibo_bottleneck(), "attention", "ffn"), BASES),
    "pafi": (sparse(smallest, "q", "attention", "up", "ffn"), BASES),
    "sara": (sparse(lambda weight: weight.abs() < THRESHOLD, "k", "ffn", width=0.03, grown=grown), BASES),
    "spt": (spt, BASES),
    "sara_rank": (
        sparse(lambda weight: weight.abs() < 2 * THRESHOLD, "up", layers=[1], width=0.03, nuclear=0.05),
        BASES,
    ),
    "hiwi_weights": (hiwi_weights(3, "relu", "q", "up", "ffn"), BASES),
    "gift_gelu": (gift("q", "v", activation="gelu"), BASES),
}


def adapted(model, build, seed):
    """Applies a method; its parameters by name, with random numbers that float32 holds."""
    generator = torch.Generator().manual_seed(seed)
    parameters = {}

    def take(name, shape, width=0.8):
        numbers = (torch.rand(shape, generator=generator) - 0.5) * width
        parameters[name] = numbers.double().requires_grad_()
        return parameters[name]

    build(model, take)
    return parameters


def make(base, name, seed, out):
    folder = HERE / "fixtures" / base
    expected = json.loads((folder / "expected.json").read_text())
    model = reference.load_model(folder, dtype=torch.float64)
    sparse_methods.clear()
    model.fixture = base
    parameters = adapted(model, CASES[name][0], seed)
    tensors = {f"value.{n}": p.detach().clone() for n, p in parameters.items()}
    batch = expected["batch"]
    loss, gradients = reference.loss_and_gradients(model, [batch], parameters)
    tensors |= {f"grad.{n}": g for n, g in gradients.items()}
    training = expected["training"]
    freezing = sparse_methods.Freezing(parameters, len(training["batches"]))
    rows = list(
        optimizing.optimize(
            parameters,
            training["batches"],
            lambda step: freezing.gradients(*reference.loss_and_gradients(model, step, parameters)),
            after=freezing.after,
            **{key: training["settings"][key] for key in ("lr", "schedule", "warmup", "clip")},
        )
    )
    tensors |= {f"train.{n}": p.detach() for n, p in parameters.items()}
    tensors |= sparse_methods.EXTRA
    stored = {n: t.detach().float().contiguous() for n, t in tensors.items()}
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"{base}_{name}.safetensors"
    save_file(stored, path, {"loss": repr(loss), "losses": json.dumps([row["loss"] for row in rows])})
    print(f"{base} {name}: loss {loss}, {path.stat().st_size // 1024} KiB")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=HERE / "fixtures" / "methods")
    parser.add_argument("--only", choices=CASES, help="the case to make; default: all")
    options = parser.parse_args()
    torch.set_num_threads(1)
    for seed, (name, (_, bases)) in enumerate(CASES.items(), 1):
        for base in bases if options.only in (None, name) else ():
            make(base, name, seed, options.out)


if __name__ == "__main__":
    main()
