"""Tokenizers of every family and class, and what transformers makes of each: some classes replace the rules of tokenizer.json.

    python bench/oracle/tokenizers/classes.py OUT.json [SEED]       (transformers 5.18, tokenizers 0.23)

test/parity/fixtures/tokenizer_classes.json is `OUT.json 1`, which test/unit/tokenizer_classes.test.ts reads. A case in which transformers
makes a tokenizer of another kind than tokenizer.json describes (byte-level or with "▁") has the ids of tokenizer.json instead.
"""

import itertools
import json
import random
import shutil
import sys
import tempfile
from pathlib import Path

from transformers import AutoTokenizer, logging

logging.set_verbosity_error()
FIXTURES = Path(__file__).parents[3] / "test" / "parity" / "fixtures" / "tokenizer"
FAMILIES = ["llama", "mistral", "qwen2", "qwen3"]
CLASSES = [None, "LlamaTokenizer", "LlamaTokenizerFast", "CodeLlamaTokenizer", "CodeLlamaTokenizerFast", "GPT2Tokenizer", "Qwen2Tokenizer", "Qwen2TokenizerFast", "PreTrainedTokenizerFast", "GemmaTokenizer", "OwnTokenizer"]
BYTE_LEVEL_CLASSES = ["GPT2Tokenizer", "Qwen2Tokenizer"]
SPECIAL = ["unk_token", "bos_token", "eos_token", "pad_token"]
OWN = ["prefix_token", "middle_token", "suffix_token", "eot_token", "fill_token"]  # of CodeLlamaTokenizer
TEXTS = ["On 12345 it's  two\n\n\tcafe\u0301 x", " <|eot_id|> y</s>z", "<|endoftext|>a", "▁<PRE>b▁<MID> <own>"]
BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False}
QWEN2 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
RULES = {
    "as it is": {},
    "digits": {"pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": True}, {**BYTES, "use_regex": True}]}},
    "qwen2": {
        "normalizer": {"type": "NFC"},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "Split", "pattern": {"Regex": QWEN2}, "behavior": "Isolated", "invert": False}, {**BYTES, "use_regex": False}]},
    },
}
TEXT = {"Sequence": {"id": "A", "type_id": 0}}
END = {"id": "</s>", "ids": [2], "tokens": ["</s>"]}
RULES["no processor"] = {"post_processor": None}
RULES["ended"] = {"post_processor": {"type": "TemplateProcessing", "single": [TEXT, {"SpecialToken": {"id": "</s>", "type_id": 0}}], "pair": [TEXT, {"Sequence": {"id": "B", "type_id": 1}}], "special_tokens": {"</s>": END}}}
BASES = [*(("llama", name) for name in ("as it is", "no processor", "ended")), *(("byte_level", name) for name in ("as it is", "digits", "qwen2"))]


def loaded(document, config, model):
    folder = Path(tempfile.mkdtemp())
    try:
        for name, value in (("tokenizer", document), ("tokenizer_config", config), ("config", model)):
            (folder / f"{name}.json").write_text(json.dumps(value), encoding="utf-8")
        return AutoTokenizer.from_pretrained(folder)
    finally:
        shutil.rmtree(folder)


def case(rng, base, rules, family, class_name):
    document = {**json.loads((FIXTURES / base / "tokenizer.json").read_text(encoding="utf-8")), **RULES[rules]}
    config = {"bos_token": "<s>" if base == "llama" else "<|begin_of_text|>", "eos_token": "</s>", "unk_token": None}
    for name in SPECIAL:
        if rng.random() < 0.2:
            config.pop(name, None)
        elif rng.random() < 0.2:
            config[name] = None
    if base == "llama":
        for name in OWN:
            if rng.random() < 0.3:
                config[name] = rng.choice([None, "<own>", "<s>"])
        for name, tokens in (("additional_special_tokens", ["<extra>"]), ("extra_special_tokens", ["<other>"])):
            if rng.random() < 0.2:
                config[name] = tokens
    for name in ("add_bos_token", "add_eos_token"):
        if rng.random() < 0.3:
            config[name] = rng.choice([True, False])
    if rng.random() < 0.3:
        config["add_prefix_space"] = rng.choice([True, False])
    model = {"model_type": family}
    if class_name:
        # An unknown class in config.json is an error there.
        rng.choice([config, config, config if class_name == "OwnTokenizer" else model])["tokenizer_class"] = class_name
    tokenizer = loaded(document, config, model)
    made = type(tokenizer).__name__
    kind = (made in BYTE_LEVEL_CLASSES) == (base == "byte_level")
    followed = made == "TokenizersBackend" or (kind and made != "GemmaTokenizer")
    if not followed:
        tokenizer = loaded(document, {**config, "tokenizer_class": "PreTrainedTokenizerFast"}, {"model_type": "llama"})
    ids = [tokenizer(text)["input_ids"] for text in TEXTS]
    expected = {"ids": ids, "decoded": [tokenizer.decode(one) for one in ids], "eos": tokenizer.eos_token_id, "size": len(tokenizer)}
    return {"base": base, "rules": RULES[rules], "config": config, "model": model, "followed": followed, "expected": expected}


def main(out, seed=1):
    rng = random.Random(int(seed))
    cases = [case(rng, *base, family, name) for base, family, name in itertools.product(BASES, FAMILIES, CLASSES)]
    Path(out).write_text(json.dumps({"texts": TEXTS, "cases": cases}, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"{len(cases)} cases, {sum(not one['followed'] for one in cases)} of them not followed")


if __name__ == "__main__":
    main(*sys.argv[1:3])
