#!/usr/bin/env python3
"""Checks the reference itself: every stored float32 gradient of a RED case against central differences in float64.

Each vector is moved along a random direction of both signs; the slope of the loss must be the stored gradient's projection.

  python test/parity/check_oracle.py [--fixtures FOLDER]
"""
import argparse
import json
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "bench" / "oracle"))
import reference  # noqa: E402

STEP = 1e-5
TOLERANCE = 2e-5  # of the gradient's norm: float32 gradients are off by up to 1e-5 where terms cancel


def loss_at(model, micro, vectors):
    with torch.no_grad(), reference.edited(model, vectors):
        sums = [reference.loss_sum(reference.logits_of(model, ids), t) for ids, t in reference.sequences_of(micro)]
    return sum(loss.item() for loss in sums) / reference.supervised([micro])


def worst_of_case(model, micro, case, tensors):
    """Largest |slope - projection| / ||gradient|| over the vectors of a case, and which."""
    prefix = case["name"] + "."
    names = [n.removeprefix(prefix + "grad.") for n in tensors if n.startswith(prefix + "grad.")]
    vectors = {n: tensors[prefix + n].double() for n in names}
    generator = torch.Generator().manual_seed(1)
    worst = (0.0, None)
    for name in names:
        gradient = tensors[f"{prefix}grad.{name}"].double()
        direction = torch.randn(gradient.shape, generator=generator, dtype=torch.float64) + gradient.sign()
        ends = [loss_at(model, micro, vectors | {name: vectors[name] + s * STEP * direction}) for s in (1, -1)]
        slope = (ends[0] - ends[1]) / (2 * STEP)
        error = abs(slope - (gradient @ direction).item()) / (gradient.norm() * direction.norm()).item()
        worst = max(worst, (error, name))
    return worst


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fixtures", type=Path, default=HERE / "fixtures")
    options = parser.parse_args()
    torch.set_num_threads(1)
    failed = False
    for folder in sorted(f.parent for f in options.fixtures.glob("*/expected.json")):
        expected = json.loads((folder / "expected.json").read_text())
        tensors = load_file(folder / "expected.safetensors")
        model = reference.load_float64(folder)
        worst = max(worst_of_case(model, expected["batch"], case, tensors) + (case["name"],) for case in expected["red"])
        failed |= worst[0] > TOLERANCE
        print(f"{folder.name}: {len(expected['red'])} cases, worst {worst[0]:.1e} ({worst[2]} {worst[1]})")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
