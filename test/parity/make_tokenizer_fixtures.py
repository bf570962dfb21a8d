"""Makes test/parity/fixtures/tokenizer with transformers and tokenizers: two small tokenizers, token ids of texts, texts of
token ids, and for five chat templates the text, the token ids and the mask of what the assistant says.

    python test/parity/make_tokenizer_fixtures.py        (transformers 5.18, tokenizers 0.22 or later, jinja2)
"""

import json
import random
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer

ROOT = Path(__file__).parent / "fixtures" / "tokenizer"
SENTENCES = """The quick brown fox jumps over the lazy dog, and the dog does not mind at all.
Once upon a time there was a small house by the sea. In the house lived an old woman and her cat.
She said: "What a fine morning!" and went to the market to buy bread, milk and 12 eggs for 3.50.
It's true that we'll never know what they've seen, but I'm sure he'd tell us if he could.
The user asks a question and the assistant gives an answer. You are a helpful assistant.
Numbers such as 1, 22, 333 and 2024 are written with digits; def add(a, b): return a + b
Über den Wolken muß die Freiheit wohl grenzenlos sein. L'été dernier, où étiez-vous?
Не плачь, потому что это закончилось. Улыбнись, потому что это было.
What is the capital of France? The capital of France is Paris. What is two plus two? Two plus two is four.
hello hello hello world world system user assistant answer question please thank you
""".splitlines()


def byte_level() -> None:
    """Like LLaMA 3: a regular expression, bytes, BOS by the post-processor, no unknown token."""
    tokenizer = Tokenizer(models.BPE(ignore_merges=True))
    split = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(split), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=600, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    special = ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
    special += ["<|im_start|>", "<|im_end|>", "<|user|>", "<|assistant|>", "<|system|>", "</s>"]
    tokenizer.add_special_tokens(special)
    bos = tokenizer.token_to_id("<|begin_of_text|>")
    tokenizer.post_processor = processors.Sequence(
        [
            processors.ByteLevel(trim_offsets=False),
            processors.TemplateProcessing(
                single="<|begin_of_text|> $A",
                pair="<|begin_of_text|> $A <|begin_of_text|>:1 $B:1",
                special_tokens=[("<|begin_of_text|>", bos)],
            ),
        ]
    )
    config = {
        "bos_token": "<|begin_of_text|>",
        "eos_token": "<|end_of_text|>",
        "clean_up_tokenization_spaces": True,
        "tokenizer_class": "PreTrainedTokenizerFast",
    }
    eot = tokenizer.token_to_id("<|eot_id|>")
    generation = {"bos_token_id": bos, "eos_token_id": [tokenizer.token_to_id("<|end_of_text|>"), eot]}
    save("byte_level", json.loads(tokenizer.to_str()), config, generation)


