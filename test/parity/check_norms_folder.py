#!/usr/bin/env python3
"""Loads an adapter of LN tuning that rubricate saved with PEFT, and compares its logits with those of a fixture. README.md says when to run it.

  python test/parity/check_norms_folder.py FOLDER NAME    # FOLDER: the adapter of fixtures/norms/NAME, saved again
"""
import json
import sys
from pathlib import Path

import peft
import torch
from safetensors.torch import load_file

HERE = Path(__file__).resolve().parent
sys.path.insert(1, str(HERE.parents[1] / "bench" / "oracle"))
import reference  # noqa: E402

folder, name = sys.argv[1:]
base = HERE / "fixtures" / name.split("-")[0]
model = peft.PeftModel.from_pretrained(reference.load_model(base), folder).eval()
batch = json.loads((base / "expected.json").read_text())["batch"]
with torch.no_grad():
    logits = torch.cat([reference.logits_of(model, ids) for ids, _ in reference.sequences_of(batch)])
error = reference.relative_error(logits, load_file(HERE / "fixtures" / "norms" / name / "expected.safetensors")["logits"])
print(f"{name}: relative error of the logits {error:.1e}")
sys.exit(error > 1e-6)
