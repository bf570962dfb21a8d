#!/usr/bin/env python3
"""Makes test/parity/fixtures/ia3: (IA)3 adapters of PEFT on the fixture gqa, and what PyTorch computes with them. README.md says more.

  python test/parity/make_ia3_fixtures.py [--out FOLDER]

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

BASE = HERE / "fixtures" / "gqa"
EVERYTHING = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
CASES = {
    "usual": {},  # k_proj, v_proj and the input of down_proj
    "inputs": {"target_modules": EVERYTHING, "feedforward_modules": EVERYTHING},
    "outputs": {"target_modules": EVERYTHING, "feedforward_modules": []},
}


def canonical(name):
    """base_model.model.model.layers.0.mlp.down_proj.ia3_l.default -> layers.0.mlp.down_proj.ia3_l"""
    return name.split("model.layers.")[-1].join(["layers.", ""]).replace(".default", "")


def adapted(settings, seed):
    """The base with random scales around 1; and the scales by canonical name."""
    torch.manual_seed(seed)
    model = peft.get_peft_model(reference.load_model(BASE), peft.IA3Config(task_type="CAUSAL_LM", **settings))
    parameters = {canonical(n): p for n, p in model.named_parameters() if p.requires_grad}
    with torch.no_grad():
        for parameter in parameters.values():
            parameter.uniform_(0.5, 1.5)
    return model.eval(), parameters


def make(name, settings, seed, out):
    expected = json.loads((BASE / "expected.json").read_text())
    model, parameters = adapted(settings, seed)
    folder = out / name
    model.save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)
    path = folder / "adapter_config.json"  # PEFT writes the base's path, and the modules in the order of a set
    config = json.loads(path.read_text())
    config |= {"base_model_name_or_path": BASE.name}
    config |= {key: sorted(config[key]) for key in ("target_modules", "feedforward_modules")}
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    batch, tensors = expected["batch"], {}
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
    parser.add_argument("--out", type=Path, default=HERE / "fixtures" / "ia3")
    options = parser.parse_args()
    torch.set_num_threads(1)
    for seed, (name, settings) in enumerate(CASES.items(), 1):
        make(name, settings, seed, options.out)


if __name__ == "__main__":
    main()
