"""What the scripts that make fixtures of PEFT's adapters share."""
import json

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
