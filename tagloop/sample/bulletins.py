"""Local bulletins and their headlines: pairs of a text and a summary, made without a network.

A bulletin has a sentence for each of three subjects, in any order. Its headline says in other words
what happened and where, and always in the order of EVENTS. So a model has to understand the
sentences: the first sentence of a bulletin is a poor summary.
"""

import random

SPLIT_SIZES = {"train": 1600, "validation": 120, "test": 120}
SUBJECTS = 3  # of a bulletin
SEED = 31
# Subject -> headline -> how a bulletin says it. A name in braces is drawn anew every time, but the
# town of a headline is the first town of its sentence.
EVENTS = {
    "weather": {
        "rain in {town}": ("it poured in {town} all {day} long", "umbrellas were up in {town}"),
        "snow in {town}": ("{town} woke up white on {day}", "ploughs cleared {town} all {day}"),
        "heat in {town}": ("people of {town} sought the shade", "{number} degrees burned {town}"),
    },
    "markets": {
        "shares rise": ("the index gained {number} points", "investors earned {number} percent"),
        "shares fall": ("the index lost {number} points", "investors missed {number} percent"),
        "shares steady": ("the index did not move on {day}", "brokers had a quiet {day}"),
    },
    "sport": {
        "{town} win": ("{town} beat {town} at home", "fans in {town} sang all {day}"),
        "{town} defeated": ("{town} lost to {town} on {day}", "{town} let in {number} goals"),
        "{town} draw": ("neither {town} nor {town} scored", "{town} and {town} shared the points"),
    },
    "traffic": {
        "no road to {town}": ("a lorry blocked the bridge to {town}", "police closed off {town}"),
        "late trains in {town}": (
            "travellers to {town} waited {number} minutes",
            "signals failed at {town}",
        ),
        "new line for {town}": (
            "buses go to {town} from {day} on",
            "{town} has a tram since {day}",
        ),
    },
}
DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
TOWN = (
    ("Alder", "Ash", "Birk", "Castle", "Dun", "East", "Elm", "Glen", "Harbor", "Kings", "Lake"),
    ("burg", "shire", "ville", "mouth", "ham", "ton", "field"),
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
    sentences, headlines = [], {}
    for subject in rng.sample(list(EVENTS), SUBJECTS):
        headline, patterns = rng.choice(list(EVENTS[subject].items()))
        words = [_draw(word, rng) for word in rng.choice(patterns).split()]
        towns = [word for word in words if word.endswith(TOWN[1])]
        headlines[subject] = headline.replace("{town}", next(iter(towns), ""))
        sentences += [words[0][0].upper() + words[0][1:], *words[1:], "."]
    summary = " , ".join(headlines[subject] for subject in EVENTS if subject in headlines)
    return {"text": " ".join(sentences), "summary": summary}


def _draw(word: str, rng: random.Random) -> str:
    """A word of a pattern, or what is drawn for a name in braces."""
    if word == "{town}":
        return "".join(map(rng.choice, TOWN))
    if word == "{day}":
        return rng.choice(DAYS)
    return str(rng.randrange(2, 40)) if word == "{number}" else word
