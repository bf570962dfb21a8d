"""Scores of e2e-metrics and of its pycocoevalcap for the tests of scoreTexts: writes test/parity/fixtures/text_metrics.json.

BLEU and NIST are computed from the texts (with e2e-metrics' own tokenization, whose tokens are stored as well), ROUGE-L and CIDEr
from the texts in lower case, split at spaces: the tokenizer of pycocoevalcap is a Java program.

    git clone https://github.com/tuetschek/e2e-metrics
    python text_metrics.py --e2e-metrics e2e-metrics --out ../../test/parity/fixtures/text_metrics.json

Made with commit 1b9c4d8 of e2e-metrics and numpy 2.
"""

import argparse
import json
import random
import sys
import types

WORDS = (
    "the a an pub restaurant café near by river riverside cheap high price range customer rating 5 out of 5 3-star £20-25 family-friendly "
    "isn't serves Italian Chinese French food , . ! The Mill Blue Spice is It with and in city centre 1,000.50"
).split()


def sentence(chance, length):
    return " ".join(chance.choice(WORDS) for _ in range(length))


def random_case(seed, rows, lengths, references):
    """Texts of a few words, so that many n-grams match; some references are copied from the prediction with a word changed."""
    chance = random.Random(seed)
    predictions, all_references = [], []
    for _ in range(rows):
        prediction = sentence(chance, chance.randint(*lengths))
        texts = []
        for _ in range(chance.randint(*references)):
            words = prediction.split(" ")
            if chance.random() < 0.6:
                words[chance.randrange(len(words))] = chance.choice(WORDS)
                texts.append(" ".join(words))
            else:
                texts.append(sentence(chance, chance.randint(*lengths)))
        predictions.append(prediction)
        all_references.append(texts)
    return predictions, all_references


def cases():
    mill = "The Mill is a cheap, family-friendly pub by the river."
    plain = ["The Mill is a cheap riverside pub.", "By the river there is a cheap pub: The Mill!", "The Mill (a pub) is cheap."]
    yield "one row", [mill], [plain]
    yield "one reference", [mill, "Blue Spice serves French food."], [[plain[0]], ["Blue Spice is a French restaurant."]]
    yield "equal texts", [mill, plain[1]], [[mill], [plain[1]]]
    yield "nothing in common", ["uno dos tres quattro cinco seis"] * 2, [plain, ["one two three four five six seven"]]
    yield "duplicate references", [mill, plain[0]], [plain + plain, [mill, mill]]
    yield "repeated words", ["the the the the the the the", "a a a b"], [["the cat is on the mat", "there is a cat on the mat"], ["a b a b"]]
    yield "closest references", ["one two three four five six", "a b c d e"], [["one two", "one two three four five six seven eight", "one two three four five six seven eight nine ten"], ["a b c", "a b c d e f g"]]
    yield "empty predictions", [mill, "", "  ", "Blue Spice."], [plain, plain, ["Nothing."], ["Blue Spice is a pub.", ""]]
    yield "all empty", ["", ""], [[mill], [""]]
    yield "one word", ["Pub", "river", "cheap"], [["pub", "A pub"], ["sea"], ["cheap"]]
    yield "no n-gram of five", ["a b c d", "a b c d"], [["a b c d e"], ["a b c d"]]
    yield "sum of lengths is zero", ["a b c d e f g", "a"], [["a b c d e f"], ["b"]]
    yield "shorter than the n-grams", ["the cat sat on", "yes", "no", "yes"], [["the cat sat on"], ["yes"], ["no"], ["yes"]]
    yield "positive sums below the matches", ["a b c d e f g h i", "yes", "no"], [["a b c d e f g h i"], ["yes"], ["no"]]
    yield "negative sums without matches", ["a b c d", "yes", "no", "yes"], [["d c b a"], ["no"], ["yes"], ["yes"]]
    yield "negative terms of NIST", ["a b a c", "x", "y", "z"], [[f"a b a {last}" for last in "cdefghij"], ["k"], ["k"], ["k"]]
    yield "punctuation", [
        "It costs $1,000.50, i.e. 3.5 % more - not 5-10! (see [1], {2}, <b>)",
        "Well... \"quoted\" 'single' `tick` a/b a\\b x_y ~z^2 @home #1 *s* 1+1=2; q&a: yes?",
        "&quot;AT&amp;T&quot; &lt;skipped&gt; <skipped>end-\nof line\nnext\ttab",
        "1.5 .5 5. 1,2 ,3 4, a.b a,b 9-3 a-3 --- 10:30 p.m. U.S. don't",
    ], [
        ["It costs $1,000.50, that is 3.5% more, not 5-10.", "It costs $ 1,000.50 , i.e. 3.5 % more - not 5 - 10 ! ( see [ 1 ]"],
        ["Well... \"quoted\" 'single' `tick` a / b a \\ b x_y ~ z ^ 2 @ home # 1", "well ... \" quoted \" 'single'"],
        ["\"AT&T\" endof line next tab", "\" at & t \" < skipped > end-of line"],
        ["1.5 . 5 5 . 1,2 , 3 4 , a . b a , b 9 - 3 a-3", "1.5 .5 5. 1,2 ,3 4, a.b a,b 9-3"],
    ]
    yield "scripts", [
        "Привет, МИР! Это ПРОВЕРКА.",
        "ΟΔΟΣ ΑΘΗΝΑΣ, 5 ευρώ.",
        "東京は 大きい。 東京 です",
        "مرحبا بالعالم، كيف الحال؟ مرحبا",
        "İstanbul'da güzel CAFÉ Ñandú straße 😀👍 ok",
        "नमस्ते दुनिया, यह १२३.४ है 5.6।",
        "e\u0301te\u0301 \u00a0nbsp\u2003em\u3000wide\u0085nel\x1cfs\ufeffbom zero\u200bwidth",
    ], [
        ["привет, мир! это проверка", "Привет мир, проверка."],
        ["οδος αθηνας, 5 ευρώ", "Οδός Αθηνάς: 5."],
        ["東京は 大きい 都市。", "東京 です"],
        ["مرحبا بالعالم", "كيف الحال؟ مرحبا بالعالم،"],
        ["istanbul'da güzel café ñandú STRASSE 😀 ok", "İSTANBUL'DA güzel 😀👍 ok"],
        ["नमस्ते दुनिया, यह 5.6 है।", "नमस्ते"],
        ["été nbsp em wide nel fs bom zero width", "e\u0301te\u0301 nbsp em wide nel fs \ufeffbom zero\u200bwidth"],
    ]
    long = random_case(5, 2, (600, 900), (1, 3))
    yield "long texts", *long
    for seed, shape in enumerate([(40, (1, 30), (1, 8)), (25, (8, 14), (1, 1)), (60, (1, 6), (2, 4)), (12, (20, 60), (5, 12))]):
        yield f"random {seed}", *random_case(100 + seed, *shape)


