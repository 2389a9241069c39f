"""What the builders of made-up data sets share: a TFDS config for every setting of their knobs."""

import dataclasses
from typing import Any

import tensorflow_datasets as tfds

from tlx.data.builders import knobs


@dataclasses.dataclass(eq=False)
class Setting(tfds.core.BuilderConfig):  # type: ignore[misc]
    """A TFDS config that carries the knobs.

    Args:
      settings: a value for every one.
    """

    settings: dict[str, Any] = dataclasses.field(default_factory=dict)


class Made(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[misc, call-arg]
    """A data set that is computed; its config is named as the data set is: `glyphs?classes=12`."""

    VERSION = tfds.core.Version("1.0.0")

    @classmethod
    def get_builder_config(cls, name: str, version: Any = None) -> Setting | None:
        """The config of a name; TFDS asks here, so that no list of all configs is needed.

        Args:
          name: as `knobs.parse` takes it.
          version: of no matter.

        Raises:
          TlxError: there is no such preset or knob, or a knob has a wrong value.
        """
        del version
        variant = knobs.parse(name)
        if variant is None:
            return None
        return Setting(name=variant.config, description=variant.name, settings=variant.settings)

    def _made_info(self, features: dict[str, Any], about: str) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(features),
            supervised_keys=(next(iter(features)), "label"),
            disable_shuffling=True,  # the order is random already, and must not depend on a hash
            description=f"{about} This is {self.builder_config.description}.",
            license="made by a formula, free of rights",
        )
