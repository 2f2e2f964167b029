"""A vocabulary as a file -> the tokenizer of a new model, which reads text as BERT's does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, processors
from transformers import BertTokenizerFast, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from stillhouse.data.readers.table import decode_utf8, read_bytes, split_lines
from stillhouse.documents import read_json
from stillhouse.errors import UserError, cut, shown
from stillhouse.files import given_path
from stillhouse.models.architecture import reason_of
from stillhouse.models.loading import has_capitals

OPTION = "--vocab"
SPECIAL = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"}
POSITIONS = 512  # of BERT
RULES, TOKENS = "tokenizer.json", "vocab.txt"
FORMS = f"{TOKENS} (one token on each line), {RULES}, or a folder with one of them"
# What a tokenizer_config.json beside a vocab.txt says of how its text is cut.
_CUTS = {"do_lower_case": bool, "tokenize_chinese_chars": bool, "strip_accents": bool | None}


def read_vocabulary(given: str) -> PreTrainedTokenizerBase:
    """The tokenizer of a vocabulary.

    A `vocab.txt` is cut as the `tokenizer_config.json` beside it says; where there is none, text is lower-cased if the tokens
    have hardly any capital letters.

    Args:
        given: Path of a `vocab.txt` (word pieces), of a `tokenizer.json`, or of a folder with one of them.

    Raises:
        UserError: It is none of these, cannot be read, lacks a special token of BERT, or has a token twice.
    """
    path = _found(given)
    tokenizer = _of_rules(path) if path.suffix.casefold() == ".json" else _of_tokens(path)
    backend = tokenizer.backend_tokenizer
    backend.no_truncation()
    backend.no_padding()
    return tokenizer


def _found(given: str) -> Path:
    path = given_path(given, OPTION)
    if not given.strip() or not path.exists():
        raise UserError(f"{OPTION}: there is no file or folder {shown(given)}", expected=FORMS, fix="check the path")
    if path.is_file():
        return path
    for name in (RULES, TOKENS):
        if (path / name).is_file():
            return path / name
    raise UserError(f"{OPTION}: the folder {path} has no vocabulary", expected=FORMS, fix="name the file itself")


def _of_tokens(path: Path) -> Any:
    lines = split_lines(decode_utf8(read_bytes(path), str(path)).rstrip("\r\n"))
    places: dict[str, int] = {}
    for number, token in enumerate(lines, 1):
        if not token or token in places:
            what = f"has {shown(token)} again, after line {places[token] + 1}" if token else "is empty"
            raise UserError(f"{path}, line {number} {what}", expected="a token of its own on each line", fix="take it out")
        places[token] = number - 1
    _check_special(places, path)
    cuts = {"do_lower_case": not has_capitals(lines)} | _cuts_beside(path)
    return BertTokenizerFast(vocab=places, model_max_length=POSITIONS, **cuts)


def _cuts_beside(path: Path) -> dict[str, Any]:
    beside = path.with_name("tokenizer_config.json")
    if not beside.is_file():
        return {}
    content = read_json(read_bytes(beside), str(beside))
    found = content if isinstance(content, dict) else {}
    for name, type_of in _CUTS.items():
        if name in found and not isinstance(found[name], type_of):
            raise UserError(f"{beside} says {name} {shown(found[name])}", expected="true or false")
    return {name: found[name] for name in _CUTS if name in found}


def _of_rules(path: Path) -> Any:
    content = read_bytes(path)
    read_json(content, str(path))
    try:
        backend = Tokenizer.from_str(content.decode())
    except Exception as error:  # the library raises bare Exception
        raise UserError(f"{path} is no tokenizer: {cut(reason_of(error))}", expected=FORMS) from error
    places = backend.get_vocab()
    _check_special(places, path)
    first, last = SPECIAL["cls_token"], SPECIAL["sep_token"]
    backend.post_processor = processors.TemplateProcessing(
        single=f"{first} $A {last}",
        pair=f"{first} $A {last} $B:1 {last}:1",
        special_tokens=[(token, places[token]) for token in (first, last)],
    )
    return PreTrainedTokenizerFast(tokenizer_object=backend, model_max_length=POSITIONS, **SPECIAL)


def _check_special(places: dict[str, int], path: Path) -> None:
    lacking = [token for token in SPECIAL.values() if token not in places]
    if lacking:
        raise UserError(
            f"{path} lacks {', '.join(lacking)}",
            expected=f"a vocabulary of BERT's form: one with {', '.join(SPECIAL.values())}",
            fix="add them, or name another file",
        )
    if len(places) == len(SPECIAL):
        raise UserError(f"{path} has special tokens alone", expected="tokens that text is made of", fix="name another file")
