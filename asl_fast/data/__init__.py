# SPDX-License-Identifier: Apache-2.0
"""Annotations, features and samples: everything between files on disk and a batch.

The rooms, each of which knows only those before it: ``annotations`` (needs no torch), ``features``, then a split as
samples (``dataset``, ``bundle``, ``source``), the data sets (``datasets``, ``synthetic``, ``custom``), and what opens
or checks any of them (``load``, ``report``).
"""
