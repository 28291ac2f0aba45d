"""PLACEHOLDER."""

if __name__ != "brpnas.devices":
    raise ImportError("import this package as 'brpnas.devices' (the bare name belongs to others)")
