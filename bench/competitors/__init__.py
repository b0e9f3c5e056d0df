"""What a table can be brought up to date with: the product, and what users would pick instead.

Each module is a program that :mod:`bench.children` starts in a process of its own with a task to do.
"""
