"""Scoring of image sets that are cut into shards: WebDataset tars, parquet files, folders and lists."""
