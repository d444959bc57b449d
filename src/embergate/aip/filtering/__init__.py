"""AIP-160 filters: lexer, parser and checker; `compile_filter` is the way in. Source: https://google.aip.dev/160"""

from embergate.aip.filtering.checker import compile_filter

__all__ = ["compile_filter"]
