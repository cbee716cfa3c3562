"""Encoders: what turns crops and sentences into features of one space, one implementation per file."""
