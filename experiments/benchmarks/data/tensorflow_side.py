"""Passes over the same examples with tf.data, one request a line; knows nothing of tlx.

`python tensorflow_side.py` reads JSON, one line each: first `{"folder", "pad", "crop", "batch", "pictures",
"picture_batch", ...}`, answered by versions and threads; then `{"work": "memory" | "augmented" | "streamed", ...}`,
answered by the sum of all examples and labels of one pass. As fast as tf.data goes: whole batches where the examples
are in memory, in parallel, prefetched, how far left to its own tuning.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"  # said before the import, which reads it

import numpy as np
import tensorflow as tf

CLASSES = 10


def memory(asked: dict[str, Any], moves: bool) -> tf.data.Dataset:
    """28 x 28 images in memory, shuffled by their numbers, perhaps moved and mirrored."""
    folder, pad, batch = Path(asked["folder"]), asked["pad"], asked["batch"]
    image, label = (tf.constant(np.load(folder / f"{name}.npy")) for name in ("image", "label"))
    side = image.shape[1]

    def one(index: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        chosen = tf.gather(image, index)
        if moves:
            chosen = tf.image.random_flip_left_right(tf.pad(chosen, [[0, 0], [pad, pad], [pad, pad], [0, 0]]))
            corner = tf.random.uniform([batch, 2], maxval=2 * pad + 1, dtype=tf.int32)
            rows = corner[:, :1] + tf.range(side)
            columns = corner[:, 1:] + tf.range(side)
            chosen = tf.gather(tf.gather(chosen, rows, batch_dims=1), columns, axis=2, batch_dims=1)
        return normalised(chosen), tf.gather(label, index)

    numbers = tf.data.Dataset.range(len(label)).shuffle(len(label)).batch(batch, drop_remainder=True)
    return numbers.map(one, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)


def streamed(asked: dict[str, Any]) -> tf.data.Dataset:
    """JPEGs, decoded, cut and perhaps mirrored."""
    folder, crop = Path(asked["folder"]) / "jpegs", asked["crop"]

    def one(file: tf.Tensor, label: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        image = tf.image.decode_jpeg(tf.io.read_file(file), channels=3)
        return tf.image.random_flip_left_right(tf.image.random_crop(image, [crop, crop, 3])), label

    files = [str(folder / f"{i}.jpg") for i in range(asked["pictures"])]
    numbers = tf.data.Dataset.from_tensor_slices((files, np.arange(len(files)) % CLASSES)).shuffle(len(files))
    examples = numbers.map(one, num_parallel_calls=tf.data.AUTOTUNE, deterministic=False)
    batches = examples.batch(asked["picture_batch"], drop_remainder=True)
    return batches.map(lambda image, label: (normalised(image), label)).prefetch(tf.data.AUTOTUNE)


def normalised(image: tf.Tensor) -> tf.Tensor:
    """From -1 to 1."""
    return (tf.cast(image, tf.float32) - 127.5) / 127.5


def main() -> None:
    """Answer until there is no more."""
    asked = json.loads(sys.stdin.readline())
    threads = tf.config.threading.get_inter_op_parallelism_threads()
    print(json.dumps({"versions": {"tensorflow": tf.__version__}, "threads": threads}), flush=True)
    made: dict[str, tf.data.Dataset] = {}
    for line in sys.stdin:
        work = json.loads(line)["work"]
        if work not in made:
            made = {work: streamed(asked) if work == "streamed" else memory(asked, moves=work == "augmented")}
        total = 0.0
        for image, label in made[work]:
            total += float(tf.reduce_sum(image)) + int(tf.reduce_sum(label))
        print(json.dumps({"values": [total]}), flush=True)


if __name__ == "__main__":
    main()
