"""Local bulletins and their headlines: pairs of a text and a summary, made without a network.

A bulletin has a sentence for each of three subjects, in any order. Its headline names what
happened in other words, and always in the order of EVENTS. So a model has to understand the
sentences: the first sentence of a bulletin is a poor summary.
"""

import random

SPLIT_SIZES = {"train": 1600, "validation": 120, "test": 120}
SUBJECTS = 3  # of a bulletin
SEED = 31
# Subject -> what the headline says -> how a bulletin says it. A name in braces is drawn anew.
EVENTS = {
    "weather": {
        "rain": ("it poured in {town} all {day} long", "umbrellas were up in {town} on {day}"),
        "snow": ("{town} woke up white on {day}", "ploughs cleared {town} until {day} noon"),
        "heat": ("people of {town} sought the shade on {day}", "{number} degrees burned {town}"),
    },
    "markets": {
        "shares rise": ("the index gained {number} points", "investors earned {number} percent"),
        "shares fall": ("the index lost {number} points", "investors missed {number} percent"),
        "shares steady": ("the index did not move on {day}", "brokers had a quiet {day}"),
    },
    "sport": {
        "home win": ("{town} beat {town} in front of their fans", "fans in {town} sang all {day}"),
        "home defeat": (
            "{town} lost to {town} on {day}",
            "{town} let in {number} goals",
        ),
        "draw": ("neither {town} nor {town} scored", "{town} and {town} shared the points"),
    },
    "traffic": {
        "road closed": ("a lorry blocked the bridge to {town}", "police sent cars around {town}"),
        "trains late": ("passengers to {town} waited {number} minutes", "signals failed at {town}"),
        "new line": ("buses go to {town} from {day} on", "{town} has a tram since {day}"),
    },
}
DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
TOWN = (
    ["Alder", "Ash", "Birk", "Castle", "Dun", "East", "Elm", "Glen", "Harbor", "Kings", "Lake"],
    ["burg", "shire", "ville", "mouth", "ham", "ton", "field"],
)


def build_sample_bulletins() -> dict[str, list[dict]]:
    """Return the splits train, validation and test: rows with `text` and `summary`.

    No text is there twice.
    """
    rng = random.Random(SEED)
    seen: set[str] = set()
    corpus: dict[str, list[dict]] = {}
    for split, size in SPLIT_SIZES.items():
        rows = corpus[split] = []
        while len(rows) < size:
            row = _write_bulletin(rng)
            if row["text"] not in seen:
                seen.add(row["text"])
                rows.append(row)
    return corpus


def _write_bulletin(rng: random.Random) -> dict[str, str]:
    """A row with `text` and `summary`."""
    drawn = rng.sample(list(EVENTS), SUBJECTS)
    chosen = {subject: rng.choice(list(EVENTS[subject])) for subject in drawn}
    sentences = [
        _fill(rng.choice(EVENTS[subject][headline]), rng) for subject, headline in chosen.items()
    ]
    summary = " , ".join(chosen[subject] for subject in EVENTS if subject in chosen)
    return {"text": " ".join(sentences), "summary": summary}


def _fill(pattern: str, rng: random.Random) -> str:
    """A sentence with a drawn town, day or number for every name in braces."""
    words = []
    for word in pattern.split():
        if word == "{town}":
            word = "".join(map(rng.choice, TOWN))
        elif word == "{day}":
            word = rng.choice(DAYS)
        elif word == "{number}":
            word = str(rng.randrange(2, 40))
        words.append(word)
    return " ".join([words[0][0].upper() + words[0][1:], *words[1:], "."])
