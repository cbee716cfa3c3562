"""A web page to try a model: `liqe app`. Only `page` and `serve` import Gradio."""
