"""Input and output of predict.py: opened, read piece by piece, written whole or not at all."""

import os
import sys
from codecs import BOM_UTF8
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from io import BufferedReader
from itertools import accumulate, chain, islice
from pathlib import Path
from typing import Any, Protocol, TextIO

from tqdm import tqdm

from tagloop.data.documents.choosing import Ranking, without_low_scores
from tagloop.data.documents.neighbours import Context, Unit, unit_of
from tagloop.data.documents.reading import (
    ContentReader,
    Document,
    NamedValues,
    Tagged,
    read_documents,
)
from tagloop.data.documents.writing import Writer, check_formats
from tagloop.data.encodings import read_head
from tagloop.data.formats import MORE_COLUMNS, detect_format, format_by_name
from tagloop.data.row import TagKind
from tagloop.errors import InputError, RunStopped
from tagloop.files import is_no_page, whole_file
from tagloop.streams import write_line

UNIT_DOCUMENTS, UNIT_CHARACTERS = 1000, 1_000_000  # what a process tags at once


def _format_of(path: Path) -> str:
    """The format of a file by its ending; after .testb and such, columns by the first lines.

    Raises:
        InputError: the format is not known.
    """
    try:
        return format_by_name(str(path), is_output=False)
    except InputError:
        if path.suffix.lower() not in MORE_COLUMNS or not path.is_file():
            raise
        return detect_format(path, tagged=False).name


def _refuse_columns(path: Path) -> None:
    """Raise InputError if a file called .tsv has a word a line, and blank lines between them."""
    if detect_format(path, tagged=False).holds == "columns":
        raise InputError(
            f"{path}: one word a line, with blank lines between sentences, and no table; give "
            "--input_format conll, and for the output a name that ends with .conll"
        )


class DocumentWriter(Protocol):
    """Writes documents with their predictions, one after the other."""

    def write(
        self,
        document: Document,
        predicted: Tagged | NamedValues,
        *,
        kind: TagKind | None,
        with_scores: bool,
    ) -> None:
        """Write a document; arguments as in DocumentFiles.write."""
        ...

    def close(self) -> None:
        """Write what comes after the last document."""
        ...


