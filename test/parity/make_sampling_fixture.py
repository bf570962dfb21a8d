"""Prints the expected probabilities of native/ops/sampling/sampling_penalties_test.cc, with transformers' logits
processors. transformers has no frequency and presence penalty: theirs is OpenAI's formula, at vLLM's place in the order.

    python test/parity/make_sampling_fixture.py
"""

import torch
from transformers import (
    LogitsProcessorList,
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    SequenceBiasLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

LOGITS = [2.0, -1.0, 0.5, 2.0, 3.25, -0.25, 0.0, 1.5, -3.0, 1.25]
PROMPT = [4, 1, 4, 7]
GENERATED = [3, 4, 3, 3, 5]

CASES = [
    {"bias": {0: 1.5, 4: -2.0}},
    {"bias": {1: 2.5, 3: -1.0}, "repetition": 1.25},
    {"repetition": 1.3, "frequency": 0.5},
    {"frequency": 0.4, "presence": 0.7},
    {"bias": {2: 3.0, 5: 1.5}, "repetition": 1.2, "frequency": 0.25, "presence": 0.5, "temperature": 0.8},
    {"bias": {7: 2.0}, "presence": -1.0, "temperature": 1.3, "top_k": 6, "top_p": 0.85},
    {"bias": {9: 1.0}, "repetition": 0.9, "frequency": -0.3, "min_p": 0.1},
]


class FrequencyAndPresence:
    def __init__(self, frequency, presence):
        self.frequency, self.presence = frequency, presence

    def __call__(self, input_ids, scores):
        counts = torch.bincount(torch.tensor(GENERATED), minlength=scores.shape[1])
        return scores - self.frequency * counts - self.presence * (counts > 0)


def probabilities(case):
    processors = LogitsProcessorList()
    if "bias" in case:
        processors.append(SequenceBiasLogitsProcessor([[[id], bias] for id, bias in case["bias"].items()]))
    if "repetition" in case:
        processors.append(RepetitionPenaltyLogitsProcessor(case["repetition"]))
    processors.append(FrequencyAndPresence(case.get("frequency", 0.0), case.get("presence", 0.0)))
    if "temperature" in case:
        processors.append(TemperatureLogitsWarper(case["temperature"]))
    if "top_k" in case:
        processors.append(TopKLogitsWarper(case["top_k"]))
    if "top_p" in case:
        processors.append(TopPLogitsWarper(case["top_p"]))
    if "min_p" in case:
        processors.append(MinPLogitsWarper(case["min_p"]))
    ids = torch.tensor([PROMPT + GENERATED])
    return torch.softmax(processors(ids, torch.tensor([LOGITS])), dim=-1)[0].tolist()


def number(value):
    return f"{value}f"


for case in CASES:
    fields = [f".{name} = {number(case[name])}" for name in ("repetition", "frequency", "presence", "temperature") if name in case]
    if "bias" in case:
        fields.insert(0, ".bias = {" + ", ".join(f"{{{id}, {number(bias)}}}" for id, bias in case["bias"].items()) + "}")
    if "top_k" in case:
        fields.append(f".top_k = {case['top_k']}")
    fields += [f".{name} = {number(case[name])}" for name in ("top_p", "min_p") if name in case]
    print("{{" + ", ".join(fields) + "}, {" + ", ".join(f"{p:.9g}" for p in probabilities(case)) + "}},")
