"""From sentences to the token ids a model was trained on, by the tokenizer that lies beside its weights."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
from tokenizers import models, normalizers, pre_tokenizers, processors

from tlx import atomic
from tlx.errors import ConfigError, FileError

_FILES = ("tokenizer.json", "vocab.txt")
# What fills up a sentence where no file says it.
_USUAL_PADS = ("[PAD]", "<pad>")
_USUAL_MASKS, _USUAL_ENDS = ("[MASK]", "<mask>"), ("<|endoftext|>", "</s>")
# Role, in the words of `tokenizer_config.json`, to the token that plays it in BERT.
_SPECIAL = {f"{name}_token": f"[{name.upper()}]" for name in ("unk", "sep", "pad", "cls", "mask")}
_LONGEST_WORD = 100  # characters; a longer one is unknown, as in BERT's own code


@dataclass(frozen=True)
class Tokenizer:
    """Sentences to ids of one length.

    Args:
      path: the file it came from.
      length: tokens of every row.
      vocab: all ids are below this number.
      pad: id that fills up short sentences.
      digest: SHA-256 of the vocabulary, the rules and the padding id, in hex; not of the length.
      encoder: cuts sentences to the length, and fills none up.
      mask: id of the token that hides another, or None.
      special: ids that stand for no part of a text, in order.
      end: id that ends a text where the rules themselves add nothing to it, or None.
    """

    path: Path
    length: int
    vocab: int
    pad: int
    digest: str
    encoder: Any
    mask: int | None = None
    special: tuple[int, ...] = ()
    end: int | None = None

    def __call__(self, texts: Sequence[str | tuple[str, str]]) -> np.ndarray:
        """Token ids, those of the sentence's beginning and end among them.

        Args:
          texts: N sentences, or N pairs of sentences.

        Returns:
          int32 [N, length]; what is too long is cut, what is too short is filled up at its end.
        """
        id_NT = np.full((len(texts), self.length), self.pad, np.int32)
        for row_T, encoded in zip(id_NT, self.encoder.encode_batch_fast(list(texts)), strict=True):
            row_T[: len(encoded.ids)] = encoded.ids
        return id_NT

    def whole(self, texts: Sequence[str | tuple[str, str]]) -> list[list[int]]:
        """Token ids of texts, neither cut nor filled up.

        Args:
          texts: sentences, or pairs of sentences.

        Returns:
          As many lists, with those ids in them that the rules put at the beginning and the end.
        """
        uncut = tokenizers.Tokenizer.from_str(self.encoder.to_str())
        uncut.no_truncation()
        return [list(encoded.ids) for encoded in uncut.encode_batch_fast(list(texts))]


def load_tokenizer(path: Path | str, length: int) -> Tokenizer:
    """The tokenizer of a checkpoint's folder.

    Args:
      path: a folder with a `tokenizer.json`, or else with BERT's `vocab.txt`; or one such file.
      length: tokens of every row.

    Returns:
      It, ready for sentences.

    Raises:
      FileError: there is none, it is damaged, or nothing says what fills up short sentences.
      ConfigError: of the field `length`, as it leaves no room for words.
    """
    file = _file_at(Path(path))
    beside = {name: _json_beside(file, f"{name}.json") for name in ("tokenizer_config", "special_tokens_map")}
    text = _read(file)
    encoder = _parsed(file, text) if file.suffix == ".json" else _wordpiece(file, text, beside["tokenizer_config"])
    rules = json.loads(text if file.suffix == ".json" else encoder.to_str())
    pad = _pad(file, encoder, beside.values())
    own = encoder.num_special_tokens_to_add(is_pair=False)
    if length <= own:
        raise ConfigError("length", f"expected more than the {own} tokens that {file} adds to a sentence, got {length}")
    encoder.no_padding()
    encoder.enable_truncation(length)
    vocab = max(encoder.get_vocab(with_added_tokens=True).values()) + 1
    return Tokenizer(
        file,
        length,
        vocab,
        pad,
        atomic.digest_json({"rules": rules, "pad": pad}),
        encoder,
        mask=_role(encoder, beside.values(), "mask_token", _USUAL_MASKS),
        special=tuple(sorted(id for id, token in encoder.get_added_tokens_decoder().items() if token.special)),
        end=None if own else _role(encoder, beside.values(), "eos_token", _USUAL_ENDS),
    )


def _file_at(path: Path) -> Path:
    if path.is_dir():
        for name in _FILES:
            if (path / name).is_file():
                return path / name
        raise FileError(path, f"holds no tokenizer ({' or '.join(_FILES)})")
    if not path.is_file():
        raise FileError(path, "there is no such file or folder")
    if path.suffix not in (".json", ".txt"):
        raise FileError(path, f"is no tokenizer; expected a {' or a '.join(_FILES)}")
    return path


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise FileError(file, f"cannot be read ({_first_line(error)})") from None


def _json_beside(file: Path, name: str) -> dict[str, Any]:
    path = file.with_name(name)
    if not path.is_file():
        return {}
    value = atomic.read_json(path)
    if not isinstance(value, dict):
        raise FileError(path, "expected a JSON object")
    return value


def _parsed(file: Path, text: str) -> Any:
    try:
        return tokenizers.Tokenizer.from_str(text)
    except Exception as error:  # the library raises nothing more specific
        raise FileError(file, f"is not a tokenizer, or is damaged ({_first_line(error)})") from None


def _wordpiece(file: Path, text: str, config: Mapping[str, Any]) -> Any:
    """BERT's tokenizer from its vocabulary, a token a line.

    Source: Devlin et al. (2018); Wu et al. (2016) for the pieces. The defaults are those of BERT's uncased models.
    """
    vocab = {token: i for i, token in enumerate(text.removesuffix("\n").split("\n"))}
    special = {role: _content(config.get(role)) or usual for role, usual in _SPECIAL.items()}
    for role in ("unk_token", "cls_token", "sep_token"):
        if special[role] not in vocab:
            raise FileError(file, f"is not the vocabulary of a BERT: it lacks {special[role]!r}")
    unknown, first, last = special["unk_token"], special["cls_token"], special["sep_token"]
    encoder = tokenizers.Tokenizer(models.WordPiece(vocab, unk_token=unknown, max_input_chars_per_word=_LONGEST_WORD))
    encoder.add_special_tokens([token for token in special.values() if token in vocab])
    encoder.normalizer = normalizers.BertNormalizer(
        clean_text=True,
        handle_chinese_chars=_flag(file, config, "tokenize_chinese_chars", True),
        strip_accents=_flag(file, config, "strip_accents", None),
        lowercase=_flag(file, config, "do_lower_case", True),
    )
    encoder.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    encoder.post_processor = processors.TemplateProcessing(
        single=f"{first} $A {last}",
        pair=f"{first} $A {last} $B:1 {last}:1",
        special_tokens=[(first, vocab[first]), (last, vocab[last])],
    )
    return encoder


def _flag(file: Path, config: Mapping[str, Any], name: str, usual: bool | None) -> Any:
    value = config.get(name, usual)
    if value is not usual and not isinstance(value, bool):
        where = file.with_name("tokenizer_config.json")
        raise FileError(where, f"{name}: expected true or false, got {value!r}")
    return value


def _content(token: Any) -> str | None:
    """A special token as these files write it: a text, or a text with how it is to be stripped."""
    if isinstance(token, Mapping):
        token = token.get("content")
    return token if isinstance(token, str) else None


def _pad(file: Path, encoder: Any, configs: Any) -> int:
    named = [_content(config.get("pad_token")) for config in configs]
    named.append((encoder.padding or {}).get("pad_token"))
    usual = [token for token in _USUAL_PADS if encoder.token_to_id(token) is not None]
    token = next((token for token in (*named, *usual) if token is not None), None)
    if token is None:
        hint = "name its padding token in tokenizer_config.json beside it, as pad_token"
        raise FileError(file, f"does not say what fills up short sentences; {hint}")
    if (pad := encoder.token_to_id(token)) is None:
        raise FileError(file, f"has no token {token!r}, which is said to fill up short sentences")
    return int(pad)


def _role(encoder: Any, configs: Any, role: str, usual: Sequence[str]) -> int | None:
    """The id of the token that plays a role, as a file says or as is usual."""
    named = [_content(config.get(role)) for config in configs]
    ids = (encoder.token_to_id(token) for token in (*named, *usual) if token is not None)
    return next((int(found) for found in ids if found is not None), None)


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