class DocumentFiles:
    """Input and output of predict.py. One process alone opens, reads and writes.

    Args:
        stack: closes the files. An output file appears when it is closed without an error.
        progress: show a bar, if the standard error stream is a terminal.
        content_of: reads the part of a row that the model gets; None: words or a text to tag.
        formats: the formats that the task reads and writes; None: all.
        min_score: the lowest score of what is written; None: everything is.
        ranking: puts the documents into another order, at the end; None: the order of the input.

    Attributes:
        writers: what writes each document; `open_output` and the caller add one each.
    """

    def __init__(
        self,
        stack: ExitStack,
        *,
        progress: bool,
        content_of: ContentReader | None = None,
        formats: Sequence[str] | None = None,
        min_score: float | None = None,
        ranking: Ranking | None = None,
    ):
        self.stack, self.progress = stack, progress
        self.content_of, self.formats = content_of, formats
        self.min_score, self.ranking = min_score, ranking
        self.units: list[list[Document]] = []
        self.given: list[Unit] = []  # the units with their neighbours, as `read` gave them last
        self.before: list[Document] = []  # what stands before the next unit, as far as it is seen
        self.ahead: deque[Document] = deque()  # what was read behind the last unit
        self.writers: list[DocumentWriter] = []
        self.output: TextIO | None = None
        self.shape: dict[str, Any] = {}  # the arguments of a writer, as `write` got them last

    def open_input(self, source: list[str] | str, kind: str | None, column: str | None) -> None:
        """Open texts, a file, or standard input ("-").

        Args:
            kind: the format; None: by the file's name.
            column: see read_documents.

        Raises:
            InputError: it cannot be read, or has an unknown format.
        """
        size = self.name = None
        if isinstance(source, list):
            self.source = "txt"
            texts = [
                text.encode(errors="surrogateescape").decode(errors="replace") for text in source
            ]
            self.documents = (Document("txt", text, {"text": text}) for text in texts)
        elif source == "-":
            self.source = kind or "txt"
            self._require_format("--input_format", self.source)
            if sys.stdin is None:
                raise InputError("standard input is closed; give --text TEXT or --file FILE")
            if sys.stdin.isatty():
                write_line("reading what you type, until Ctrl-D; --file reads a file", "stderr")
            self.documents = read_documents(
                sys.stdin.buffer, "standard input", self.source, column, self.content_of
            )
        else:
            self.source, self.name = kind or _format_of(Path(source)), source
            self._require_format(f"--file {source}", self.source)
            self.file: BufferedReader = self._opened("--file", Path(source).open, "rb")
            if Path(source).is_file():
                read_head(Path(source))
                if kind is None and self.source == "tsv":
                    _refuse_columns(Path(source))
            size = os.fstat(self.file.fileno()).st_size
            self.documents = read_documents(self.file, source, self.source, column, self.content_of)
        self.bar = self.stack.enter_context(
            tqdm(
                total=size,
                unit="B",
                unit_scale=True,
                leave=False,
                disable=None if self.progress and size else True,
            )
        )

    def open_output(self, name: str, kind: str | None) -> None:
        """Open a file or standard output ("-"), after the input.

        Raises:
            InputError: it cannot be written, or the input cannot become such a file.
        """
        try:
            self._open_output(name, kind)
        except OSError as error:  # a name that is too long, or links that lead in a circle
            raise InputError(f"--output {name}: {error.strerror}") from None

    def open_page(self, name: str) -> TextIO:
        """Open the file of a page, after the input. The caller gives it to one of the writers.

        Raises:
            InputError: the file cannot be written, or is the input.
        """
        try:
            if name == "-" or self._is_input(Path(name)) or is_no_page(Path(name)):
                raise InputError(f"--html {name}: give the name of a new file, such as page.html")
            return self._opened("--html", whole_file, Path(name))
        except OSError as error:
            raise InputError(f"--html {name}: {error.strerror}") from None

    def _open_output(self, name: str, kind: str | None) -> None:
        default = "jsonl" if self.source == "txt" else self.source
        target = kind or (default if name == "-" else format_by_name(name, is_output=True))
        self._require_format("--output_format" if kind else f"--output {name}", target)
        check_formats(self.source, target, self.formats)
        marks, path, has_bom = None, Path(name), False
        if target == "brat":
            if name == "-":
                raise InputError("--output_format brat: two files, .txt and .ann; give --output")
            base = name.removesuffix(".ann").removesuffix(".txt")
            path = Path(f"{base}.txt")
            is_pair = Path(f"{base}.ann").exists()
            if is_pair and not name.endswith(".ann"):
                raise InputError(
                    f"--output {name}: would replace {base}.ann; give --output {base}.ann to do so,"
                    " or another name"
                )
            if path.exists() and not is_pair and not self._is_input(path):
                raise InputError(
                    f"--output {name}: the text is written beside it, and would replace {path}; "
                    "give another name"
                )
            marks = self._opened("--output", whole_file, Path(f"{base}.ann"))
        if target == "txt" and name != "-" and self._is_input(path):
            raise InputError(
                f"--output {name}: its tags would replace the text, as it is the input; give "
                "another name, or another --output_format"
            )
        if name == "-":
            sys.stdout.reconfigure(encoding="utf-8", newline="")
            self.output: TextIO = sys.stdout
        elif target == "brat" and self._is_input(path):
            if self.source != "txt":
                raise InputError(f"--output {name}: its text would replace {path}, the input")
            if self.ranking:
                raise InputError(
                    f"--output {name}: the text in {path} stays, and would have another order than "
                    "--sort_by gives; name another file"
                )
            has_bom = self.file.peek(3).startswith(BOM_UTF8)  # counts where the text stays
            nothing = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115  (the text is there)
            self.output = self.stack.enter_context(nothing)
        else:
            self.output = self._opened("--output", whole_file, path)
        self.writers.append(Writer(self.output, target, marks, length=int(has_bom)))

    def _require_format(self, option: str, kind: str) -> None:
        if self.formats is not None and kind not in self.formats:
            raise InputError(
                f"{option}: the format {kind} is for tags of words, which this model does not "
                f"predict; it reads and writes {', '.join(self.formats)}"
            )

    def _is_input(self, path: Path) -> bool:
        return self.name is not None and path.exists() and path.samefile(self.name)

    def finish(self) -> None:
        """Write what comes after the last document. The files are there when the stack closes.

        Raises:
            RunStopped: nobody reads the standard output any more.
        """
        with self._naming_a_closed_pipe():
            for document, predicted in self.ranking.ranked() if self.ranking else ():
                self._write_one(document, predicted)
            for writer in self.writers:
                writer.close()
            if self.output:
                self.output.flush()

    def _opened(
        self, option: str, opening: Callable[..., AbstractContextManager], *arguments: Any
    ) -> Any:
        try:
            return self.stack.enter_context(opening(*arguments))
        except OSError as error:
            raise InputError(f"{option} {error.filename}: {error.strerror}") from None

    def read(self, num_units: int, predictor: Any = None) -> list[tuple[list[Any], ...]]:
        """The arguments of the predictor for the next units of documents; empty lists at the end.

        Args:
            predictor: what it sees beside a document is its attribute `context`, a `Context`. Its
                arguments are then contents and documents; without context the contents alone.
        """
        context: Context | None = getattr(predictor, "context", None)
        self.units = [list(self._next_unit()) for _ in range(num_units)]
        if context is None:
            return [([document.content for document in unit],) for unit in self.units]
        most = context.tokens  # An empty sentence counts, too.
        self.ahead.extend(islice(self.documents, max(most - len(self.ahead), 0)))
        parts = [self.before, *self.units, [*self.ahead]]
        lines = list(chain(*parts))
        ends = list(accumulate(map(len, parts)))
        self.given = [
            unit_of(lines[max(start - most, 0) : start], unit, lines[end : end + most], context)
            for unit, start, end in zip(self.units, ends, ends[1:], strict=False)
        ]
        self.before = lines[max(ends[-2] - most, 0) : ends[-2]]
        return [(unit.contents, unit.keys) for unit in self.given]

    def _next_unit(self) -> Iterator[Document]:
        characters = 0
        waiting = (self.ahead.popleft() for _ in range(len(self.ahead)))
        for document in islice(chain(waiting, self.documents), UNIT_DOCUMENTS):
            yield document
            characters += document.size
            if characters > UNIT_CHARACTERS:
                return

    def write(
        self,
        predicted: list[list[Tagged]] | list[list[NamedValues]],
        *,
        kind: TagKind | None,
        with_scores: bool,
    ) -> None:
        """Write the documents that were read last, with their predictions.

        Args:
            predicted: of every content of every unit, as `read` gave them.
            kind: the kind of the tags; None if the predictions are no tags.
            with_scores: rows gain probabilities of words, or of all classes.

        Raises:
            RunStopped: nobody reads the standard output any more.
        """
        self.shape = {"kind": kind, "with_scores": with_scores}
        if self.given:
            pairs = zip(self.given, predicted, strict=True)
            predicted = [results[unit.first : unit.end] for unit, results in pairs]
        with self._naming_a_closed_pipe():
            for unit, results in zip(self.units, predicted, strict=True):
                for document, result in zip(unit, results, strict=True):
                    if self.ranking:
                        self.ranking.add(document, result)
                    else:
                        self._write_one(document, result)
            if self.output:
                self.output.flush()
        if self.bar.total:
            self.bar.update(self.file.tell() - self.bar.n)

    def _write_one(self, document: Document, predicted: Tagged | NamedValues) -> None:
        if self.min_score is not None:
            predicted = without_low_scores(predicted, self.min_score, self.shape["kind"])
        for writer in self.writers:
            writer.write(document, predicted, **self.shape)

    @contextmanager
    def _naming_a_closed_pipe(self) -> Iterator[None]:
        try:
            yield
        except BrokenPipeError:
            sys.stdout = open(os.devnull, "w")  # noqa: SIM115  (Python flushes it once more)
            raise RunStopped("standard output was closed before everything was written") from None
