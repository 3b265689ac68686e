"""For processes whose forks train: functions that remember what they computed do so here, once."""

from pathlib import Path

from tagloop.data.storage.store import source_digest
from tagloop.sample.corpus import build_sample_corpus

build_sample_corpus()
for builder in ("tagloop.data.words.corpus", "tagloop.data.rows"):
    source_digest(builder)
for path in Path(__file__).parent.parent.glob("tagloop/tasks/*/encoding.py"):
    source_digest(f"tagloop.tasks.{path.parent.name}.encoding")
