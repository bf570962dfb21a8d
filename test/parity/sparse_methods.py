"""Methods that train entries of matrices, for make_method_fixtures.py: PaFi, SaRA with what its training adds, SPT; from their formulas."""
import json
from pathlib import Path

import reference
import torch

HERE = Path(__file__).resolve().parent
RANK, SHARE, THRESHOLD = 2, 0.03, 0.03  # methods.test.ts has the same


def sparse(is_chosen, *kinds, layers=None, width=0.8, grown=None, nuclear=0.0):
    """W' = W + S with the entries that is_chosen(W) gives; an entry's value is at its place in the flat matrix, in order. grown: what says
    of adapted entries whether they are frozen at half of the steps. nuclear: the factor of the nuclear norm of W' at these entries, of one matrix."""

    def build(model, take):
        for site in reference.site_names(model, kinds, layers):
            weight = reference.module_of(model, site).weight.detach()
            index = is_chosen(weight).flatten().nonzero().flatten()
            delta = take(f"{site}.delta", (len(index),), width)
            if nuclear:
                NUCLEAR[f"{site}.delta"] = (nuclear, weight, index, delta)
            if grown:
                FREEZES[f"{site}.delta"] = lambda base=weight.flatten()[index], delta=delta: grown(base + delta.detach())

            def apply(_, args, y, weight=weight, index=index, delta=delta):
                change = torch.zeros(weight.numel(), dtype=weight.dtype).scatter(0, index, delta)
                return y + args[0] @ change.view_as(weight).T

            reference.module_of(model, site).register_forward_hook(apply)

    return build


EXTRA = {}  # further tensors of the case
SPT_BATCHES, SPT_BUDGET, SPT_ALPHA, SPT_BETA = 4, 600, 12, 4  # methods.test.ts has the same


def marked(model, steps, tensors):
    """SPT's marks: by name the mask of the SPT_BUDGET numbers with the largest sums of squared gradients."""
    for tensor in tensors.values():
        tensor.requires_grad_()
    sums = {name: torch.zeros_like(tensor) for name, tensor in tensors.items()}
    for step in steps:
        for name, gradient in reference.loss_and_gradients(model, step, tensors)[1].items():
            sums[name] += gradient.square()
    for tensor in tensors.values():
        tensor.requires_grad_(False)
    flat = torch.cat([one.flatten() for one in sums.values()])
    ordered = flat.sort(descending=True).values
    last, next_one = ordered[SPT_BUDGET - 1], ordered[SPT_BUDGET]
    assert last > 1.0001 * next_one, (last, next_one)  # float32 finds the same
    return {name: one >= last for name, one in sums.items()}


def spt(model, take):
    expected = json.loads((HERE / "fixtures" / model.fixture / "expected.json").read_text())
    steps = expected["training"]["batches"][:SPT_BATCHES]
    weights = reference.weights_of(model)
    skipped = ("embed_tokens.weight", "embed_positions.weight", "lm_head.weight")
    marks = marked(model, steps, {name: weights[name] for name in weights if name not in skipped})
    counts = {"low_rank": 0, "sparse": 0, "vectors": 0}
    for name, mask in marks.items():
        count = int(mask.sum())
        if count == 0:
            continue
        index = mask.flatten().nonzero().flatten()
        EXTRA[f"marked.{name}"] = index.double()
        owner, part = name.rsplit(".", 1)
        module = reference.module_of(model, owner)
        if mask.dim() == 2:
            outputs, inputs = mask.shape
            if count >= RANK * (inputs + outputs) / SPT_ALPHA:
                counts["low_rank"] += 1
                a, b = take(f"{owner}.spt_A", (RANK, inputs)), take(f"{owner}.spt_B", (outputs, RANK))
                module.register_forward_hook(lambda _, args, y, a=a, b=b: y + args[0] @ a.T @ b.T)
                continue
            counts["sparse"] += 1
            delta = take(f"{owner}.delta", (count,))

            def apply(_, args, y, shape=mask.shape, index=index, delta=delta):
                change = torch.zeros(shape.numel(), dtype=delta.dtype).scatter(0, index, delta)
                return y + args[0] @ change.view(shape).T

            module.register_forward_hook(apply)
        elif count >= mask.numel() / SPT_BETA:
            counts["vectors"] += 1
            is_linear = hasattr(module, "in_features")
            vector = take(f"{owner}.bias_change" if is_linear else name, mask.shape)
            if is_linear or part == "bias":
                own = 0.0 if is_linear else module.bias.detach()
                module.register_forward_hook(lambda _, args, y, v=vector, own=own: y - own + v)
            else:
                bias = getattr(module, "bias", None)
                bias = 0.0 if bias is None else bias.detach()
                weight = module.weight.detach()
                module.register_forward_hook(
                    lambda _, args, y, v=vector, w=weight, b=bias: (y - b) / w * v + b
                )
    print(f"  {counts}")


NUCLEAR = {}  # of the case: for a parameter, the factor of its norm, the weight, the places and the parameter


def add_nuclear(gradients):
    """The gradient of the nuclear norm, the polar factor by SVD, at the trained entries; singular values of 0 give 0."""
    for name, (factor, weight, index, delta) in NUCLEAR.items():
        own = torch.zeros(weight.numel(), dtype=weight.dtype)
        own[index] = weight.flatten()[index] + delta.detach()
        u, s, v = torch.linalg.svd(own.view_as(weight), full_matrices=False)
        print(f"  singular values from {s.max():.3g} to {s.min():.3g}")
        kept = s > 1e-9 * s.max()
        gradients[name] += factor * (u[:, kept] @ v[kept]).flatten()[index]


FREEZES = {}  # of the case: for a parameter, what gives the mask of its frozen numbers


def grown(entries):
    """SaRA's entries that are no longer below the threshold; none is so near to it that float32 could decide otherwise."""
    size = entries.abs()
    assert (size - THRESHOLD).abs().min() > 1e-5 * THRESHOLD
    return size >= THRESHOLD


class Freezing:
    """Of training: after half of the steps the gradient of frozen numbers is zero, and they stay."""

    def __init__(self, parameters, steps):
        self.parameters, self.steps, self.made, self.kept = parameters, steps, 0, {}

    def gradients(self, loss, gradients):
        add_nuclear(gradients)
        if self.made == self.steps // 2:
            masks = {name: mask() for name, mask in FREEZES.items()}
            self.kept = {name: (mask, self.parameters[name].detach()[mask].clone()) for name, mask in masks.items()}
            for name, mask in masks.items():
                print(f"  {name}: {mask.sum()} of {len(mask)} frozen")
        for name, (mask, _) in self.kept.items():
            gradients[name][mask] = 0.0
        return loss, gradients

    @torch.no_grad()
    def after(self):
        self.made += 1
        for name, (mask, values) in self.kept.items():
            self.parameters[name][mask] = values


def smallest(weight):
    """PaFi's entries: the share of the matrix with the smallest magnitude."""
    order = weight.abs().flatten().sort(stable=True).indices[: max(1, round(SHARE * weight.numel()))]
    return torch.zeros(weight.numel(), dtype=torch.bool).index_fill(0, order, True)


def clear():
    """Before a case."""
    for one in (EXTRA, NUCLEAR, FREEZES):
        one.clear()
