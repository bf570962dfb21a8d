#!/usr/bin/env python3
"""Makes test/parity/fixtures/norms: adapters of PEFT's LN tuning and the biases of BitFit, and what PyTorch computes with them.
README.md says more.

  python test/parity/make_norms_fixtures.py [--out FOLDER]

Needs torch, transformers, safetensors, peft (peft 0.21 was used). The result depends on the seeds below alone.
"""
import argparse
import json
import sys
from pathlib import Path

import peft
import torch
from safetensors.torch import save_file

HERE = Path(__file__).resolve().parent
sys.path.insert(1, str(HERE.parents[1] / "bench" / "oracle"))
import optimizing  # noqa: E402
import reference  # noqa: E402

# name: base, and the options of LNTuningConfig; None: BitFit, all biases of the base
CASES = {
    "gqa": ("gqa", {}),
    "gqa-some": ("gqa", {"target_modules": ["post_attention_layernorm"]}),
    "gpt2": ("gpt2", {}),
    "gpt2-bitfit": ("gpt2", None),
    "qwen2-bitfit": ("qwen2", None),
}


def named(name):
    """base_model.model.model.layers.0.input_layernorm.ln_tuning_layers.default.weight -> model.layers.0.input_layernorm.weight"""
    return name.removeprefix("base_model.model.").replace(".ln_tuning_layers.default", "")


def adapted(base, settings, seed):
    """The base with the method, its parameters moved at random; and these by the base's names."""
    torch.manual_seed(seed)
    model = reference.load_model(HERE / "fixtures" / base)
    if settings is None:
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name.endswith(".bias"))
    else:
        model = peft.get_peft_model(model, peft.LNTuningConfig(task_type="CAUSAL_LM", **settings))
    parameters = {named(n): p for n, p in model.named_parameters() if p.requires_grad}
    with torch.no_grad():
        for parameter in parameters.values():
            parameter.add_(torch.empty_like(parameter).uniform_(-0.3, 0.3))
    return model.eval(), parameters


def save_folder(model, base, folder):
    model.save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)
    path = folder / "adapter_config.json"  # PEFT writes the base's path, and the modules in the order of a set
    config = json.loads(path.read_text())
    config |= {"base_model_name_or_path": base, "target_modules": sorted(config["target_modules"])}
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def make(name, base, settings, seed, out):
    expected = json.loads((HERE / "fixtures" / base / "expected.json").read_text())
    model, parameters = adapted(base, settings, seed)
    folder = out / name
    folder.mkdir(parents=True, exist_ok=True)
    if settings is not None:
        save_folder(model, base, folder)
    batch, tensors = expected["batch"], {}
    if settings is None:
        tensors |= {f"value.{n}": p.detach().clone() for n, p in parameters.items()}
    with torch.no_grad():
        tensors["logits"] = torch.cat([reference.logits_of(model, ids) for ids, _ in reference.sequences_of(batch)])
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
    save_file({n: t.detach().clone().contiguous() for n, t in tensors.items()}, folder / "expected.safetensors")
    record = {"madeWith": {"torch": torch.__version__, "peft": peft.__version__}, "loss": loss, "losses": [r["loss"] for r in rows],
              "gradNorms": [r["gradNorm"] for r in rows]}  # fmt: skip
    (folder / "expected.json").write_text(json.dumps(record, separators=(",", ":")) + "\n")
    print(f"{name}: {len(tensors)} tensors, {sum(f.stat().st_size for f in folder.iterdir()) // 1024} KiB")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=HERE / "fixtures" / "norms")
    options = parser.parse_args()
    torch.set_num_threads(1)
    for seed, (name, (base, settings)) in enumerate(CASES.items(), 1):
        make(name, base, settings, seed, options.out)


if __name__ == "__main__":
    main()
