"""Which tokenizer a study's texts go through, and whether the model knows its ids."""

from collections.abc import Sequence
from pathlib import Path

from tlx.data.describe import is_text
from tlx.data.source import own_tokenizer
from tlx.data.text import Tokenizer, load_tokenizer
from tlx.errors import ConfigError
from tlx.study.check import blamed_on, within
from tlx.study.spec import Study


def tokenizer_of(study: Study, data_dir: Path | str, checkpoints: Sequence[str] = ()) -> Tokenizer | None:
    """The tokenizer of a study.

    Args:
      study: the spec.
      data_dir: the folder of all data sets.
      checkpoints: folders or files of the sources' released weights; the first is asked for its tokenizer where
        `config.text.tokenizer` names none, and then a data set that comes with one.

    Returns:
      The tokenizer, or None where no data set is of texts.

    Raises:
      ConfigError: there are texts but no tokenizer, or the model does not fit it.
      FileError: it cannot be read.
    """
    found = _first_of_texts(study, data_dir)
    if found is None:
        return None
    field, dataset = found
    place = study.text.tokenizer or next(map(_folder_of, checkpoints), "") or own_tokenizer(dataset, data_dir)
    if not place:
        raise ConfigError("config.text.tokenizer", f"expected the folder of a tokenizer, as {field} has texts, got ''")
    with within("config.text"):
        tokenizer = load_tokenizer(place, study.text.length)
    _check_model(study, tokenizer)
    return tokenizer


def _first_of_texts(study: Study, data_dir: Path | str) -> tuple[str, str] | None:
    """The first field that names a data set of texts, and the data set."""
    for kind, items in (("sources", study.sources), ("targets", study.targets)):
        for item in items:
            field = f"config.{kind}.{item.name}.dataset"
            with blamed_on(field):
                if is_text(item.dataset, data_dir):
                    return field, item.dataset
    return None


def _folder_of(checkpoint: str) -> str:
    path = Path(checkpoint)
    return str(path.parent if path.is_file() else path)


def _check_model(study: Study, tokenizer: Tokenizer) -> None:
    """Whether every id has an embedding, and what fills up is what the model leaves out of account."""
    settings = dict(study.model_settings)
    vocab, pad = settings.get("vocab", tokenizer.vocab), settings.get("pad", tokenizer.pad)
    if vocab < tokenizer.vocab:
        raise ConfigError("config.model.vocab", f"{vocab} token ids, but {tokenizer.path} has {tokenizer.vocab}")
    if pad != tokenizer.pad:
        raise ConfigError("config.model.pad", f"{pad}, but {tokenizer.path} fills up short texts with {tokenizer.pad}")
