#!/usr/bin/env python3
"""Loads what `exportPeft` wrote with PEFT, and compares its logits with those that rubricate computes. README.md says when to run it.

  python test/parity/check_peft_export.py BASE LOGITS.json FOLDER [FOLDER]

BASE: a fixture's name. LOGITS.json: the logits of its batch, a list. FOLDERs: in the order that `exportPeft` returns; all but the last are
merged into the base.
"""
import json
import sys

import peft
import torch
from make_peft_stored_fixtures import FIXTURES, load_base, logits_of

name, logits, *folders = sys.argv[1:]
model = load_base(name)
for folder in folders[:-1]:
    model = peft.PeftModel.from_pretrained(model, folder).merge_and_unload()
model = peft.PeftModel.from_pretrained(model, folders[-1]).eval()
found = logits_of(model, json.loads((FIXTURES / name / "expected.json").read_text())["batch"])
wanted = torch.tensor(json.loads(open(logits).read())).view_as(found)
error = ((found - wanted).norm() / wanted.norm()).item()
print(f"{name}: relative error of the logits {error:.1e}")
sys.exit(error > 1e-5)