def llama() -> None:
    """Like LLaMA 1 and 2: SentencePiece's alphabet with byte fallback, the old normalizer in the file, class LlamaTokenizer."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=True)
    special = ["<unk>", "<s>", "</s>"] + [f"<0x{byte:02X}>" for byte in range(256)]
    tokenizer.train_from_iterator(
        SENTENCES, trainers.BpeTrainer(vocab_size=700, special_tokens=special, show_progress=False)
    )
    document = json.loads(tokenizer.to_str())
    document["added_tokens"] = [token for token in document["added_tokens"] if token["id"] < 3]
    document["pre_tokenizer"] = None
    document["normalizer"] = {
        "type": "Sequence",
        "normalizers": [
            {"type": "Prepend", "prepend": "▁"},
            {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
        ],
    }
    document["decoder"] = {
        "type": "Sequence",
        "decoders": [
            {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
            {"type": "ByteFallback"},
            {"type": "Fuse"},
            {"type": "Strip", "content": " ", "start": 1, "stop": 0},
        ],
    }
    document["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}},
    }
    config = {
        "add_bos_token": True,
        "add_eos_token": False,
        "bos_token": {"__type": "AddedToken", "content": "<s>", "lstrip": False, "normalized": False, "rstrip": False, "single_word": False},
        "eos_token": {"__type": "AddedToken", "content": "</s>", "lstrip": False, "normalized": False, "rstrip": False, "single_word": False},
        "unk_token": {"__type": "AddedToken", "content": "<unk>", "lstrip": False, "normalized": False, "rstrip": False, "single_word": False},
        "legacy": False,
        "tokenizer_class": "LlamaTokenizer",
    }
    save("llama", document, config, {"bos_token_id": 1, "eos_token_id": 2})


def save(name: str, tokenizer: dict, config: dict, generation: dict) -> None:
    folder = ROOT / name
    folder.mkdir(parents=True, exist_ok=True)
    write(folder / "tokenizer.json", tokenizer, indent=None)
    write(folder / "tokenizer_config.json", config)
    write(folder / "generation_config.json", generation)
    write(folder / "config.json", {"model_type": "llama"})


def write(path: Path, value, indent=1) -> None:
    separators = (",", ":") if indent is None else None
    path.write_text(json.dumps(value, ensure_ascii=False, indent=indent, separators=separators) + "\n", encoding="utf-8")


def texts() -> list[str]:
    fixed = [
        "", " ", "a", " a", "a ", "  two  spaces  ", "\n", "\n\n\n", "line\r\nline\ttab", "Once upon a time",
        "It's 12,345.67 o'clock; I'm WE'LL", "naïve café — “quoted” …", "Не плачь, потому", "日本語のテキスト", "한국어",
        "e\u0301 versus é", "😀😀 👩‍👩‍👧‍👦 🇩🇪", "\ufeffBOM", "▁▁under▁score", "nul\u0000byte", "x" * 300, "ab " * 120,
        "<s>twice", "mid<|eot_id|>dle", "a</s>b </s> c", "<unk>", "<0x41> literal", "[INST] hi [/INST]", "<|begin_of_text|>x",
        " \u00a0\u2003 blanks", "\u0378 unassigned", "²½Ⅷ٣ digits", "CamelCaseAndsnake_case(x)[0] == 1;",
    ]  # fmt: skip
    random.seed(11)
    alphabet = "aabcdeeinorst  \n.,'\"!?0123459éßжы東😀\u200d▁<>|/s"
    fixed += ["".join(random.choice(alphabet) for _ in range(random.randint(1, 60))) for _ in range(60)]
    words = " ".join(SENTENCES).split(" ")
    fixed += [" ".join(random.choice(words) for _ in range(random.randint(1, 40))) for _ in range(20)]
    return fixed


def cases(name: str) -> dict:
    tokenizer = AutoTokenizer.from_pretrained(ROOT / name)
    encoded = []
    for text in texts():
        ids = tokenizer(text)["input_ids"]
        encoded.append(
            {
                "text": text,
                "ids": ids,
                "bare": tokenizer(text, add_special_tokens=False)["input_ids"],
                "decoded": tokenizer.decode(ids),
                "decodedWithoutSpecial": tokenizer.decode(ids, skip_special_tokens=True),
            }
        )
    random.seed(5)
    decoded = []
    for _ in range(60):
        ids = [random.randrange(len(tokenizer)) for _ in range(random.randint(1, 24))]
        if random.random() < 0.5:  # bytes next to each other, mostly not UTF-8
            ids = [random.choice([random.randrange(3, 259), *ids[:3]]) for _ in ids]
        decoded.append({"ids": ids, "text": tokenizer.decode(ids), "textWithoutSpecial": tokenizer.decode(ids, skip_special_tokens=True)})
    for text in ["é€😀", "😀😀日本", "日本 x 語"]:
        ids = tokenizer(text)["input_ids"]
        for cut in range(1, len(ids)):
            for part in (ids[:cut], ids[cut:]):
                decoded.append({"ids": part, "text": tokenizer.decode(part), "textWithoutSpecial": tokenizer.decode(part, skip_special_tokens=True)})
    return {"size": len(tokenizer), "bos": tokenizer.bos_token_id, "eos": tokenizer.eos_token_id, "encoded": encoded, "decoded": decoded}


TEMPLATES = {
    # name: (tokenizer, template); those with generation tags give the mask by themselves
    "chatml": (
        "byte_level",
        """{% for message in messages %}
    {%- if message['role'] == 'assistant' -%}
