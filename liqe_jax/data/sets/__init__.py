"""The data sets that can be prepared, one module each."""

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

_MODULES = (live, csiq, kadid10k, bid, clive, koniq10k, tid2013, spaq, pipal, agiqa3k, flive, folder_csv, synthetic)

SPECS = MappingProxyType({module.SPEC.slug: module.SPEC for module in _MODULES})
