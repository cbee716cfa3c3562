"""Ray Data reads tars or parquet files, scores and writes: a pipeline of your own, without shards.

    python examples/ray_data.py scores/ train/*.tar --model liqe_mix
    python examples/ray_data.py scores/ train/*.parquet --image-column jpg --key-column id --actors 8 --gpus 1

The rows are those of `liqe score-shards`, in other files and in any order. All inputs are tars, or all are parquet.
"""

import argparse
import posixpath

import ray

from liqe_jax.scale.files import is_image
from liqe_jax.scale.ray import Scorer


def as_image(name):
    """KEY.image for any image, so that Ray makes one column of them, and no image of other files."""
    folder, last = posixpath.split(name)
    return posixpath.join(folder, last.partition(".")[0] + ".image") if is_image(name) else "passed_over"


def read(inputs, image="image", key="key"):
    """The columns `key` and `image`, encoded."""
    if inputs[0].endswith(".tar"):
        # Without a decoder: Ray's would turn JPEG and PNG files into arrays, and treat colours and EXIF in its own way.
        data = ray.data.read_webdataset(inputs, decoder=None, filerename=as_image, fileselect=["*.image"])
        return data.select_columns(["__key__", "image"]).rename_columns({"__key__": "key"})
    return ray.data.read_parquet(inputs, columns=[key, image]).rename_columns({key: "key", image: "image"})


def score(inputs, output, image="image", key="key", actors=1, gpus=0.0, rows=256, **options):
    """Writes parquet files to a folder; `options` are those of `Scorer`."""
    ray.init(ignore_reinit_error=True)
    # Reading and writing are tasks, and a task waits for a free CPU. Actors hold theirs to the end, so they leave one.
    cpus = min(1.0, (ray.cluster_resources()["CPU"] - 1) / actors)
    scored = read(inputs, image, key).map_batches(
        Scorer,
        batch_size=rows,
        compute=ray.data.ActorPoolStrategy(size=actors),
        num_cpus=cpus,
        num_gpus=gpus,
        fn_constructor_kwargs=options,
    )
    scored.write_parquet(output)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Score tars or parquet files with Ray Data.")
    parser.add_argument("output")
    parser.add_argument("inputs", nargs="+")
    parser.add_argument("--model", default="liqe_nano")
    parser.add_argument("--image-column", dest="image", default="image")
    parser.add_argument("--key-column", dest="key", default="key")
    parser.add_argument("--actors", type=int, default=1)
    parser.add_argument("--gpus", type=float, default=0.0, help="of each actor")
    score(**vars(parser.parse_args()))
