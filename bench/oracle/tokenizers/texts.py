"""Texts that `make.py` trains with and compares."""

import random

SENTENCES = """The quick brown fox jumps over the lazy dog, and the dog does not mind at all.
Once upon a time there was a small house by the sea. In the house lived an old woman and her cat.
She said: "What a fine morning!" and went to the market to buy bread, milk and 12 eggs for 3.50.
It's true that we'll never know what they've seen, but I'm sure he'd tell us if he could; they're not here.
The user asks a question and the assistant gives an answer. You are a helpful assistant. Don't wait!
Numbers such as 1, 22, 333 and 2024 are written with digits; def add(a, b): return a + b
Über den Wolken muß die Freiheit wohl grenzenlos sein. L'été dernier, où étiez-vous ?
Не плачь, потому что это закончилось. Улыбнись, потому что это было. 日本語 한국어
What is the capital of France? The capital of France is Paris. What is two plus two? Two plus two is four.
hello hello hello world world system user assistant answer question please thank you
A:  yes\n\nB: no\n  indented  text , with . blanks ! and ' quotes ' n't 's""".splitlines()


def sentences():
    return SENTENCES * 2


def texts():
    """Forty texts that are hard in some way, and random ones."""
    fixed = [
        "", " ", "   ", "a", " a", "a ", "  two  spaces  ", "\n", "\n\n\n", " \n ", "line\r\nline\ttab\r\n\r\n", "Once upon a time",
        "It's 12,345.67 o'clock; I'm WE'LL don't they 've", "naïve café — “quoted” …", "Не плачь, потому", "日本語のテキスト", "한국어",
        "e\u0301 versus é n\u0303", "😀😀 👩‍👩‍👧‍👦 🇩🇪", "\ufeffBOM", "▁▁under▁score", "nul\u0000byte", "x" * 300, "ab " * 120, " " * 50,
        "<s>twice", " <s> <s>x", "mid</s>dle", "a</s> b </s> c", "<unk>", "<0x41> literal", "[INST] hi [/INST]", "שלום עולם مرحبا",
        " \u00a0\u2003 blanks\u3000", "\u0378 unassigned", "²½Ⅷ٣ digits 1234567", "CamelCaseAndsnake_case(x)[0] == 1;",
        "Zed0q Zed2qx xZed4q Zed6q  Zed8q Zed10q,Zed12q Zed14q", "<Tok1> <Tok3>  <Tok5> x<Tok7>x <Tok9>\n<Tok11>", "zed16q Zed18q  Zed20q  Zed22q x",
        " Zed24q Zed26qZed28q Zed30q <Tok13> <Tok15>  <tok17> <Tok19>  <Tok21>", "<Tok23> a <Tok25>  b<Tok27> c <Tok29> <Tok31> .",
        "Ａｆｕｌｌ　width ﬁ ligature", "İstanbul ΣΊΣΥΦΟΣ", "a , b . c ! d ? e ' f ' n't 's x 've",
    ]  # fmt: skip
    rng = random.Random(11)
    alphabet = "aabcdeeinorst  \n.,'\"!?0123459éßжы東😀\u200d▁<>|/s"
    fixed += ["".join(rng.choice(alphabet) for _ in range(rng.randint(1, 60))) for _ in range(40)]
    return fixed


def joints():
    """Two hundred texts that are cut at every place."""
    rng = random.Random(3)
    words = " ".join(SENTENCES).replace("\n", " ").split(" ")
    joined = ["x=5", "A:\nyes", "A: yes", "<s>Once upon", "a <s> b", "a</s> b", "1234567", "Q: 12+30=\nA: 42", "a  b   c", "e\u0301te\u0301", "😀 日本 x", "It's I'm"]
    joined += ["Zed0q Zed2q", "a <Tok7> b", "x<Tok31> y", "\n\n a\n \nb", "a\u0000b", "<0x41>b", "▁a▁ b"]
    alphabet = "aabest  \n.,'!12éж東😀▁<s>"
    while len(joined) < 80:
        joined.append("".join(rng.choice(alphabet) for _ in range(rng.randint(2, 20))))
    while len(joined) < 200:
        joined.append(rng.choice([" ", "\n", ": "]).join(rng.choice(words) for _ in range(rng.randint(1, 6))))
    return joined
