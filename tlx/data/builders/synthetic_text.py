"""Text tasks of made-up words: sources without any language in them, and a tokenizer that knows every word."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds
import tokenizers
from tokenizers import models, pre_tokenizers, processors

from tlx import atomic
from tlx.data.builders.made import Made
from tlx.data.builders.presets import SPLITS
from tlx.data.builders.sequences import MARK, SEPARATOR, generate, num_classes, vocabulary

# As BERT has them: what fills up, what is unknown, beginning, end, what is to be guessed.
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


class SetCopy(Made):
    """Sequences of made-up words: to be copied, reversed, stripped of repeats; or classified.

    A text is words with a blank between them. In `set`, `copy`, `reverse` and `keyword_copy` it goes on with `=` and
    the answer: each word once, in order of first appearance; all words; all from the last to the first; those that
    follow a `*`. The label is then the number of the answer's words, less one. In `majority` and `first_repeat` there
    is no answer, and the label is a word's number: of the most frequent one, or of that which comes first among
    several; and of the one that is the first to come a second time.

    Source: Wu et al. 2022, "Insights into Pre-training via Simpler Synthetic Tasks" (`set`, with longer sequences).
    """

    def _info(self) -> tfds.core.DatasetInfo:
        label = tfds.features.ClassLabel(num_classes=num_classes(self.builder_config.settings))
        about = "Sequences of made-up words, followed by what is asked about them, or labelled with it."
        return self._made_info({"text": tfds.features.Text(), "label": label}, about)

    def write_tokenizer(self, folder: Path) -> None:
        """Write the tokenizer that knows its words, to be called when it is prepared.

        Args:
          folder: where to.
        """
        write_tokenizer(folder, self.builder_config.settings["words"])

    def _split_generators(self, dl_manager: Any) -> dict[str, Iterator[tuple[int, Any]]]:
        del dl_manager  # nothing is downloaded
        return {name: self._generate_examples(split) for split, name in enumerate(SPLITS)}

    def _generate_examples(self, split: int) -> Iterator[tuple[int, Any]]:
        knob = self.builder_config.settings
        for key, (text, label) in enumerate(generate(knob, knob[SPLITS[split]], split)):
            yield key, {"text": text, "label": label}


def write_tokenizer(folder: Path, words: int) -> Path:
    """Write a tokenizer for which each made-up word is one token.

    The special tokens come first, then `=` and `*`, then the words as numbered: word w is id 7 + w.

    Args:
      folder: where `tokenizer.json` and the same as BERT's `vocab.txt` go; made if need be.
      words: how many words it knows, at least as many as the data set's `words`.

    Returns:
      The folder, as `tlx.data.text.load_tokenizer` takes it.

    Raises:
      FileError: it cannot be written.
    """
    tokens = [*SPECIAL, SEPARATOR, MARK, *vocabulary(words)]
    number = {token: i for i, token in enumerate(tokens)}
    made = tokenizers.Tokenizer(models.WordLevel(number, unk_token="[UNK]"))  # noqa: S106
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[(token, number[token]) for token in ("[CLS]", "[SEP]")]
    )
    made.add_special_tokens(list(SPECIAL))
    atomic.write_bytes(folder / "vocab.txt", ("\n".join(tokens) + "\n").encode())
    atomic.write_bytes(folder / "tokenizer.json", made.to_str(pretty=True).encode())
    return folder
