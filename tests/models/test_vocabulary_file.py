"""A vocabulary as a file -> a tokenizer: whatever is wrong with the file is one message."""

import json
import re
import shutil

import pytest
from tests.data.test_shared_sets import SHARED
from tests.tiny_models import make_tokenizer

from stillhouse.corpus.tokens import vocabulary_of
from stillhouse.errors import UserError
from stillhouse.models.vocabulary_file import SPECIAL, read_vocabulary

WORDS = [*SPECIAL.values(), "a", "b", "##c", "\u6211", "\u559c", "e", "\u2028"]
CHINESE = SHARED.parent / "models" / "vocab-bert-base-chinese"


def write(path, tokens=WORDS, end="\n", **said):
    path.write_bytes("".join(f"{token}{end}" for token in tokens).encode())
    if said:
        path.with_name("tokenizer_config.json").write_text(json.dumps(said))
    return str(path)


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_word_pieces(tmp_path, end):
    tokenizer = read_vocabulary(write(tmp_path / "words.txt", end=end))
    assert tokenizer.get_vocab() == {token: number for number, token in enumerate(WORDS)}
    assert tokenizer.tokenize("AC \u00e9 \u6211\u559c x") == ["a", "##c", "e", "\u6211", "\u559c", "[UNK]"]
    assert tokenizer("a", "b")["input_ids"] == [2, 5, 3, 6, 3]
    assert tokenizer("a", "b")["token_type_ids"] == [0, 0, 0, 1, 1]
    assert (tokenizer.pad_token_id, tokenizer.mask_token_id, tokenizer.model_max_length) == (0, 4, 512)


def test_capitals_are_told_apart_where_the_tokens_have_some_or_the_file_beside_says_so(tmp_path):
    assert read_vocabulary(write(tmp_path / "vocab.txt", [*WORDS, "A"])).tokenize("A a") == ["A", "a"]
    write(tmp_path / "vocab.txt", do_lower_case=False, tokenize_chinese_chars=False, model_max_length=9)
    for given in (tmp_path, tmp_path / "vocab.txt"):
        tokenizer = read_vocabulary(str(given))
        assert tokenizer.tokenize("A a \u6211\u559c") == ["[UNK]", "a", "[UNK]"]
        assert tokenizer.model_max_length == 512
    write(tmp_path / "vocab.txt", [*WORDS, "A"], do_lower_case=True)
    assert read_vocabulary(str(tmp_path)).tokenize("A") == ["a"]


def test_the_rules_of_another_tokenizer(tmp_path):
    other = make_tokenizer("bert")
    other("a", truncation=True, max_length=3, padding="max_length")
    other.backend_tokenizer.post_processor = None
    other.backend_tokenizer.save(str(tmp_path / "tokenizer.json"))
    write(tmp_path / "vocab.txt")
    for given in (tmp_path, tmp_path / "tokenizer.json"):
        tokenizer = read_vocabulary(str(given))
        assert tokenizer.get_vocab() == other.get_vocab()
        assert tokenizer.tokenize("A film!") == ["a", "film", "!"]
        ids = tokenizer("a film of the", "a")["input_ids"]
        assert tokenizer.convert_ids_to_tokens(ids) == ["[CLS]", "a", "film", "of", "the", "[SEP]", "a", "[SEP]"]
        assert vocabulary_of(tokenizer).mask == other.mask_token_id


@pytest.mark.skipif(not CHINESE.exists(), reason="the vocabularies are not there")
def test_the_chinese_vocabulary(tmp_path):
    tokenizer = read_vocabulary(str(CHINESE))
    assert len(tokenizer) == 21_128  # U+2028 is a token, and no end of a line
    assert tokenizer.tokenize("\u6211\u559c\u6b22 film") == ["\u6211", "\u559c", "\u6b22", "film"]
    assert vocabulary_of(tokenizer).size == 21_128
    alone = shutil.copy(CHINESE / "vocab.txt", tmp_path)
    assert read_vocabulary(str(alone)).tokenize("FILM") == ["film"]  # its tokens have no capitals


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", None, r"there is no file or folder '.*'\n  expected: vocab\.txt .*\n  fix: check the path"),
        ("a.txt", b"", "is empty"),
        ("a.txt", b"\n\n", "is empty"),
        ("a.txt", b"[PAD]\ncaf\xe9\n", "not UTF-8 text: the row on line 2 holds the byte 0xE9"),
        ("a.txt", "[PAD]\n".encode("utf-16"), "not UTF-8 text.*iconv -f UTF-16"),
        ("a.txt", bytes(90), "zero bytes"),
        ("a.txt", "[UNK]\n[CLS]\na\n", r"lacks \[PAD\], \[SEP\], \[MASK\]\n  expected: .*\n  fix: add them"),
        ("a.txt", "\n".join([*WORDS, "e"]), r"line 13 has 'e' again, after line 11\n  expected: a token of its own"),
        ("a.txt", "\n".join([*WORDS[:6], "", *WORDS[6:]]), "line 7 is empty"),
        ("a.txt", "\n".join(SPECIAL.values()), "has special tokens alone"),
        ("a.txt", "version https://git-lfs.github.com/spec/v1\n", "Git LFS"),
        ("tokenizer.json", "{", "is not JSON"),
        ("tokenizer.json", "[]", "is no tokenizer"),
        ("tokenizer.json", '{"version": "1.0"}', "is no tokenizer"),
        ("tokenizer.json", b"\xff", "is not JSON"),
        ("folder/a.txt", "\n".join(WORDS), r"the folder .* has no vocabulary\n  expected: .*\n  fix: name the file itself"),
    ],
)  # fmt: skip
def test_bad_files(tmp_path, name, content, message):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    given = path.parent if path.parent != tmp_path else path
    with pytest.raises(UserError, match=f"(?s){message}") as caught:
        read_vocabulary(str(given))
    assert str(given) in str(caught.value)


def test_a_tokenizer_without_what_bert_needs(tmp_path):
    make_tokenizer("roberta").backend_tokenizer.save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(UserError, match=re.escape("lacks [PAD], [UNK], [CLS], [SEP], [MASK]")):
        read_vocabulary(str(tmp_path))
    with pytest.raises(UserError, match="there is no file or folder ''"):
        read_vocabulary("")
    write(tmp_path / "words.txt", do_lower_case="no")
    with pytest.raises(UserError, match=r"says do_lower_case 'no'\n  expected: true or false"):
        read_vocabulary(str(tmp_path / "words.txt"))
