"""Makes test/parity/fixtures/reference: delta_vector.pth as RED's reference implementation writes it, for the fixtures
gqa (LLaMA) and gpt2, with PyTorch's logits. Run in the folder of this file: python make_reference_fixtures.py"""

import json
import pathlib

import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

here = pathlib.Path(__file__).parent / "fixtures"
ids = [5, 9, 22, 7, 41, 3]

class Edit(torch.nn.Module):
    """A linear layer and RED's edit after it: output * scaling + bias, rounded as the reference does."""

    def __init__(self, layer, width, dtype, generator):
        super().__init__()
        self.update_layer = layer
        scaling = torch.rand(1, width, generator=generator) * 138 - 64
        scaling[0, :2] = torch.tensor([-64.0, 74.0])
        bias = torch.randn(1, width, generator=generator)
        vectors = {"activation_scaling": scaling.to(dtype), "activation_bias": bias.to(dtype)}
        self.delta_vector = torch.nn.ParameterDict({k: torch.nn.Parameter(v) for k, v in vectors.items()})

    def forward(self, x):
        return self.update_layer(x) * self.delta_vector["activation_scaling"] + self.delta_vector["activation_bias"]

def make(name, base, endings, dtype):
    generator = torch.Generator().manual_seed(7)
    model = AutoModelForCausalLM.from_pretrained(here / base, dtype=torch.float32)
    for key, layer in list(model.named_modules()):
        if not key.endswith(endings):
            continue
        width = layer.nf if hasattr(layer, "nf") else layer.out_features
        parent, _, last = key.rpartition(".")
        setattr(model.get_submodule(parent), last, Edit(layer, width, dtype, generator))
    with torch.no_grad():
        logits = model(torch.tensor([ids])).logits[0].contiguous()
    vectors = {k: v.detach() for k, v in model.state_dict().items() if "activation_" in k}
    torch.save(vectors, here / "reference" / name / "delta_vector.pth")
    save_file({k: v.float().contiguous() for k, v in vectors.items()}, here / "reference" / name / "vectors.safetensors")
    save_file({"logits": logits}, here / "reference" / name / "logits.safetensors")

for name, base, endings, dtype in [
    ("llama", "gqa", ("mlp.down_proj",), torch.bfloat16),
    ("gpt2", "gpt2", ("mlp.c_proj",), torch.float32),
    ("gpt2_more", "gpt2", ("attn.c_attn", "attn.c_proj", "mlp.c_proj"), torch.float32),
]:
    (here / "reference" / name).mkdir(parents=True, exist_ok=True)
    make(name, base, endings, dtype)
torch.save({"x": torch.ones(2)}, here / "reference" / "old_format.pth", _use_new_zipfile_serialization=False)
# Values that are not as they lie in their storage.
wide = torch.arange(24, dtype=torch.float16).reshape(4, 6)
torch.save({"transposed": wide.t()[1:3], "row": wide[2, 1:4], "empty": wide[:0], "number": wide[3, 5]}, here / "reference" / "views.pth")
(here / "reference" / "cases.json").write_text(json.dumps({"ids": ids}) + "\n")
