"""Files that are no UTF-8 text: what they most likely are, and how their user converts them."""

from pathlib import Path

from tagloop.errors import InputError
from tagloop.streams import visible

SNIFFED_BYTES = 1 << 16
SURE = 12  # bytes beyond ASCII that are hardly UTF-8 by chance
TELLING = 8  # bytes beyond ASCII in different lines, from which on an encoding is more than a guess
ENCODINGS = {  # of files that are no UTF-8: Python's names and those of iconv
    "gb18030": "gb18030",
    "big5": "big5",
    "shift_jis": "shift_jis",
    "euc_jp": "euc-jp",
    "euc_kr": "euc-kr",
    "cp1251": "cp1251",
    "koi8_r": "koi8-r",
    "cp1252": "cp1252",
    "cp1250": "cp1250",
    "cp1253": "cp1253",
    "cp1255": "cp1255",
    "cp1256": "cp1256",
    "latin_1": "latin1",
}
FOREIGN = {  # how files begin that are no text, what they are, and what to do with FILE
    b"\x1f\x8b": ("gzip", "unpack it: gunzip -k FILE"),
    b"BZh": ("bzip2", "unpack it: bunzip2 -k FILE"),
    b"\xfd7zXZ\x00": ("xz", "unpack it: unxz -k FILE"),
    b"\x28\xb5\x2f\xfd": ("zstd", "unpack it: unzstd FILE"),
    b"PK\x03\x04": ("a zip archive or an office document", "unzip it, or save the table as CSV"),
    b"%PDF-": ("PDF", "tags need plain text: one word a line, its tag behind it"),
    b"version https://git-lfs": ("a pointer of git LFS, not the data", "fetch it: git lfs pull"),
    b"<!DOCTYPE html": ("a web page", "download the raw file that the page shows"),
    b"\xff\xfe\x00\x00": ("UTF-32", "convert it: iconv -f utf-32 -t utf-8 FILE > NEW"),
    b"\xff\xfe": ("UTF-16", "convert it: iconv -f utf-16 -t utf-8 FILE > NEW"),
    b"\xfe\xff": ("UTF-16", "convert it: iconv -f utf-16 -t utf-8 FILE > NEW"),
}


def read_head(path: Path) -> bytes:
    """The first bytes of a file.

    Raises:
        InputError: they are those of a packed file, of UTF-16, or of something else than text.
    """
    with path.open("rb") as file:
        head = file.read(SNIFFED_BYTES)
    for magic, (kind, remedy) in FOREIGN.items():
        if head.startswith(magic):
            raise InputError(f"{path}: this is {kind}; {remedy.replace('FILE', str(path))}")
    if b"\x1b$B" in head or b"\x1b$@" in head:  # all its bytes are ASCII
        raise InputError(
            f"{path}: this is ISO-2022-JP; convert it: iconv -f iso-2022-jp -t utf-8 {path} > NEW"
        )
    for encoding in ("utf-16-le", "utf-16-be"):  # without a byte order mark
        if b"\0" in head and _is_text(head[: len(head) // 2 * 2], encoding):
            raise InputError(
                f"{path}: this is UTF-16 without a byte order mark; convert it: "
                f"iconv -f {encoding.replace('-', '', 1)} -t utf-8 {path} > NEW"
            )
    return head


def _is_text(raw: bytes, encoding: str) -> bool:
    text = raw.decode(encoding, errors="replace").rstrip("\ufffd")  # the head may end in a pair
    plain = sum(character.isascii() for character in text)
    return 2 * plain > len(text) and all(c.isprintable() or c in "\r\n\t" for c in text)


def not_utf8(path: Path, line: int, offset: int, byte: int) -> InputError:
    """What to say of a byte that is no UTF-8; `offset` counts bytes from the file's beginning."""
    before = around = b""
    if path.is_file():  # a stream can be read only once
        with path.open("rb") as file:
            before = file.read(offset)
            around = before[-SNIFFED_BYTES:] + file.read(SNIFFED_BYTES)
    name = path if path.is_file() else "FILE"
    encoding, is_sure = likely_encoding(around)
    guess = (
        f"it is most likely {encoding}" if is_sure else f"it may be {encoding}, look at the words"
    )
    remedy = f"convert the file; {guess}: iconv -f {encoding} -t utf-8 {name} > NEW"
    start, rest = before.rpartition(b"\n")[2], around[min(len(before), SNIFFED_BYTES) :]
    if around:
        read = (start + rest.partition(b"\n")[0])[:60].decode(encoding, errors="replace")
        remedy += f" (line {line} is then {visible(read.rstrip())!r})"
    if b"\0" in around:
        remedy = "this is no text; name the file of words and tags"
    elif not before.isascii() and not (is_sure and _is_chance(before)):
        line_of = rest.split(b"\n", 1)[0]
        encoding, _ = likely_encoding(line_of)
        remedy = (
            "the lines before are UTF-8, so the file mixes encodings; convert its parts one by "
            f"one (sed -n {line}p {path} | iconv -f {encoding} -t utf-8 shows this line as "
            f"{encoding})"
        )
    return InputError(f"{path}:{line}: not UTF-8: byte 0x{byte:02x} at offset {offset}; {remedy}")


def _is_chance(raw: bytes) -> bool:
    """Whether bytes may be UTF-8 by chance: few of them are not ASCII."""
    return sum(byte >= 0x80 for byte in raw) < SURE


def likely_encoding(raw: bytes) -> tuple[str, bool]:
    """The encoding that bytes most likely have, as iconv calls it, and whether that is sure.

    charset-normalizer decides among the encodings that corpora have.

    >>> likely_encoding("Zürich".encode("latin1"))
    ('latin1', False)
    """
    # This import takes a moment, and a file of UTF-8 never needs it.
    from charset_normalizer import from_bytes

    # A line that is there many times says as much as one.
    lines = [line for line in dict.fromkeys(raw.split(b"\n")) if not line.isascii()]
    whole = b"\n".join(
        lines[1:-1] if len(lines) > 9 else lines
    )  # the first and the last may be cut
    num_foreign = sum(byte >= 0x80 for byte in whole)
    best = from_bytes(whole, cp_isolation=[*ENCODINGS], threshold=0.6).best()
    western = "cp1252" if any(0x80 <= byte < 0xA0 for byte in whole) else "latin1"
    if best is None or num_foreign < 4:
        return western, False
    if best.encoding in ("cp1250", "cp1252", "latin_1"):
        letters = [bytes([byte]) for byte in whole if byte >= 0x80]
        others = sum(a.decode("cp1250", "ignore") != a.decode("cp1252", "ignore") for a in letters)
        is_western = best.encoding != "cp1250" or others < 0.4 * len(letters)
        return (western if is_western else "cp1250"), num_foreign >= TELLING
    return ENCODINGS[best.encoding], num_foreign >= TELLING
