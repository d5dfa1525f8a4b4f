"""Tests of the provider simulator: its wire formats, its data, its faults, and real clients that believe it."""
