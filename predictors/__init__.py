"""PLACEHOLDER."""

if __name__ != "brpnas.predictors":
    raise ImportError(
        "import this package as 'brpnas.predictors' (the bare name belongs to others)"
    )
