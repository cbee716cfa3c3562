"""A Hugging Face Space: the page of `liqe app`. docs/app.md says how to put it there."""

import os

from liqe_jax.app.serve import serve
from liqe_jax.scoring.load import load

if __name__ == "__main__":
    # Both are variables of the Space; neither has to be set.
    model = load(os.environ.get("LIQE_MODEL", "liqe_nano"))
    serve(model, host="0.0.0.0", port=int(os.environ.get("GRADIO_SERVER_PORT", "7860")), started=print)