<|im_start|>assistant
{% generation %}{{ message['content'] }}<|im_end|>{% endgeneration %}

    {%- else -%}
{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' }}
    {%- endif %}
{{ '\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
{{- '<|im_start|>assistant\\n' }}
{%- endif %}
""",
    ),
    "llama-2": (
        "llama",
        "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% set system_message = messages[0]['content'] %}"
        "{% else %}{% set loop_messages = messages %}{% set system_message = false %}{% endif %}"
        "{% for message in loop_messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
        "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
        "{% if loop.index0 == 0 and system_message != false %}{% set content = '<<SYS>>\\n' + system_message + '\\n<</SYS>>\\n\\n' + message['content'] %}"
        "{% else %}{% set content = message['content'] %}{% endif %}"
        "{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}"
        "{% elif message['role'] == 'assistant' %}{{ ' ' + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}",
    ),
    "llama-3": (
        "byte_level",
        """{{- bos_token }}
{%- for message in messages %}
    {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' }}
    {%- if message['role'] == 'assistant' %}
        {%- generation %}
            {{- message['content'] | trim + '<|eot_id|>' }}
        {%- endgeneration %}
    {%- else %}
        {{- message['content'] | trim + '<|eot_id|>' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
""",
    ),
    "zephyr": (
        "byte_level",
        """{% for message in messages %}
{% if message['role'] == 'user' %}
{{ '<|user|>
' + message['content'] + eos_token }}
{% elif message['role'] == 'system' %}
{{ '<|system|>
' + message['content'] + eos_token }}
{% elif message['role'] == 'assistant' %}
{{ '<|assistant|>
'  + message['content'] + eos_token }}
{% endif %}
{% if loop.last and add_generation_prompt %}
{{ '<|assistant|>' }}
{% endif %}
{% endfor %}""",
    ),
    "mistral": (
        "llama",
        """{%- if messages[0]["role"] == "system" %}
    {%- set system_message = messages[0]["content"] %}
    {%- set loop_messages = messages[1:] %}
{%- else %}
    {%- set loop_messages = messages %}
{%- endif %}
{%- set ns = namespace(index=0) %}
{{- bos_token }}
{%- for message in loop_messages %}
    {%- if message["role"] == "user" %}
        {%- if loop.first and system_message is defined %}
            {{- " [INST] " + system_message + "\\n\\n" + message["content"] + " [/INST]" }}
        {%- else %}
            {{- " [INST] " + message["content"] + " [/INST]" }}
        {%- endif %}
    {%- elif message["role"] == "assistant" %}
        {{- " " + message["content"] + eos_token }}
        {%- set ns.index = ns.index + 1 %}
    {%- else %}
        {{- raise_exception("Only user, system and assistant roles are supported!") }}
    {%- endif %}
{%- endfor %}
""",
    ),
}


def turns(*contents: str, system: str | None = None) -> list[dict]:
    messages = [{"role": "system", "content": system}] if system is not None else []
    return messages + [{"role": ("user", "assistant")[at % 2], "content": text} for at, text in enumerate(contents)]


CHATS = [
    turns("hello", "hello world"),
    turns("What is two plus two?", "Two plus two is four.", system="You are a helpful assistant."),
    turns("What is the capital of France?", "Paris.", "thank you", "It's  fine!\n\nhello", "and now?", "日本 😀"),
    turns("[INST] odd [/INST] </s>", "a<|im_end|>b </s> c"),
    turns(" spaces ", " padded\n"),
    turns("only a question", system="Be brief."),
    turns("x", ""),
    turns("é" * 40, "ß" * 40),
]


def spans_by_prefixes(tokenizer, messages) -> list[tuple[int, int]]:
    """[start, end) of what the assistant says: from the prompt that ends before it to the text that ends with it."""
    render = lambda some, prompt: tokenizer.apply_chat_template(some, tokenize=False, add_generation_prompt=prompt)
    spans = []
    for at, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        prompt, text = render(messages[:at], True), render(messages[: at + 1], False)
        assert text.startswith(prompt), (prompt, text)
        spans.append((len(prompt), len(text)))
    return spans


def chats() -> list[dict]:
    result = []
    for name, (tokenizer_name, template) in TEMPLATES.items():
        (ROOT / f"{name}.jinja").write_text(template, encoding="utf-8")
        tokenizer = AutoTokenizer.from_pretrained(ROOT / tokenizer_name)
        tokenizer.chat_template = template
        for messages in CHATS:
            text = tokenizer.apply_chat_template(messages, tokenize=False)
            if "generation %}" in template:
                out = tokenizer.apply_chat_template(messages, return_dict=True, return_assistant_tokens_mask=True)
                ids, mask = out["input_ids"], out["assistant_masks"]
            else:
                out = tokenizer(text, add_special_tokens=False)
                ids, mask = out["input_ids"], [0] * len(out["input_ids"])
                for start, end in spans_by_prefixes(tokenizer, messages):
                    for at in range(out.char_to_token(start), out.char_to_token(end - 1) + 1):
                        mask[at] = 1
            assert ids == tokenizer.apply_chat_template(messages, return_dict=True)["input_ids"]
            prompt = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
            result.append({"template": name, "tokenizer": tokenizer_name, "messages": messages, "text": text, "prompt": prompt, "ids": ids, "mask": mask})
    return result


if __name__ == "__main__":
    byte_level()
    llama()
    for name in ("byte_level", "llama"):
        write(ROOT / f"{name}.json", cases(name), indent=None)
    write(ROOT / "chats.json", chats(), indent=None)
