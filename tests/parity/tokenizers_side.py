"""What transformers makes of the sentences, from each kind of tokenizer file; saves token ids."""

import json
import sys
from pathlib import Path

import numpy as np
from transformers import AutoTokenizer, BertTokenizer

folder = Path(sys.argv[1])
texts = json.loads((folder / "texts.json").read_text())
length = int(sys.argv[2])
for name in ("uncased", "cased"):
    tokenizer = BertTokenizer(str(folder / name / "vocab.txt"), do_lower_case=name == "uncased")
    tokenizer.save_pretrained(folder / f"{name}-saved")
    for path in (folder / name, folder / f"{name}-saved"):
        loaded = AutoTokenizer.from_pretrained(path)
        ids = loaded(texts, truncation=True, max_length=length, padding="max_length")["input_ids"]
        np.save(path / "ids.npy", np.array(ids, np.int32))
