"""The evaluation protocol: predictions of models on data sets, tables and reports."""
