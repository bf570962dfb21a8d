"""Makes some thirty small tokenizers, and what transformers does with each: ids of texts, texts of ids, and where the tokens of a text end.

    python bench/oracle/tokenizers/make.py OUT [FIXTURES]       (transformers 5.18, tokenizers 0.23)

`compare.mjs` reads OUT, a folder, and prints every difference. FIXTURES is test/parity/fixtures/bulk_tokenizers, to make the files
there anew.
"""

import itertools
import json
import random
import sys
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer, logging

from texts import joints, sentences, texts

logging.set_verbosity_error()
SPECIAL = ["<unk>", "<s>", "</s>"]
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
QWEN = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
LLAMA_DECODER = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
# Of these there are fixtures.
IN_TESTS = ["unigram_bytes", "unigram_normalizer", "unigram_split", "normalizer_added", "lower_case_added"]
FLAGS = ["lstrip", "rstrip", "single_word", "normalized", "special"]


def template(before=("<s>",), after=()):
    """BOS and EOS around a text."""
    ids = {name: at for at, name in enumerate(SPECIAL)}
    single = " ".join([*before, "$A", *after])
    return processors.TemplateProcessing(
        single=single, pair=f"{single} $B:1", special_tokens=[(name, ids[name]) for name in {*before, *after}]
    )


def byte_level(splits, post=None, normalizer=None, prefix_space=False, decoder=None):
    tokenizer = Tokenizer(models.BPE())
    regex = splits is None
    stages = [*(splits or []), pre_tokenizers.ByteLevel(add_prefix_space=prefix_space, use_regex=regex)]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(stages) if len(stages) > 1 else stages[0]
    tokenizer.decoder = decoder or decoders.ByteLevel()
    if normalizer:
        tokenizer.normalizer = normalizer
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=520, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(sentences(), trainer)
    tokenizer.post_processor = post or processors.ByteLevel(trim_offsets=False)
    return tokenizer


def split(pattern, behavior="isolated"):
    return pre_tokenizers.Split(Regex(pattern), behavior=behavior)


