"""Four kinds of sentences with their sentiment: tweets, film and product reviews, newspaper editorials."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from tlx.data.builders import hutto
from tlx.data.builders.families import families, split
from tlx.data.builders.hutto import Sentence

TEST_SHARE, SPLIT_SEED = 0.2, 0

# Config to file, and what is in it.
DOMAINS = {
    "tweets": ("tweets", "4,000 tweets, and 200 made by varying some of them"),
    "movies": ("movieReviewSnippets", "10,605 sentences from film reviews"),
    "products": ("amazonReviewSnippets", "3,708 sentences from reviews of five products"),
    "editorials": ("nytEditorialSnippets", "5,190 sentences from 500 newspaper editorials"),
}


class Sentiment4(tfds.core.GeneratorBasedBuilder):  # type: ignore[misc]
    """Rated sentences of one domain, `train` about 80 % and `test` about 20 %.

    `label` is 1 where `score`, float32 from -4 to 4 and never 0, is above 0: the one to classify, the other to regress.
    """

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = [tfds.core.BuilderConfig(name=name, description=text) for name, (_, text) in DOMAINS.items()]  # noqa: RUF012
    MANUAL_DOWNLOAD_INSTRUCTIONS = f"{hutto.PACKAGE}-{hutto.VERSION}.tar.gz, the package's source distribution."

    @staticmethod
    def fetch(folder: Path) -> Path:
        """Get the raw data, to be called before the rest.

        Args:
          folder: where it is looked for, and kept; the `manual_dir` of what follows.

        Raises:
          TlxError: it is not there and cannot be fetched.
        """
        return hutto.fetch(folder)

    def _info(self) -> tfds.core.DatasetInfo:
        features = tfds.features.FeaturesDict(
            {
                "text": tfds.features.Text(),
                "label": tfds.features.ClassLabel(names=["negative", "positive"]),
                "score": tfds.features.Scalar(np.float32),
            }
        )
        return tfds.core.DatasetInfo(
            builder=self,
            features=features,
            supervised_keys=("text", "label"),
            disable_shuffling=True,  # the order is already shuffled, and must not depend on a hash
            description=(
                "Sentences with the mean of at least 20 people's ratings, from -4 to 4. The label is the sign of that "
                "mean, the score the mean itself; sentences whose mean is exactly 0 are left out. The split is tlx's "
                "own: sentences of one review or article, and variants of one sentence, are on the same side."
            ),
            homepage="https://github.com/cjhutto/vaderSentiment",
            license="MIT, as the package that carries them; the texts are their authors'",
            citation=(
                "@inproceedings{hutto2014vader, year={2014}, "
                "title={VADER: A Parsimonious Rule-based Model for Sentiment Analysis of Social Media Text}, "
                "author={Hutto, C.J. and Gilbert, Eric}, "
                "booktitle={Eighth International Conference on Weblogs and Social Media}}"
            ),
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Iterator[tuple[int, Any]]]:
        archive = Path(dl_manager.manual_dir) / f"{hutto.PACKAGE}-{hutto.VERSION}.tar.gz"
        file, _ = DOMAINS[self.builder_config.name]
        rated = [sentence for sentence in hutto.read(archive, file) if sentence.score != 0]
        label_N = np.array([sentence.score > 0 for sentence in rated], int)
        family_N = families([sentence.id for sentence in rated], [sentence.text for sentence in rated])
        train, test = split(label_N, family_N, TEST_SHARE, SPLIT_SEED)
        return {
            "train": self._generate_examples([rated[i] for i in train]),
            "test": self._generate_examples([rated[i] for i in test]),
        }

    def _generate_examples(self, sentences: list[Sentence]) -> Iterator[tuple[int, Any]]:
        for key, sentence in enumerate(sentences):
            yield key, {"text": sentence.text, "label": int(sentence.score > 0), "score": np.float32(sentence.score)}
