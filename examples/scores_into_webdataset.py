"""Copies a WebDataset tar and adds the scores of `liqe score-shards` to the .json of each sample.

    python examples/scores_into_webdataset.py 00000.tar scores/00000.parquet scored/00000.tar

Samples without a .json get one. The tar is streamed; the scores of one shard are held in memory.
"""

import io
import json
import sys
import tarfile

import pyarrow.parquet as pq

FIELDS = ("quality", "scene", "distortion")


def scores_of(path):
    """Key -> fields, of the images that were scored."""
    rows = pq.read_table(path, columns=["key", "status", *FIELDS]).to_pylist()
    return {row["key"]: {name: row[name] for name in FIELDS} for row in rows if row["status"] == "success"}


def key_of(name):
    """WebDataset's: the path up to the first dot of the file's name."""
    folder, slash, last = name.rpartition("/")
    return folder + slash + last.partition(".")[0]


def add(target, name, content):
    """Adds a file to a tar."""
    header = tarfile.TarInfo(name)
    header.size = len(content)
    target.addfile(header, io.BytesIO(content))


def join(source_path, scores_path, target_path):
    """Writes the new tar."""
    scores, last, has_json = scores_of(scores_path), None, False
    with tarfile.open(source_path, "r|*") as source, tarfile.open(target_path, "w") as target:
        for member in source:
            if not member.isfile():
                continue
            key, content = key_of(member.name), source.extractfile(member).read()
            if key != last:  # the files of a sample follow each other
                if last in scores and not has_json:
                    add(target, f"{last}.json", json.dumps(scores[last]).encode())
                last, has_json = key, False
            if member.name == f"{key}.json":
                has_json = True
                content = json.dumps({**json.loads(content), **scores.get(key, {})}).encode()
            add(target, member.name, content)
        if last in scores and not has_json:
            add(target, f"{last}.json", json.dumps(scores[last]).encode())


if __name__ == "__main__":
    join(*sys.argv[1:])
