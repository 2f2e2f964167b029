"""What metrics.json holds of a general phase."""

SENTENCE = {
    "tokens": ["the", "[MASK]", "##ist", "played", "a", "piano", "of", "the", "family"],
    "masked": [
        {
            "position": 1,
            "gold": "pian",
            "answers": {"teacher": [["pian", 0.71], ["violin", 0.2]], "student": [["violin", 0.4], ["pian", 0.31]]},
        },
        {"position": 5, "gold": "piece", "answers": {"teacher": [["piece", 0.9]], "student": [["piece", 0.8]]}},
    ],
}


def entry(name, parameters, **scores):
    return {"name": name, "parameters": parameters, "size_mib": parameters * 4 / 2**20, **scores}


def general_of(*, head=True, teacher=True, assistant=False):
    """Masked accuracy: teacher 0.610, assistant 0.580, student 0.520, before 0.104."""

    def scored(score, perplexity, **likeness):
        shown = {"score": score, "perplexity": perplexity, **likeness}
        return shown if head else dict.fromkeys(shown)

    has = teacher and head
    before = scored(0.104, 310.4, agreement=0.11 if has else None, kl=2.31 if has else None)
    after = scored(0.52, 12.41, agreement=0.71 if has else None, kl=0.431 if has else None)
    return {
        "data": "wiki_en",
        "method": "distilbert" if head else "tinybert",
        "seed": 0,
        "metric": "masked_accuracy" if head else None,
        "corpus": "wiki_en: 1,204 documents; 11,300 blocks of 128 tokens to train on, 114 held out (12 documents)",
        "splits": {"train": 11300, "selection": 57, "held_out": 57, "block_length": 128},
        "teacher": entry("all-MiniLM-L6-v2", 22_713_216, **scored(0.61, 7.12)) if teacher else None,
        **({"assistant": entry("6x312", 17_000_000, **scored(0.58, 8.9, agreement=0.8, kl=0.2))} if assistant else {}),
        "student": entry("3x384", 17_390_208, **after, start="layers 1, 4, 6 of all-MiniLM-L6-v2", before=before),
        "layers": [
            layer(0, 0, (0.02, 0.01), None, None),
            layer(1, 2, (0.4, 0.05), (0.3, 0.1), (2.0, 0.4)),
            layer(2, 4, (0.6, 0.15), (0.5, 0.3), (4.0, 0.8)),
        ]
        if teacher
        else [],
        "examples": [SENTENCE] if head else [],
        "stages": [{"name": "general", "steps": 1059, "seconds": 812.0, "selection": 0.515 if head else None}],
        "notes": ["the teacher's masked-LM head was fitted first"] if head else [],
    }


def layer(own, its, hidden, relations, scores):
    measured = {"hidden": hidden, "relations": relations, "scores": scores}
    sides = ({name: values and values[side] for name, values in measured.items()} for side in (0, 1))
    return {"own": own, "its": its, **dict(zip(("before", "after"), sides, strict=True))}


def pretraining_of(**kind):
    """metrics.json of a run with a corpus alone: a teacher of 5.90 ms, a student of 3.10 ms."""
    general = general_of(**kind)
    latency = {"teacher": {"p50": 5.9, "p95": 6.4}, "student": {"p50": 3.1, "p95": 3.6}}
    models = {
        role: {name: value for name, value in general[role].items() if name != "before"}
        | {"latency_ms": latency[role], "ece": None}
        for role in ("teacher", "student")
        if general[role]
    }
    ours, theirs = (models.get(role, {}).get("score") for role in ("student", "teacher"))
    return {
        "schema": 1,
        "data": "wiki_en",
        "split": "held_out",
        "task": "pretraining",
        "method": general["method"],
        "seed": 0,
        "metric": general["metric"],
        "teacher": None,
        **models,
        "retention": ours / theirs if ours and theirs else None,
        "gap_closed": None,
        "agreement": general["student"]["agreement"],
        "kl": general["student"]["kl"],
        "comparisons": {},
        "cost": {"train_seconds": 812.0, "parts": {"preparing": 9.5, "general": 812.0}},
        "stages": general["stages"],
        "splits": {"train": 11300, "selection": 57, "held_out": 57},
        "labels": [],
        "notes": [general["corpus"], *general["notes"]],
        "latency": {"batch": 1, "tokens": 128, "threads": 2, "precision": "fp32"},
        "environment": {"stillhouse": "0.1.0", "device": "cpu"},
        "general": general,
    }
