"""The `liqe` command."""
