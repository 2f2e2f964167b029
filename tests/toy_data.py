"""Small data sets in which words decide the label, written as files; a tiny encoder learns them in seconds."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

GOOD = ["good", "great", "fine", "best", "nice", "wonderful", "happy", "love", "enjoy", "bright"]
BAD = ["bad", "awful", "poor", "worst", "terrible", "boring", "dull", "sad", "hate", "lose"]
NEUTRAL = ["the", "a", "movie", "story", "plot", "actor", "music", "book", "day", "year", "city", "house"]
PLACES = ["london", "paris", "berlin", "rome", "madrid", "tokyo"]
PEOPLE = ["john", "mary", "anna", "peter", "smith"]


def sentence(random_: random.Random, words: list[str], noise: float = 0.15) -> str:
    """Mostly neutral words, and three that say which list the label is."""
    other = GOOD if words is BAD else BAD
    chosen = [random_.choice(other if random_.random() < noise else words) for _ in range(3)]
    text = chosen + [random_.choice(NEUTRAL) for _ in range(random_.randint(2, 6))]
    random_.shuffle(text)
    return " ".join(text)


def classification(path: Path, rows: int = 240, seed: int = 0, *, unlabelled: int = 0, pair: bool = False) -> Path:
    """CSV with columns text (and text_pair), label; the last rows have no label."""
    rng = random.Random(seed)
    lines = ["sentence1,sentence2,label" if pair else "text,label"]
    for row in range(rows + unlabelled):
        positive = rng.random() < 0.5
        text = sentence(rng, GOOD if positive else BAD)
        label = "" if row >= rows else ("positive" if positive else "negative")
        lines.append(f"{text},{sentence(rng, GOOD)},{label}" if pair else f"{text},{label}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def multilabel(path: Path, rows: int = 240, seed: int = 0) -> Path:
    """JSON lines: labels `praise`, `blame`, `place`, any of them."""
    rng = random.Random(seed)
    lines = []
    for _ in range(rows):
        words, labels = [rng.choice(NEUTRAL)], []
        for name, source in (("praise", GOOD), ("blame", BAD), ("place", PLACES)):
            if rng.random() < 0.5:
                labels.append(name)
                words += rng.choices(source, k=2)
        rng.shuffle(words)
        lines.append(json.dumps({"text": " ".join(words), "labels": labels}))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def regression(path: Path, rows: int = 240, seed: int = 0) -> Path:
    """TSV: score = share of good words, 0..5."""
    rng = random.Random(seed)
    lines = ["sentence\tscore"]
    for _ in range(rows):
        good = rng.randint(0, 5)
        words = rng.choices(GOOD, k=good) + rng.choices(BAD, k=5 - good)
        rng.shuffle(words)
        lines.append(f"{' '.join(words)}\t{good + 0.5 * rng.random():.2f}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def tagging(path: Path, rows: int = 200, seed: int = 0) -> Path:
    """CoNLL columns: places are LOC, people PER, of one or two words."""
    rng = random.Random(seed)
    lines = []
    for _ in range(rows):
        for _ in range(rng.randint(1, 3)):
            lines += [f"{word} O" for word in rng.choices(NEUTRAL, k=rng.randint(1, 3))]
            kind, source = rng.choice((("LOC", PLACES), ("PER", PEOPLE)))
            words = rng.choices(source, k=rng.randint(1, 2))
            lines += [f"{words[0]} B-{kind}", *(f"{word} I-{kind}" for word in words[1:])]
        lines.append("")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def questions(path: Path, paragraphs: int = 60, seed: int = 0, *, unanswerable: bool = True) -> Path:
    """SQuAD JSON: where somebody went; some people of the question went nowhere."""
    rng = random.Random(seed)
    articles = []
    for number in range(paragraphs):
        people = rng.sample(PEOPLE, 3)
        places = rng.sample(PLACES, 2)
        parts = (rng.choices(NEUTRAL, k=4), people[0], "went to", places[0], rng.choices(NEUTRAL, k=3))
        parts += (people[1], "went to", places[1], rng.choices(NEUTRAL, k=4))
        context = " ".join(part if isinstance(part, str) else " ".join(part) for part in parts)
        questions_ = []
        for index, person in enumerate(people):
            answers = []
            if index < 2:
                start = context.index(f"{person} went to ") + len(f"{person} went to ")
                answers = [{"text": places[index], "answer_start": start}]
            elif not unanswerable:
                continue
            entry = {"id": f"{number}-{index}", "question": f"where went {person}", "answers": answers}
            questions_.append(entry | ({"is_impossible": not answers} if unanswerable else {}))
        articles.append({"title": str(number), "paragraphs": [{"context": context, "qas": questions_}]})
    path.write_text(json.dumps({"version": "v2.0" if unanswerable else "1.1", "data": articles}), encoding="utf-8")
    return path


# By task: writes its data into a folder, in a file of its usual kind. `pair` is classification of two texts.
TASKS: dict[str, Callable[..., Path]] = {
    "classification": lambda folder, rows=240: classification(folder / "data.csv", rows, unlabelled=rows // 4),
    "pair": lambda folder, rows=240: classification(folder / "data.csv", rows, pair=True),
    "multilabel": lambda folder, rows=240: multilabel(folder / "data.jsonl", rows),
    "regression": lambda folder, rows=240: regression(folder / "data.tsv", rows),
    "tagging": lambda folder, rows=200: tagging(folder / "data.txt", rows),
    "qa": lambda folder, rows=240: questions(folder / "data.json", rows // 4),
}
