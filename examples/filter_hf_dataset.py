"""Keeps the rows of a Hugging Face data set whose images are in a list of `liqe merge-shards`.

    pip install datasets
    liqe score-shards 'data/*.parquet' --key-column id --output scores/
    liqe merge-shards scores/ --top 0.1 --output best.parquet
    python examples/filter_hf_dataset.py 'data/*.parquet' id best.parquet filtered/

The second argument is the column that both have in common. It has to be unique in the whole set.
"""

import sys

import datasets
import pyarrow.parquet as pq


def kept(data_files, column, best, output):
    """Writes the filtered set, with a column `quality`, to a folder for `datasets.load_from_disk`."""
    table = pq.read_table(best, columns=["key", "quality"])
    quality = dict(zip(table["key"].to_pylist(), table["quality"].to_pylist(), strict=True))
    data = datasets.load_dataset("parquet", data_files=data_files, split="train")
    data = data.filter(lambda key: str(key) in quality, input_columns=column)
    data = data.map(lambda key: {"quality": quality[str(key)]}, input_columns=column)
    data.save_to_disk(output)
    return len(data)


if __name__ == "__main__":
    print(kept(*sys.argv[1:]), "rows")