def import_scorers(folder):
    sys.path.insert(0, folder)
    try:
        import past.utils  # noqa: F401
    except ImportError:  # e2e-metrics supports Python 2; of the package `future` it uses this function only
        utils = types.ModuleType("past.utils")
        utils.old_div = lambda a, b: a // b if isinstance(a, int) and isinstance(b, int) else a / b
        sys.modules["past"] = types.ModuleType("past")
        sys.modules["past.utils"] = utils
    from metrics.pymteval import BLEUScore, NISTScore
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge

    return BLEUScore, NISTScore, Rouge, Cider


def score(scorer, rows):
    """None where e2e-metrics divides by zero."""
    for prediction, references in rows:
        scorer.append(prediction, references)
    try:
        return float(scorer.score())
    except ZeroDivisionError:
        return None


def score_bounded(scorer, lengths):
    """The score as scoreTexts has it: n-grams are counted where the sum of `length - (n - 1)` is not positive, and for BLEU also
    where the score is above 1.

    @param lengths: of the tokens of the predictions
    """
    sums = [sum(length - n for length in lengths) for n in range(scorer.max_ngram)]
    counts = [sum(max(0, length - n) for length in lengths) for n in range(scorer.max_ngram)]
    totals = [summed if summed > 0 else counted for summed, counted in zip(sums, counts)]
    if isinstance(scorer.cand_lens[0], list):  # NIST, which has no matches where nothing is counted
        scorer.cand_lens = [[total or 1] for total in totals]
        return float(scorer.score())
    scorer.cand_lens = totals
    score = float(scorer.score())
    if score > 1:
        scorer.cand_lens = counts
        score = float(scorer.score())
    return score


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--e2e-metrics", required=True, help="a checkout of e2e-metrics")
    parser.add_argument("--out", required=True)
    given = parser.parse_args()
    BLEUScore, NISTScore, Rouge, Cider = import_scorers(given.e2e_metrics)
    made = []
    for name, predictions, references in cases():
        rows = list(zip(predictions, references))
        bleu, nist = BLEUScore(), NISTScore()
        split = lambda text: " ".join(text.lower().split())
        results = {str(at): [split(text)] for at, text in enumerate(predictions)}
        truths = {str(at): [split(text) for text in texts] for at, texts in enumerate(references)}
        tokens = [[token.lower() for token in bleu.tokenize(text)] for text in predictions]
        lengths = [len(text) for text in tokens]
        made.append({
            "name": name,
            "predictions": predictions,
            "references": references,
            "mtevalTokens": tokens,
            "splitPredictions": [results[str(at)][0] for at in range(len(rows))],
            "splitReferences": [truths[str(at)] for at in range(len(rows))],
            "bleu": score(bleu, rows),
            "nist": score(nist, rows),
            "boundedBleu": score_bounded(bleu, lengths),
            "boundedNist": score_bounded(nist, lengths),
            "rougeL": float(Rouge().compute_score(truths, results)[0]),
            "cider": float(Cider().compute_score(truths, results)[0]),
        })
    with open(given.out, "w", encoding="utf-8") as file:
        json.dump(made, file, ensure_ascii=True, indent=0)
        file.write("\n")


if __name__ == "__main__":
    main()
