"""The web page of `liqe app`, and the gallery of `liqe score --gallery`. Both show photographs with the same script."""
