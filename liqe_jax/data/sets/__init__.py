"""The data sets that can be prepared: facts in `assets/data_sets.toml`, readers of label files in modules by format."""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from liqe_jax.data.sets import csv_files, excel_files, folder_csv, matlab_files, synthetic, text_files
from liqe_jax.data.sets.spec import DataSetSpec
from liqe_jax.errors import DataError
from liqe_jax.markup import read_asset

_CODE: Mapping[str, Mapping[str, Any]] = {
    "live": {
        "read": matlab_files.read_live,
        "finish": matlab_files.finish_live,
        "options": matlab_files.LIVE_OPTIONS,
    },
    "csiq": {"read": excel_files.read_csiq},
    "kadid10k": {"read": csv_files.read_kadid10k},
    "bid": {"read": excel_files.read_bid},
    "clive": {"read": matlab_files.read_clive},
    "koniq10k": {"read": csv_files.read_koniq10k},
    "tid2013": {"read": text_files.read_tid2013},
    "spaq": {"read": excel_files.read_spaq},
    "pipal": {"read": text_files.read_pipal},
    "agiqa3k": {"read": csv_files.read_agiqa3k},
    "flive": {"read": csv_files.read_flive},
    "folder_csv": {
        "read": folder_csv.read,
        "options": folder_csv.OPTIONS,
        "categories": folder_csv.CATEGORIES,
    },
    "synthetic": {"read": synthetic.read, "maker": synthetic.maker, "options": synthetic.OPTIONS},
}


@functools.cache
def specs() -> Mapping[str, DataSetSpec]:
    """The description of every data set, by its short name."""
    facts = tomllib.loads(read_asset("data_sets.toml"))
    return MappingProxyType({slug: DataSetSpec(slug=slug, **facts[slug], **code) for slug, code in _CODE.items()})


def find_spec(name: str) -> DataSetSpec:
    """Finds the description of a data set by its name or short name, ignoring case.

    Raises:
      DataError: the name is unknown.
    """
    for spec in specs().values():
        if name.lower() in (spec.slug, spec.name.lower()):
            return spec
    raise DataError(f"Unknown data set {name!r}; known are {', '.join(specs())}. For your own images use folder_csv.")
