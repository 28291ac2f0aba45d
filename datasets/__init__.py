"""PLACEHOLDER."""

if __name__ != "brpnas.datasets":
    raise ImportError("import this package as 'brpnas.datasets' (the bare name belongs to others)")