def sentencepiece(scheme="first", splits=False, normalizer=None, post=None, unigram=False, fallback=True, decoder=None, **model):
    """A vocabulary of pieces with "▁"; with a normalizer there is no pre-tokenizer, as in LLaMA 2's first files."""
    special = SPECIAL + (BYTES if fallback else [])
    metaspace = pre_tokenizers.Metaspace(prepend_scheme=scheme, split=True)
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=fallback))
    tokenizer.pre_tokenizer = metaspace
    trainer = trainers.BpeTrainer(vocab_size=720, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator(sentences(), trainer)
    document = json.loads(tokenizer.to_str())
    if unigram:  # the trainer of unigram models gives other scores each time; these have ties, too
        pieces = sorted(document["model"]["vocab"], key=document["model"]["vocab"].get)
        scores = [[piece, 0.0 if at < len(special) else -3 - (at // 3) / 97] for at, piece in enumerate(pieces)]
        document["model"] = {"type": "Unigram", "unk_id": 0, "vocab": scores}
    document["added_tokens"] = [token for token in document["added_tokens"] if token["id"] < 3]
    document["model"].update({"byte_fallback": fallback, **model})
    tokenizer = Tokenizer.from_str(json.dumps(document))
    tokenizer.pre_tokenizer = None if normalizer else pre_tokenizers.Metaspace(prepend_scheme=scheme, split=splits)
    if normalizer:
        tokenizer.normalizer = normalizer
    tokenizer.decoder = decoder or decoders.Sequence(LLAMA_DECODER)
    tokenizer.post_processor = post or template()
    return tokenizer


def add(tokenizer, tokens):
    tokenizer.add_tokens(tokens)
    return tokenizer


def flagged():
    """A word for each combination of the flags of an added token."""
    tokens = []
    for at, values in enumerate(itertools.product([False, True], repeat=5)):
        flags = dict(zip(FLAGS, values))
        tokens.append(AddedToken(f"<Tok{at}>" if at % 2 else f"Zed{at}q", **flags))
    return tokens


def prepend(*more):
    return normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁"), *more])


def tokenizers():
    """Name, tokenizer, tokenizer_config.json."""
    bos_eos = template(("<s>",), ("</s>",))
    yield "gpt2", byte_level(None), {}
    yield "gpt2_prefix_space", byte_level(None, prefix_space=True), {"clean_up_tokenization_spaces": True}
    yield "llama3", byte_level([split(LLAMA3)], post=template()), {"clean_up_tokenization_spaces": True}
    yield "qwen", byte_level([split(QWEN)], normalizer=normalizers.NFC()), {}
    yield "qwen_bos_eos", byte_level([split(QWEN)], post=bos_eos), {}
    yield "digits_each", byte_level([pre_tokenizers.Digits(individual_digits=True)]), {}
    yield "digits_together", byte_level([pre_tokenizers.Digits(individual_digits=False)], post=template((), ("</s>",))), {}
    yield "punctuation", byte_level([pre_tokenizers.Punctuation("isolated")]), {}
    yield "lower_case", byte_level(None, normalizer=normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])), {}
    yield "byte_level_added", add(byte_level([split(LLAMA3)], post=template()), flagged()), {}
    yield "lower_case_added", add(byte_level(None, normalizer=normalizers.Lowercase()), flagged()), {}
    yield "metaspace_first", sentencepiece("first"), {}
    yield "metaspace_always", sentencepiece("always"), {}
    yield "metaspace_never", sentencepiece("never", decoder=decoders.Metaspace(prepend_scheme="never")), {}
    yield "metaspace_split", sentencepiece("first", splits=True, decoder=decoders.Metaspace(prepend_scheme="first")), {}
    yield "metaspace_split_always", sentencepiece("always", splits=True, post=bos_eos, decoder=decoders.Metaspace()), {}
    yield "normalizer", sentencepiece(normalizer=prepend()), {}
    yield "normalizer_strip", sentencepiece(normalizer=normalizers.Sequence([normalizers.Strip(), *prepend_parts()])), {}
    yield "normalizer_never", sentencepiece(normalizer=normalizers.Replace(" ", "▁"), post=template(("<s>",), ("</s>",))), {}
    yield "normalizer_added", add(sentencepiece(normalizer=prepend()), flagged()), {}
    yield "metaspace_added", add(sentencepiece("first"), flagged()), {}
    yield "always_added", add(sentencepiece("always"), flagged()), {}
    yield "no_fallback", sentencepiece("first", fallback=False), {}
    yield "llama_class", add(sentencepiece("first"), flagged()[:8]), {"tokenizer_class": "LlamaTokenizer", "legacy": False}
    yield "llama_legacy", sentencepiece(normalizer=prepend()), {"tokenizer_class": "LlamaTokenizer", "legacy": True, "add_bos_token": True}
    yield "unigram", sentencepiece("always", unigram=True, fallback=False), {"clean_up_tokenization_spaces": True}
    yield "unigram_bytes", sentencepiece("first", unigram=True), {"clean_up_tokenization_spaces": False}
    yield "unigram_split", sentencepiece("always", unigram=True, splits=True, post=bos_eos, decoder=decoders.Metaspace()), {}
    yield "unigram_normalizer", add(sentencepiece(unigram=True, normalizer=prepend(normalizers.NFKC())), flagged()), {"clean_up_tokenization_spaces": True}
    nmt = normalizers.Sequence([normalizers.Nmt(), normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " "), *prepend_parts()])
    yield "unigram_nmt", sentencepiece(unigram=True, normalizer=nmt), {}
    yield "unigram_never", add(sentencepiece("never", unigram=True, decoder=decoders.Metaspace(prepend_scheme="never")), flagged()), {}


def prepend_parts():
    return [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]


def write(path, value):
    path.write_text(json.dumps(value, ensure_ascii=False) + "\n", encoding="utf-8")


def expected(folder):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    both = lambda ids: [tokenizer.decode(ids), tokenizer.decode(ids, skip_special_tokens=True)]
    encoded = []
    for text in texts():
        ids = tokenizer(text)["input_ids"]
        encoded.append({"text": text, "ids": ids, "bare": tokenizer(text, add_special_tokens=False)["input_ids"], "decoded": both(ids)})
    rng = random.Random(5)
    size = len(tokenizer)
    decoded = []
    for at in range(80):
        ids = [rng.randrange(size) for _ in range(rng.randint(1, 24))]
        if at % 2:  # bytes next to each other, and added tokens
            ids = [rng.choice([rng.randrange(0, min(280, size)), rng.randrange(max(0, size - 40), size), *ids[:3]]) for _ in ids]
        decoded.append({"ids": ids, "decoded": both(ids)})
    cut = []
    for text in joints():
        out = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        units = [0]
        for character in text:  # offsets count characters; JavaScript counts UTF-16 units
            units.append(units[-1] + len(character.encode("utf-16-le")) // 2)
        cut.append({"text": text, "ids": out["input_ids"], "offsets": [[units[a], units[b]] for a, b in out["offset_mapping"]]})
    return {"encoded": encoded, "decoded": decoded, "cut": cut, "eos": tokenizer.eos_token_id, "bos": tokenizer.bos_token_id}


def fixture(folder, out):
    """A tokenizer and some of its cases in one small file, for the tests of this package."""
    whole = json.loads((folder / "expected.json").read_text(encoding="utf-8"))
    document, config = (json.loads((folder / f"{name}.json").read_text(encoding="utf-8")) for name in ("tokenizer", "tokenizer_config"))
    small = {"tokenizer": document, "config": config, "encoded": whole["encoded"][:46], "decoded": whole["decoded"][:30]}
    write(out / f"{folder.name}.json", small)


def main(out, fixtures=None):
    names = []
    for name, tokenizer, config in tokenizers():
        folder = out / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "tokenizer.json").write_text(tokenizer.to_str(), encoding="utf-8")
        given = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", **config}
        write(folder / "tokenizer_config.json", given)
        write(folder / "config.json", {"model_type": "llama"})
        write(folder / "expected.json", expected(folder))
        if fixtures and name in IN_TESTS:
            fixture(folder, fixtures)
        names.append(name)
    print(f"{len(names)} tokenizers in {out}")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:3]))
