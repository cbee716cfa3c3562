"""The network and its head: pure functions over pytrees of parameters."""
