#!/usr/bin/env bash
# Builds sdist and wheel into dist/; in a clean environment each scores a photograph and exports StableHLO.
set -euo pipefail
cd "$(dirname "$0")/.."

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
python3 -m venv "$scratch/build"
"$scratch/build/bin/pip" install --quiet build twine
rm -rf dist
"$scratch/build/bin/python" -m build --outdir dist . >/dev/null
"$scratch/build/bin/twine" check --strict dist/*
for file in dist/*.whl dist/*.tar.gz; do
  rm -rf "$scratch/clean"
  python3 -m venv "$scratch/clean"
  "$scratch/clean/bin/pip" install --quiet "$file"
  # From another folder, so that the installed package is the one that is imported.
  (cd "$scratch" && clean/bin/liqe score "$OLDPWD/samples/cat.jpg" --gallery "gallery-$(basename "$file")" --quiet)
  (cd "$scratch" && clean/bin/liqe export liqe_nano "$(basename "$file").stablehlo")
  "$scratch/clean/bin/python" -c "import liqe_jax.scoring.load, sys; assert not {'torch', 'tensorflow'} & set(sys.modules)"
  echo "$file: installed, scored and exported"
done
