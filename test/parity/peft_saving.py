"""What the scripts that make fixtures of PEFT's adapters share."""
import argparse
import json
from pathlib import Path

import torch

LISTS = ("target_modules", "feedforward_modules")


def save_adapter(model, folder, base):
    """Writes the adapter's folder as PEFT does, with the base's name in place of its path, and the modules sorted: PEFT writes a set's order."""
    model.save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)
    path = folder / "adapter_config.json"
    config = json.loads(path.read_text())
    lists = {key: sorted(config[key]) for key in LISTS if isinstance(config.get(key), list)}
    path.write_text(json.dumps(config | lists | {"base_model_name_or_path": base}, indent=2, sort_keys=True) + "\n")


def randomize(parameters):
    """Gives the named parameters of an adapter random values, as large as trained ones; A keeps PEFT's."""
    for name, parameter in parameters:
        if "lora_B" in name:
            parameter.uniform_(-0.2, 0.2)
        elif "ia3_l" in name:
            parameter.uniform_(0.5, 1.5)


def make_all(description, folder, cases, make):
    """Calls make(name, *case, seed, out) for each case; --out names another folder."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=folder)
    options = parser.parse_args()
    torch.set_num_threads(1)
    for seed, (name, case) in enumerate(cases.items(), 1):
        make(name, *case, seed, options.out)
