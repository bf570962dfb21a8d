#!/usr/bin/env python3
"""Writes a random RED adapter for a model, as far from the identity as trained ones (scales cross zero).

  python make_adapter.py --model FOLDER --out FOLDER [--variant all] [--sites ffn attention] [--seed 0]
"""
import argparse

import torch

import reference


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--variant", choices=reference.VECTORS, default="all")
    parser.add_argument("--sites", nargs="+", choices=reference.MODULES, default=["ffn"])
    parser.add_argument("--layers", nargs="+", type=int, help="default: all")
    parser.add_argument("--scale", nargs=2, type=float, default=[-8.0, 17.0], metavar=("LOW", "HIGH"))
    parser.add_argument("--bias", nargs=2, type=float, default=[-2.0, 2.0], metavar=("LOW", "HIGH"))
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    model = reference.load_model(options.model)
    layers = options.layers or list(range(model.config.num_hidden_layers))
    vectors = reference.random_vectors(
        model, reference.site_names(model, options.sites, layers), options.variant,
        torch.Generator().manual_seed(options.seed), tuple(options.scale), tuple(options.bias),
    )  # fmt: skip
    reference.save_adapter(options.out, vectors, options.sites, options.variant, layers)
    print(f"{len(vectors)} vectors, {sum(v.numel() for v in vectors.values())} numbers in {options.out}")


if __name__ == "__main__":
    main()
