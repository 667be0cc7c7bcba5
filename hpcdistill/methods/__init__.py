"""The methods that this package brings: a folder each. `hpcdistill.method` says how one is made."""
