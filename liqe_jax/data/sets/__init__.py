"""The data sets that can be prepared, one module each."""

from __future__ import annotations

from types import MappingProxyType

from liqe_jax.data.sets import (
    agiqa3k,
    bid,
    clive,
    csiq,
    flive,
    folder_csv,
    kadid10k,
    koniq10k,
    live,
    pipal,
    spaq,
    synthetic,
    tid2013,
)
from liqe_jax.data.sets.spec import DataSetSpec
from liqe_jax.errors import DataError

_MODULES = (live, csiq, kadid10k, bid, clive, koniq10k, tid2013, spaq, pipal, agiqa3k, flive, folder_csv, synthetic)

SPECS = MappingProxyType({module.SPEC.slug: module.SPEC for module in _MODULES})


def find_spec(name: str) -> DataSetSpec:
    """Finds the description of a data set by its name or short name, ignoring case.

    Raises:
      DataError: the name is unknown.
    """
    for spec in SPECS.values():
        if name.lower() in (spec.slug, spec.name.lower()):
            return spec
    raise DataError(f"Unknown data set {name!r}; known are {', '.join(SPECS)}. For your own images use folder_csv.")
