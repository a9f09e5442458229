"""Planners: pure optimisers over action sequences that know no model."""
