"""AIP-160 filters: lexer, parser and checker. Source: https://google.aip.dev/160"""
