"""Passes over the same examples with PyTorch's DataLoader, one request a line; knows nothing of tlx.

`python torch_side.py` reads JSON, one line each: first `{"folder", "pad", "crop", "cores", "batch", "pictures",
"picture_batch"}`, answered by versions and threads; then `{"work", "style"}`, answered by the sum of all examples and
labels of one pass and by the worker processes used. `work` is `memory`, `augmented` or `streamed`.

`style` is `transforms`: the data set gives one example, changed and normalised by torchvision, as most are written;
`examples`: it gives one, changed by hand with as little work as there is, and batches are normalised; `batches`: it is
asked for a batch at once. As fast as each goes: the first request of a kind tries several numbers of workers, of which
the best stay alive.
"""

import importlib.util
import io
import json
import re
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import BatchSampler, DataLoader, Dataset, RandomSampler

CLASSES, AHEAD, TRIES = 10, 4, 3

sys.path.append(str(Path(sys.prefix) / "vision"))  # where `.ci/parity` has torchvision
FOUND = importlib.util.find_spec("torchvision")
if FOUND:
    try:
        import torchvision
    except RuntimeError:
        # Its only build is one for GPUs, whose compiled operators do not load beside a PyTorch for CPUs. None is
        # used here: their names are declared, and that is all.
        LIBRARY = torch.library.Library("torchvision", "FRAGMENT")
        declared = (Path(FOUND.origin).parent / "_meta_registrations.py").read_text()
        for operator in re.findall(r'register_(?:fake|meta)\("(?:torchvision::)?(\w+)"', declared):
            if not hasattr(torch.ops.torchvision, operator):
                LIBRARY.define(f"{operator}() -> ()")
        for module in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[module]
        import torchvision
    from torchvision.transforms import v2


class Small(Dataset):
    """28 x 28 images in memory, perhaps moved and mirrored; an index is a number or a list of them."""

    def __init__(self, asked: dict[str, Any], moves: bool, transforms: bool) -> None:
        folder, pad = Path(asked["folder"]), asked["pad"] if moves else 0
        image = torch.from_numpy(np.load(folder / "image.npy")).permute(0, 3, 1, 2).contiguous()
        self.side, self.room, self.moves = image.shape[-1], 2 * pad + 1, moves
        self.transform = transform_to(self.side, pad) if transforms else None
        self.image = image if transforms else torch.nn.functional.pad(image, (pad,) * 4)
        self.label = torch.from_numpy(np.load(folder / "label.npy")).long()

    def __len__(self) -> int:
        return len(self.label)

    def __getitem__(self, index: Any) -> tuple[torch.Tensor, torch.Tensor]:
        image, label = self.image[index], self.label[index]
        if self.transform:
            return self.transform(image), label
        if not self.moves:
            return image, label
        if isinstance(index, int):
            y, x, flip = (*torch.randint(self.room, (2,)).tolist(), int(torch.randint(2, ())))
            image = image[:, y : y + self.side, x : x + self.side]
            return image.flip(2) if flip else image.contiguous(), label
        size, steps = len(index), torch.arange(self.side)
        rows = torch.randint(self.room, (size, 1)) + steps
        columns = torch.randint(self.room, (size, 1)) + steps
        columns = torch.where(torch.rand(size, 1) < 0.5, columns.flip(1), columns)
        return image[torch.arange(size)[:, None, None], :, rows[:, :, None], columns[:, None, :]], label


class Large(Dataset):
    """JPEGs, decoded, cut and perhaps mirrored; an index is a number or a list of them."""

    def __init__(self, asked: dict[str, Any], transforms: bool) -> None:
        self.folder, self.crop, self.size = Path(asked["folder"]) / "jpegs", asked["crop"], asked["pictures"]
        self.transform = transform_to(self.crop, 0) if transforms else None

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: Any) -> tuple[torch.Tensor, Any]:
        if not isinstance(index, int):
            images, labels = zip(*(self[i] for i in index), strict=True)
            return torch.stack(images), torch.tensor(labels)
        with Image.open(io.BytesIO((self.folder / f"{index}.jpg").read_bytes())) as picture:
            if self.transform:
                return self.transform(picture), index % CLASSES
            image = np.asarray(picture)
        y, x = (int(torch.randint(size - self.crop + 1, ())) for size in image.shape[:2])
        image = image[y : y + self.crop, x : x + self.crop]
        image = image[:, ::-1] if torch.rand(()) < 0.5 else image
        return torch.from_numpy(np.ascontiguousarray(image)), index % CLASSES


def transform_to(side: int, pad: int) -> Any:
    """What torchvision's own documentation chains for one image."""
    return v2.Compose(
        [
            v2.ToImage(),
            v2.RandomCrop(side, padding=pad or None),
            v2.RandomHorizontalFlip(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize([0.5], [0.5]),
        ]
    )


class Run:
    """One kind of work, with the number of workers that is fastest at it."""

    def __init__(self, request: dict[str, Any], asked: dict[str, Any]) -> None:
        large, moves = request["work"] == "streamed", request["work"] == "augmented"
        transforms, self.whole = request["style"] == "transforms", request["style"] == "batches"
        self.dataset = Large(asked, transforms) if large else Small(asked, moves, transforms)
        self.batch, self.normalises = asked["picture_batch" if large else "batch"], not transforms
        best = float("inf")
        for workers in sorted({0, 1, asked["cores"]}):
            loader = self.loader(workers)
            self.sum_of(loader)  # starts the workers
            seconds = min(self.seconds(loader) for _ in range(TRIES))
            if seconds < best:  # the others' workers end with their loaders
                best, self.workers, self.best = seconds, workers, loader

    def loader(self, workers: int) -> DataLoader:
        """Shuffled batches, all full."""
        kept = {"persistent_workers": True, "prefetch_factor": AHEAD} if workers else {}
        if self.whole:
            sampler = BatchSampler(RandomSampler(self.dataset), self.batch, drop_last=True)
            return DataLoader(self.dataset, sampler=sampler, batch_size=None, num_workers=workers, **kept)
        return DataLoader(self.dataset, self.batch, shuffle=True, drop_last=True, num_workers=workers, **kept)

    def seconds(self, loader: DataLoader) -> float:
        """Of one pass."""
        began = time.perf_counter()
        self.sum_of(loader)
        return time.perf_counter() - began

    def sum_of(self, loader: DataLoader) -> float:
        """Of all examples and labels; a batch is normalised at once unless its examples are already."""
        total = 0.0
        for image, label in loader:
            ready = image.float().sub_(127.5).div_(127.5) if self.normalises else image
            total += float(ready.sum()) + int(label.sum())
        return total


def main() -> None:
    """Answer until there is no more."""
    asked = json.loads(sys.stdin.readline())
    versions = {"torch": torch.__version__}
    if FOUND:
        versions["torchvision"] = torchvision.__version__
    print(json.dumps({"versions": versions, "threads": torch.get_num_threads()}), flush=True)
    runs: dict[tuple[str, str], Run] = {}
    for line in sys.stdin:
        request = json.loads(line)
        kind = request["work"], request["style"]
        if kind not in runs:
            runs.clear()  # whose workers would only be in the way
            runs[kind] = Run(request, asked)
        run = runs[kind]
        print(json.dumps({"values": [run.sum_of(run.best)], "workers": run.workers}), flush=True)


if __name__ == "__main__":
    main()
